// What stands around every view: navigation, live state, colours, log out; and shared pieces.
import { ApiError } from "./api.js";
import { h, put } from "./dom.js";
import { T } from "./texts.js";

const THEME = "push-proxy.theme";

/** The links of the header; the one of `current` is marked. */
export function navigation(current) {
  const nav = document.querySelector("nav");
  nav.hidden = false;
  put(nav, Object.entries(T.nav).map(([view, text]) => h("a", { href: `#/${view}`, "aria-current": view === current ? "page" : null }, text)));
}

/** The header without anybody logged in. */
export function tools(...children) {
  put(document.querySelector(".tools"), ...children, themeChoice());
  if (!children.length) document.querySelector("nav").hidden = true;
}

/** Shows the state of the live stream. */
export function feedState() {
  const element = h("span", { class: "feed", "data-state": "connecting" });
  let timer;
  const show = ({ state, error, retryInMs }) => {
    clearInterval(timer);
    element.dataset.state = state;
    element.title = error?.message ?? "";
    const until = Date.now() + (retryInMs ?? 0);
    const write = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      put(element, h("span", { class: "lamp", "aria-hidden": "true" }), T.feed[state], state === "away" && left > 0 ? h("small", {}, ` ${T.feed.retry(left)}`) : null);
    };
    write();
    if (state === "away") timer = setInterval(write, 1000);
  };
  return { element, show };
}

function themeChoice() {
  const root = document.documentElement;
  const choose = (event) => {
    const theme = event.target.value;
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      localStorage.setItem(THEME, theme);
    } catch {
      // Storage is forbidden: it counts until the page is left.
    }
  };
  const current = root.dataset.theme ?? "auto";
  return h("label", { class: "theme" }, h("span", { class: "sr" }, T.theme.label), h("select", { on: { change: choose } }, ["auto", "light", "dark"].map((theme) => h("option", { value: theme, selected: theme === current }, T.theme[theme]))));
}

/** A view's heading. */
export function heading(text, ...beside) {
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, text), ...beside);
}

export function loading() {
  return h("p", { class: "quiet" }, T.loading);
}

/** What went wrong, and a way to try again. */
export function failed(error, retry) {
  if (!(error instanceof ApiError)) console.error(error);
  return h("div", { class: "notice bad", role: "alert" }, h("strong", {}, T.errors.title), h("p", {}, error.message), retry && h("button", { type: "button", on: { click: retry } }, T.errors.again));
}

/** A panel with a heading of its own. */
export function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), ...children);
}

/** Names and values. Empty values are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return h("dl", { class: "facts" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** A table that may scroll sideways. `columns`: [key, title, class]; `rows`: arrays of cells. */
export function table(caption, columns, rows) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      { class: "list" },
      h("caption", { class: "sr" }, caption),
      h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
      h("tbody", {}, rows),
    ),
  );
}

/** Who called whom. */
export function who(call) {
  const from = call.caller_number || call.caller_name || T.call.hidden;
  return T.call.title(from, call.callee || call.account);
}

/** The caller, with the name if there is one. */
export function caller(call) {
  const number = call.caller_number || T.call.hidden;
  const named = call.caller_name && call.caller_name !== call.caller_number;
  return [h("span", { class: "phone" }, number), named && h("span", { class: "name" }, call.caller_name)];
}
