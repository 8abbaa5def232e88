// From a call's timeline to the hops of each device. Pure: no page, no clock.

/** Hops of a call to the app, in order. `app_report` is optional: an app may say nothing. */
export const INCOMING = [
  "invite", "push_sent", "push_accepted", "app_report", "registered", "relayed", "ringing", "answered",
];
/** Hops of a call that the app makes. */
export const OUTGOING = ["invite", "relayed", "ringing", "answered"];

const REACHED_BY = {
  invite_received: "invite",
  push_sent: "push_sent",
  push_accepted: "push_accepted",
  push_received: "app_report",
  ui_shown: "app_report",
  app_registered: "app_report",
  registered: "registered",
  invite_sent: "relayed",
  device_ringing: "ringing",
  rings_already: "ringing",
  answered: "answered",
};
const FAILED_AT = {
  token_dead: "push_sent",
  push_rejected: "push_accepted",
  push_unavailable: "push_accepted",
  push_misconfigured: "push_accepted",
  app_failed: "app_report",
  flow_failed: "relayed",
  device_refused: "answered",
  app_decline: "answered",
  app_busy: "answered",
};
/** The person at the phone did not want the call: no fault of any hop. */
const DECLINED = /^(486|600|603)\b/;
/** Verdicts with which nothing went wrong: a hop that was not reached then is nobody's fault. */
const NOBODYS_FAULT = new Set([
  "answered", "answered_elsewhere", "caller_cancelled", "no_answer", "declined", "busy", "refused", "forwarded",
]);

/**
 * The hops of a call, per device, in the order in which devices appear.
 *
 * `nowMs`: milliseconds since the call began, for a call that goes on.
 * Returns {endMs, devices: [{device, hops: [{hop, state, ms, fromMs, detail, pushes}]}]}.
 * States: `done`; `waiting` (the next one); `open` (still to come); `failed`; `declined` (by the person); `stopped` (the call
 * ended before, which is nobody's fault); `missed` (not reached, after what failed or stopped);
 * `skipped` (not needed).
 */
export function waterfall(call, nowMs = 0) {
  const names = call.direction === "outgoing" ? OUTGOING : INCOMING;
  const shared = call.timeline.filter((entry) => entry.device === null);
  const devices = [...new Set(call.timeline.map((entry) => entry.device).filter((name) => name !== null))];
  const live = call.state !== "ended";
  const lastMs = Math.max(0, ...call.timeline.map((entry) => entry.ms));
  const decidedMs = live ? Math.max(nowMs, lastMs) : decided(call, lastMs);
  const found = (devices.length ? devices : [null]).map((device) => {
    const own = device === null ? [] : call.timeline.filter((entry) => entry.device === device);
    return { device, hops: hopsOf({ call, names, shared, own, live, decidedMs }) };
  });
  const reached = found.flatMap(({ hops }) => hops.map((hop) => hop.ms ?? 0));
  const waits = found.some(({ hops }) => hops.some((hop) => hop.state === "waiting"));
  const ends = found.some(({ hops }) => hops.some((hop) => hop.ms === null && ["failed", "stopped"].includes(hop.state)));
  return { endMs: Math.max(1, ...reached, waits || ends ? decidedMs : 0), devices: found };
}

/** When an ended call was decided: its answer, else its end; what came late is not counted. */
function decided(call, lastMs) {
  const began = Date.parse(call.started_at);
  const at = call.answered_at ?? call.ended_at;
  return at === null ? lastMs : Math.max(0, Date.parse(at) - began);
}

function hopsOf({ call, names, shared, own, live, decidedMs }) {
  const entries = [...shared.filter((entry) => isShared(call, entry)), ...own].sort((a, b) => a.ms - b.ms);
  const reached = new Map();
  const failures = new Map();
  let pushes = 0;
  for (const entry of entries) {
    const hop = reachedBy(call, entry);
    if (entry.event === "push_sent") pushes += 1;
    if (hop !== undefined && names.includes(hop)) {
      if (!reached.has(hop)) reached.set(hop, entry);
      // A second try that went through makes good for the first.
      failures.delete(hop);
    }
    const failedAt = failure(entry, names, reached);
    if (failedAt !== null && !(reached.has(failedAt) && failedAt === "push_accepted")) failures.set(failedAt, entry);
  }
  const awake = !reached.has("push_sent") && (reached.has("relayed") || own.some(isAwake));
  const hops = [];
  let lastMs = reached.get("invite")?.ms ?? 0;
  let blocked = false;
  for (const [index, hop] of names.entries()) {
    const entry = reached.get(hop);
    const failed = failures.get(hop);
    const later = names.slice(index + 1).some((next) => reached.has(next) || failures.has(next));
    const found = { hop, ms: null, fromMs: lastMs, detail: "", pushes: hop === "push_sent" ? pushes : 0 };
    if (failed) {
      Object.assign(found, { state: isDeclined(failed) ? "declined" : "failed", ms: failed.ms, detail: failed.detail || failed.event, event: failed.event });
      blocked = true;
    } else if (entry) {
      Object.assign(found, { state: "done", ms: entry.ms, detail: entry.detail, event: entry.event });
    } else if (later || (awake && ["push_sent", "push_accepted", "app_report", "registered"].includes(hop))) {
      found.state = "skipped";
    } else if (blocked) {
      found.state = "missed";
    } else if (hop === "app_report") {
      found.state = live ? "open" : "missed";
    } else {
      found.state = live ? "waiting" : NOBODYS_FAULT.has(call.verdict) ? "stopped" : "failed";
      found.toMs = decidedMs;
      blocked = true;
      if (live) {
        hops.push(found, ...names.slice(index + 1).map((hop) => ({ hop, state: "open", ms: null, fromMs: null, detail: "", pushes: 0 })));
        break;
      }
    }
    if (found.ms !== null) {
      found.fromMs = Math.min(lastMs, found.ms);
      lastMs = Math.max(lastMs, found.ms);
    }
    hops.push(found);
  }
  return hops;
}

/** Our own ringing toward a PBX is no phone's; in the app's own calls it is the called side's. */
function reachedBy(call, entry) {
  return entry.event === "ringing" && call.direction === "outgoing" ? "ringing" : REACHED_BY[entry.event];
}

function failure(entry, names, reached) {
  if (entry.event === "not_pushed") return isAwake(entry) ? null : "push_sent";
  if (entry.event === "given_up" || entry.event === "timer_c") {
    return names.find((hop) => hop !== "app_report" && !reached.has(hop) && hop !== "invite") ?? null;
  }
  const hop = FAILED_AT[entry.event] ?? null;
  return hop !== null && names.includes(hop) ? hop : null;
}

function isDeclined(entry) {
  return entry.event === "app_decline" || entry.event === "app_busy" || (entry.event === "device_refused" && DECLINED.test(entry.detail));
}

function isAwake(entry) {
  return entry.event === "not_pushed" && entry.detail === "awake";
}

/** Of what belongs to no device, these concern them all; in the app's own calls every hop does. */
function isShared(call, entry) {
  return call.direction === "outgoing" || entry.event === "invite_received" || (entry.event === "not_pushed" && !isAwake(entry));
}
