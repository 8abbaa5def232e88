// One call: how it ended and why, its hops, all that happened, its SIP. Moves while it goes on.
import { get, maybe, path, request } from "./api.js";
import { logsOf } from "./app_logs.js";
import { callBadge } from "./badges.js";
import { h, put } from "./dom.js";
import { exact, ms, plain, seconds, when } from "./format.js";
import { ladder } from "./ladder.js";
import { caller, facts, failed, heading, loading, panel, table, who } from "./shell.js";
import { T } from "./texts.js";
import { bars } from "./waterfall.js";

export function call(root, route, { calls }) {
  const id = route.parts[1];
  const abort = new AbortController();
  const { signal } = abort;
  let shown = null;
  const sip = h("div");
  const logs = h("div");
  const parts = { summary: h("div"), hops: h("div"), timeline: h("div") };

  const show = (record) => {
    const first = shown === null;
    shown = record;
    document.title = T.title(who(record));
    if (first) put(root, heading([caller(record), h("span", { class: "arrow" }, " → "), h("span", { class: "phone" }, record.callee || record.account)]), parts.summary, parts.hops, sip, parts.timeline, logs);
    put(parts.summary, summary(record));
    drawHops();
    put(parts.timeline, timeline(record));
  };
  const drawHops = () => {
    const since = calls.now() - Date.parse(shown.started_at);
    put(parts.hops, panel(T.call.waterfall, h("div", { class: "waterfalls" }, bars(shown, Math.max(0, since)))));
  };
  const load = async () => {
    try {
      const record = await get(path("calls", id), {}, { signal });
      // The live stream may have been faster.
      if (shown === null || record.timeline.length >= shown.timeline.length) show(record);
      loadSip();
      loadLogs(record);
    } catch (error) {
      if (!signal.aborted) put(root, heading(T.calls.title), failed(error, load));
    }
  };
  const loadSip = async () => {
    try {
      const recorded = await maybe(path("calls", id, "sip"), {}, { signal });
      put(sip, recorded?.messages?.length ? recordedSip(id, recorded) : null);
    } catch (error) {
      if (!signal.aborted) put(sip, panel(T.call.sip, failed(error, loadSip)));
    }
  };
  const loadLogs = async (record) => {
    const devices = [...new Set(record.timeline.map((entry) => entry.device).filter(Boolean))];
    const found = await Promise.all(devices.map((device) => logsOf(record.account, device, { signal, call: id })));
    if (!signal.aborted) put(logs, found);
  };
  put(root, loading());
  load();
  const unwatch = calls.watch((ids) => {
    if (ids === null && shown?.state !== "ended") load();
    if (!ids?.includes(id)) return;
    const record = calls.calls.get(id) ?? calls.ended.find((each) => each.id === id);
    if (!record) return;
    const ended = shown?.state !== "ended" && record.state === "ended";
    show(record);
    if (ended) loadSip();
  });
  const timer = setInterval(() => {
    if (shown !== null && ["waking", "calling", "ringing"].includes(shown.state)) drawHops();
  }, 250);
  return () => {
    abort.abort();
    unwatch();
    clearInterval(timer);
  };
}

function summary(record) {
  const blamed = record.fault !== null && record.fault !== "nobody";
  return h(
    "section",
    { class: "panel summary" },
    h(
      "p",
      { class: "verdict" },
      callBadge(record),
      blamed && h("span", { class: "fault" }, `${T.call.fault}: `, h("strong", {}, T.faults[record.fault] ?? plain(record.fault))),
    ),
    record.advice && h("div", { class: "advice" }, h("h2", {}, T.call.advice), h("p", {}, record.advice), steps(record)),
    facts([
      [T.call.facts.began, h("time", { datetime: record.started_at }, `${when(record.started_at)}`)],
      [T.call.facts.account, h("a", { href: `#/accounts/${encodeURIComponent(record.account)}` }, record.account)],
      [T.call.facts.decided_by, record.decided_by],
      [T.call.facts.cause, record.cause ? plain(record.cause) : null],
      [T.call.facts.duration, record.duration_s === null ? null : seconds(record.duration_s)],
      [T.call.facts.ended_by, record.ended_by ? plain(record.ended_by) : null],
      [T.call.facts.status, record.status ? String(record.status) : null],
      [T.call.facts.sip, h("code", {}, record.sip_call_id)],
      [T.call.facts.id, h("code", {}, record.id)],
      [T.call.facts.node, record.node && h("code", {}, record.node)],
    ]),
  );
}

function steps(record) {
  const list = record.advice_steps ?? [];
  return list.length > 0 && h("ol", { "aria-label": T.call.steps }, list.map((step) => h("li", {}, step)));
}

function timeline(record) {
  const columns = T.call.timelineColumns;
  return panel(
    T.call.timeline,
    table(
      T.call.timelineCaption,
      [[columns.at, "number"], [columns.ms, "number"], [columns.device], [columns.event], [columns.detail]],
      record.timeline.map((entry) =>
        h(
          "tr",
          {},
          h("td", { class: "number" }, h("time", { datetime: entry.at }, exact(entry.at))),
          h("td", { class: "number" }, `+${ms(entry.ms)}`),
          h("td", {}, entry.device ?? ""),
          h("td", {}, T.events[entry.event] ?? plain(entry.event)),
          h("td", { class: "detail" }, entry.detail),
        ),
      ),
    ),
  );
}

function recordedSip(id, recorded) {
  const download = async () => {
    const response = await request(path("calls", id, "sip.pcap"));
    const url = URL.createObjectURL(await response.blob());
    h("a", { href: url, download: `${id}.pcap` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  const note = h("p", { class: "quiet small" }, T.call.sipNote);
  const get = async () => {
    try {
      await download();
    } catch (error) {
      put(note, failed(error, get));
    }
  };
  return panel(
    T.call.sip,
    h("div", { class: "beside" }, note, h("button", { type: "button", on: { click: get } }, T.call.pcap)),
    recorded.dropped > 0 && h("p", { class: "notice" }, T.call.dropped(recorded.dropped)),
    recorded.missed > 0 && h("p", { class: "notice" }, T.call.missed(recorded.missed)),
    ladder(recorded),
  );
}
