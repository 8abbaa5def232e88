// All accounts, a page at a time; or straight to one by its name.
import { get } from "./api.js";
import { registrationBadge } from "./badges.js";
import { h, put } from "./dom.js";
import { failed, heading, loading, table } from "./shell.js";
import { T } from "./texts.js";

const PAGE = 100;

export function accounts(root) {
  const abort = new AbortController();
  const rows = h("tbody");
  const columns = T.accounts.columns;
  const frame = table(T.accounts.caption, [[columns.account], [columns.aor], [columns.registration], [columns.pbx]], []);
  frame.querySelector("tbody").replaceWith(rows);
  frame.hidden = true;
  const below = h("div", { class: "below" });
  let cursor = null;
  const load = async () => {
    const focused = below.contains(document.activeElement);
    put(below, loading());
    try {
      const page = await get("/v1/accounts", { limit: PAGE, cursor }, { signal: abort.signal });
      cursor = page.next_cursor;
      const fresh = page.accounts.map(row);
      rows.append(...fresh);
      frame.hidden = rows.children.length === 0;
      put(below, frame.hidden && h("p", { class: "quiet" }, T.accounts.none), cursor && h("button", { type: "button", on: { click: load } }, T.accounts.more));
      if (focused) fresh[0]?.querySelector("a")?.focus();
    } catch (error) {
      if (!abort.signal.aborted) put(below, failed(error, load));
    }
  };
  put(root, heading(T.accounts.title), form(), frame, below);
  load();
  return () => abort.abort();
}

function row(account) {
  return h(
    "tr",
    {},
    h("td", {}, h("a", { href: `#/accounts/${encodeURIComponent(account.account)}` }, account.account)),
    h("td", {}, h("code", {}, account.aor)),
    h("td", {}, registrationBadge(account.status.registration.state), !account.enabled && h("span", { class: "quiet small" }, ` ${T.account.disabled}`)),
    h("td", {}, account.pbx ?? account.registrar ?? T.none),
  );
}

function form() {
  const submit = (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (name) location.hash = `#/accounts/${encodeURIComponent(name)}`;
  };
  return h(
    "form",
    { class: "search panel", on: { submit }, "aria-label": T.accounts.open },
    h("div", { class: "field" }, h("label", { for: "name" }, T.accounts.name), h("input", { id: "name", name: "name", autocomplete: "off", spellcheck: "false", required: true })),
    h("div", { class: "buttons" }, h("button", { type: "submit" }, T.accounts.submit)),
  );
}
