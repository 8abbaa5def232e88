// Search: what is asked for stands in the address, so that it can be kept and shared.
import { get } from "./api.js";
import { callBadge } from "./badges.js";
import { h, put, say } from "./dom.js";
import { plain, seconds, when } from "./format.js";
import { caller, failed, heading, loading, table } from "./shell.js";
import { T } from "./texts.js";

const PAGE = 50;
const EMPTY_PAGES = 10;
const FIELDS = ["number", "account", "sip_call_id", "verdict", "within"];

export function calls(root, route) {
  const asked = Object.fromEntries(FIELDS.map((name) => [name, route.query.get(name) ?? ""]));
  const results = h("div", { class: "results" });
  put(root, heading(T.calls.title), form(asked), results);
  const abort = new AbortController();
  results.append(list(conditions(asked), { signal: abort.signal, announce: true }));
  return () => abort.abort();
}

/** A list of calls with a way to older ones; also part of other views. */
export function list(query, { signal, announce = false, limit = PAGE, account = true, more: offerMore = true } = {}) {
  const rows = h("tbody");
  const status = h("p", { class: "quiet" });
  const columns = T.calls.columns;
  const shown = [[columns.at], [columns.from], [columns.to], account && [columns.account], [columns.verdict], [columns.duration, "number"]].filter(Boolean);
  const frame = table(T.calls.caption, shown, []);
  frame.querySelector("tbody").replaceWith(rows);
  frame.hidden = true;
  const below = h("div", { class: "below" });
  const element = h("div", {}, status, frame, below);
  let cursor = null;
  let found = 0;

  const load = async () => {
    const focused = below.contains(document.activeElement);
    put(below, loading());
    let page;
    try {
      // A rare number may be pages away: the service reads a bounded part of its history at once.
      for (let pages = 0; pages < EMPTY_PAGES; pages += 1) {
        page = await get("/v1/calls", { ...query, limit, cursor }, { signal });
        cursor = page.next_cursor;
        if (page.calls.length || cursor === null) break;
      }
    } catch (error) {
      if (!signal?.aborted) put(below, failed(error, load));
      return;
    }
    const fresh = page.calls.map((call) => row(call, account));
    rows.append(...fresh);
    found += page.calls.length;
    frame.hidden = found === 0;
    status.textContent = found === 0 && cursor === null ? T.calls.none : announce ? T.calls.found(found, cursor !== null) : "";
    status.hidden = !status.textContent;
    if (announce) say(status.textContent);
    put(below, cursor && offerMore ? h("button", { type: "button", on: { click: load } }, page.calls.length ? T.calls.more : T.calls.further) : null);
    if (focused) (fresh[0]?.querySelector("a") ?? below.firstElementChild)?.focus();
  };
  load();
  return element;
}

function row(call, account) {
  const to = `#/calls/${encodeURIComponent(call.id)}`;
  return h(
    "tr",
    { "data-call": call.id },
    h("td", {}, h("a", { href: to }, h("time", { datetime: call.started_at }, when(call.started_at)))),
    h("td", {}, caller(call)),
    h("td", {}, h("span", { class: "phone" }, call.callee || call.account)),
    account && h("td", {}, h("a", { href: `#/accounts/${encodeURIComponent(call.account)}` }, call.account)),
    h("td", {}, callBadge(call)),
    h("td", { class: "number" }, call.duration_s === null ? T.none : seconds(call.duration_s)),
  );
}

function conditions({ within, ...others }) {
  const since = within ? new Date(Date.now() - Number(within) * 1000).toISOString() : "";
  return { ...others, since };
}

function form(asked) {
  const text = (name, label, hint) =>
    h("div", { class: "field" }, h("label", { for: name }, label), h("input", { id: name, name, value: asked[name], autocomplete: "off", spellcheck: "false", title: hint }));
  const choice = (name, label, options) =>
    h("div", { class: "field" }, h("label", { for: name }, label), h("select", { id: name, name }, options.map(([value, shown]) => h("option", { value, selected: value === asked[name] }, shown))));
  const submit = (event) => {
    event.preventDefault();
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(event.target)) if (value.trim()) query.set(name, value.trim());
    const to = query.size ? `#/calls?${query}` : "#/calls";
    if (to === location.hash) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = to;
  };
  const verdicts = [["", T.calls.any], ...Object.entries(T.verdicts)];
  const sinces = Object.entries(T.calls.sinces).sort(([a], [b]) => Number(a) - Number(b));
  return h(
    "form",
    { class: "search panel", role: "search", "aria-label": T.calls.title, on: { submit } },
    text("number", T.calls.number, T.calls.numberHint),
    text("account", T.calls.account),
    text("sip_call_id", T.calls.sipCallId),
    choice("verdict", T.calls.verdict, verdicts.map(([value, shown]) => [value, shown ?? plain(value)])),
    choice("within", T.calls.since, sinces),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, T.calls.submit), h("a", { class: "button", href: "#/calls" }, T.calls.clear)),
  );
}
