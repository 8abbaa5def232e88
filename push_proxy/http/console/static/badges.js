// States and verdicts: a word with a shape, so that colour is never all that tells them apart.
import { svg, h } from "./dom.js";
import { plain } from "./format.js";
import { T } from "./texts.js";

const SHAPES = {
  good: "M3 8.5l3.2 3.2L13 5",
  calm: "M4 8h8",
  bad: "M4.5 4.5l7 7m0-7l-7 7",
  warn: "M8 3.5v5.5m0 3v.2",
  busy: "M8 2a6 6 0 1 0 .01 0M8 4.9V8l2.1 1.3",
};
const GOOD = new Set(["answered", "answered_elsewhere"]);
const CALM = new Set(["declined", "busy", "no_answer", "caller_cancelled", "refused", "forwarded"]);

/** A word in a shape. `tone`: good, calm, bad, warn or busy. */
export function badge(tone, text) {
  return h(
    "span",
    { class: `badge ${tone}` },
    svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: SHAPES[tone] })),
    text,
  );
}

export function verdictTone(verdict) {
  if (GOOD.has(verdict)) return "good";
  return CALM.has(verdict) ? "calm" : "bad";
}

/** How a call stands, or how it ended. */
export function callBadge(call) {
  if (call.state === "ended" && call.verdict) {
    return badge(verdictTone(call.verdict), T.verdicts[call.verdict] ?? plain(call.verdict));
  }
  return badge(call.state === "answered" ? "good" : "busy", T.states[call.state] ?? plain(call.state));
}

export function registrationBadge(state) {
  const tone = { registered: "good", pending: "busy", retrying: "warn", rejected: "bad" }[state] ?? "calm";
  return badge(tone, T.registration[state] ?? plain(state));
}

export function reachabilityBadge(state) {
  const tone = { registered: "good", asleep: "calm", unreachable: "bad" }[state] ?? "calm";
  return badge(tone, T.reachability[state] ?? plain(state));
}

export function tokenBadge(state) {
  const tone = { good: "good", wrong_app: "warn", dead: "bad" }[state] ?? "calm";
  return badge(tone, T.tokens[state] ?? plain(state));
}

export function appBadge(state) {
  const tone = { ok: "good", throttled: "warn", blocked: "bad" }[state] ?? "calm";
  return badge(tone, T.appStates[state] ?? plain(state));
}

export function readyBadge(state) {
  const tone = { ready: "good", degraded: "warn" }[state] ?? "bad";
  return badge(tone, T.ready[state] ?? plain(state));
}

export function reachableBadge(reachable) {
  return badge(reachable === null ? "calm" : reachable ? "good" : "bad", T.reachable[String(reachable)]);
}
