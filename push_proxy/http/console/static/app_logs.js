// What an app has handed in about itself.
import { maybe, path, request } from "./api.js";
import { h, put } from "./dom.js";
import { count, when } from "./format.js";
import { failed, panel, table } from "./shell.js";
import { T } from "./texts.js";

/** A panel with a device's logs, or those about one call; null: there are none. */
export async function logsOf(account, device, { signal, call = null }) {
  const base = path("accounts", account, "devices", device, "logs");
  const found = await maybe(base, {}, { signal }).catch(() => null);
  const logs = (found?.logs ?? []).filter((log) => call === null || log.call_id === call);
  if (!logs.length) return null;
  const columns = T.account.logColumns;
  return panel(
    T.call.logs(device),
    table(
      T.call.logs(device),
      [[columns.at], [columns.size, "number"], [columns.open]],
      logs.map((log) => row(`${base}/${encodeURIComponent(log.id)}`, log, { signal, call })),
    ),
  );
}

function row(where, log, { signal, call }) {
  const text = h("div");
  const open = async () => {
    button.disabled = true;
    try {
      const content = await (await request(where, { signal })).text();
      put(text, h("pre", { tabindex: "0", role: "region", "aria-label": T.account.logColumns.open }, content));
    } catch (error) {
      button.disabled = false;
      if (!signal.aborted) put(text, failed(error));
    }
  };
  const button = h("button", { type: "button", on: { click: open } }, T.account.openLog);
  const about = log.call_id && call === null;
  return h(
    "tr",
    {},
    h("td", {}, when(log.at), about && h("span", { class: "name" }, h("a", { href: `#/calls/${encodeURIComponent(log.call_id)}` }, T.account.logCall))),
    h("td", { class: "number" }, T.account.bytes(count(log.size))),
    h("td", {}, button, text),
  );
}
