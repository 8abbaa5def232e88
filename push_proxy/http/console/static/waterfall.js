// Draws hops: as a track of points (live) and as bars on a time axis (one call).
import { h } from "./dom.js";
import { ms, plain } from "./format.js";
import { waterfall } from "./hops.js";
import { T } from "./texts.js";

/** A call's hops as one row of points per device. `nowMs` since the call began. */
export function track(call, nowMs) {
  const { devices } = waterfall(call, nowMs);
  const names = devices[0].hops.map(({ hop }) => hop);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": T.call.waterfall },
    h(
      "table",
      { class: "track" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "sr" }, T.account.deviceColumns.device)), names.map((hop) => h("th", { scope: "col" }, T.hops[hop])))),
      h("tbody", {}, devices.map(({ device, hops }) => h("tr", {}, h("th", { scope: "row" }, device ?? T.call.nodevice), hops.map((hop) => point(hop, nowMs))))),
    ),
  );
}

function point(hop, nowMs) {
  const text = hop.state === "waiting" ? T.hopStates.waiting : pointText(hop);
  return h(
    "td",
    { class: `hop ${hop.state}`, "data-hop": hop.hop, "data-state": hop.state, title: hop.detail || null },
    h("span", { class: "dot", "aria-hidden": "true" }),
    h("span", { class: "at", "data-waits-from": hop.state === "waiting" ? hop.fromMs : null }, hop.state === "waiting" ? ms(Math.max(0, nowMs - hop.fromMs)) : text),
    hop.state === "waiting" && h("span", { class: "sr" }, T.hopStates.waiting),
    ["failed", "declined"].includes(hop.state) && hop.ms !== null && h("span", { class: "sr" }, T.hopStates[hop.state]),
  );
}

function pointText(hop) {
  if (["done", "failed", "declined"].includes(hop.state)) return hop.ms === null ? T.hopAbsent : ms(hop.ms);
  if (hop.hop === "app_report" && hop.state !== "open") return T.hopNoReport;
  return h("span", { class: "sr" }, T.hopStates[hop.state]);
}

/** Move the times of hops that are waited for. */
export function tick(element, nowMs) {
  for (const at of element.querySelectorAll("[data-waits-from]")) {
    at.textContent = ms(Math.max(0, nowMs - Number(at.dataset.waitsFrom)));
  }
}

/** One call's hops as bars, one table per device. */
export function bars(call, nowMs) {
  const { devices, endMs } = waterfall(call, nowMs);
  return devices.map(({ device, hops }) =>
    h(
      "table",
      { class: "bars" },
      h("caption", {}, device === null ? T.call.nodevice : T.call.device(device)),
      h("thead", {}, h("tr", {}, ["hop", "at", "took", "bar"].map((column) => h("th", { scope: "col", class: column }, T.call.columns[column])))),
      h("tbody", {}, hops.map((hop) => row(hop, { endMs, nowMs }))),
    ),
  );
}

function row(hop, { endMs, nowMs }) {
  const until = hop.ms ?? (hop.state === "waiting" ? nowMs : (hop.toMs ?? null));
  const drawn = until !== null && !["skipped", "missed", "open"].includes(hop.state);
  const left = drawn ? (100 * hop.fromMs) / endMs : 0;
  const width = drawn ? Math.max(0, (100 * (until - hop.fromMs)) / endMs) : 0;
  return h(
    "tr",
    { class: hop.state, "data-hop": hop.hop, "data-state": hop.state },
    h("th", { scope: "row" }, h("span", { class: "dot", "aria-hidden": "true" }), T.hops[hop.hop]),
    h("td", { class: "number" }, hop.ms === null ? T.none : ms(hop.ms)),
    h("td", { class: "number" }, drawn && hop.hop !== "invite" ? ms(until - hop.fromMs) : T.none),
    h(
      "td",
      { class: "lane" },
      h(
        "div",
        { class: "plot" },
        drawn && h("span", { class: "bar", "aria-hidden": "true", style: { left: `${left}%`, width: `${width}%` } }),
        note(hop, { left, width }),
      ),
    ),
  );
}

function note(hop, { left, width }) {
  const parts = [];
  if (hop.hop === "app_report" && hop.ms === null) parts.push(T.hopNoReport);
  else if (hop.state !== "done") parts.push(hop.state === "failed" && hop.ms === null ? T.hopAbsent : T.hopStates[hop.state]);
  if (hop.pushes > 1) parts.push(T.pushes(hop.pushes));
  if (["failed", "declined"].includes(hop.state) && hop.ms !== null && hop.detail !== hop.event) parts.push(hop.detail.includes(" ") ? hop.detail : plain(hop.detail));
  if (!parts.length) return null;
  // Where there is room: right of the bar, else left of it, else upon it.
  const end = left + width;
  const beside = (side, share, gap) => ({ [side]: `calc(${share}% + ${gap}px)`, "max-width": `calc(${100 - share}% - ${gap}px)` });
  const free = end <= 55 ? beside("left", end, 8) : left >= 45 ? beside("right", 100 - left, 8) : null;
  const text = parts.join(", ");
  return h("span", { class: free ? "note" : "note upon", style: free ?? beside("left", left, 12), title: text }, text);
}
