// One account: its registration at the PBX, its devices, what it missed, its last calls.
import { get, maybe, path } from "./api.js";
import { logsOf } from "./app_logs.js";
import { badge, reachabilityBadge, reachableBadge, registrationBadge, tokenBadge, verdictTone } from "./badges.js";
import { list } from "./calls.js";
import { h, put } from "./dom.js";
import { ms, plain, relative, share, when } from "./format.js";
import { facts, failed, heading, loading, panel, table } from "./shell.js";
import { T } from "./texts.js";

const AGAIN_MS = 5000;
const RECENT = 10;

export function account(root, route) {
  const name = route.parts[1];
  const abort = new AbortController();
  const { signal } = abort;
  const registration = h("div");
  const devices = h("div");
  const missed = h("div");
  const logs = h("div");
  const recent = h("div");
  let timer;
  let shown = false;

  const refresh = async () => {
    try {
      const [found, known] = await Promise.all([
        get(path("accounts", name), {}, { signal }),
        maybe(path("accounts", name, "devices"), {}, { signal }),
      ]);
      if (!shown) put(root, heading(T.account.title(name)), registration, devices, missed, recent, logs);
      show(found, known?.devices ?? []);
    } catch (error) {
      if (signal.aborted) return;
      if (!shown) {
        put(root, heading(T.account.title(name)), failed(error, refresh));
        return;
      }
    }
    timer = setTimeout(refresh, AGAIN_MS);
  };
  const show = (found, known) => {
    put(registration, registrationPanel(found));
    put(devices, panel(T.account.devices, devicesTable(found.status.devices ?? [], known)));
    if (!shown) {
      shown = true;
      put(recent, recentCalls(name, signal));
      showMissed();
      for (const each of found.status.devices ?? []) showLogs(each.device);
    }
  };
  const showMissed = async () => {
    try {
      const page = await maybe(path("accounts", name, "missed-calls"), { limit: 20 }, { signal });
      put(missed, page && panel(T.account.missed, missedTable(page.missed_calls)));
    } catch (error) {
      if (!signal.aborted) put(missed, panel(T.account.missed, failed(error, showMissed)));
    }
  };
  const showLogs = async (device) => {
    const found = await logsOf(name, device, { signal });
    if (found && !signal.aborted) logs.append(found);
  };
  put(root, loading());
  refresh();
  return () => {
    abort.abort();
    clearTimeout(timer);
  };
}

function registrationPanel(found) {
  const { registration, pbx, voicemail } = found.status;
  const answer = registration.last_status === null ? null : `${registration.last_status} ${registration.last_reason}`;
  const others = registration.other_contacts;
  return panel(
    T.account.registration,
    h("p", { class: "verdict" }, registrationBadge(registration.state), h("code", {}, found.aor), !found.enabled && badge("warn", T.account.disabled)),
    registration.advice && h("p", { class: "advice" }, registration.advice),
    facts([
      [T.account.pbx, h("span", {}, found.pbx ?? found.registrar ?? T.account.noPbx, " ", pbx && reachableBadge(pbx.reachable))],
      [T.health.state, pbx?.reason],
      [T.account.last, answer && `${answer}, ${when(registration.last_answer_at)}`],
      [T.account.next, registration.next_attempt_at && relative(registration.next_attempt_at)],
      [T.account.expires, registration.expires_at && relative(registration.expires_at)],
      [T.account.evictions, registration.evictions > 0 ? T.account.times(registration.evictions) : null],
      [T.account.others, others.length ? h("ul", { class: "plain" }, others.map((contact) => h("li", {}, h("code", {}, contact)))) : registration.state === "registered" ? T.account.noOthers : null],
      [T.account.servers, pbx && Object.keys(pbx.servers).length > 1 && h("ul", { class: "plain" }, Object.entries(pbx.servers).map(([server, reachable]) => h("li", {}, h("code", {}, server), " ", reachableBadge(reachable))))],
      [T.account.voicemail, voicemail?.waiting ? T.account.voicemailNew(voicemail.new, voicemail.old) : null],
    ]),
  );
}

function devicesTable(statuses, known) {
  if (!statuses.length) return h("p", { class: "quiet" }, T.account.noDevices);
  const columns = T.account.deviceColumns;
  const details = new Map(known.map((device) => [device.device, device]));
  return table(
    T.account.devices,
    [[columns.device], [columns.reach], [columns.push], [columns.token], [columns.health], [columns.heard]],
    statuses.map((status) => {
      const device = details.get(status.device);
      const model = [device?.vendor, device?.model, device?.os_version].filter(Boolean).join(" ");
      const denied = Object.entries(device?.permissions ?? {}).filter(([, granted]) => granted === false).map(([permission]) => plain(permission).toLowerCase());
      return h(
        "tr",
        { "data-device": status.device },
        h("td", {}, h("strong", {}, status.device), h("span", { class: "name" }, model || status.user_agent || "")),
        h("td", {}, reachabilityBadge(status.reachability), status.app_error > 0 && h("span", { class: "name bad" }, T.account.appError[status.app_error])),
        h("td", {}, status.provider ? plain(status.provider) : T.none, h("span", { class: "name" }, [status.platform, status.app_id].filter(Boolean).join(", "))),
        h("td", {}, status.token ? tokenBadge(status.token.state) : T.none, status.token?.reason && h("span", { class: "name" }, plain(status.token.reason)), denied.length > 0 && h("span", { class: "name" }, `${T.account.permissions}: ${denied.join(", ")}`)),
        h("td", { class: "number" }, wakes(status.health)),
        h("td", { class: "number" }, status.last_heard_at ? relative(status.last_heard_at) : T.none, h("span", { class: "name" }, status.transport ?? "")),
      );
    }),
  );
}

function wakes(health) {
  if (!health || health.rate === null || health.rate === undefined) return T.none;
  const time = (value) => (value === null || value === undefined ? T.none : ms(value));
  return [
    health.standing === "stopped" && h("div", {}, badge("bad", T.account.stopped)),
    T.account.health(share(health.rate), health.counted),
    h("span", { class: "name", title: T.account.healthNote }, `${time(health.p50_ms)} / ${time(health.p95_ms)}`),
  ];
}

function missedTable(calls) {
  if (!calls.length) return h("p", { class: "quiet" }, T.account.noMissed);
  const columns = T.calls.columns;
  return table(
    T.account.missed,
    [[columns.at], [columns.from], [columns.verdict]],
    calls.map((call) =>
      h(
        "tr",
        {},
        h("td", {}, h("a", { href: `#/calls/${encodeURIComponent(call.call_id)}` }, when(call.started_at))),
        h("td", {}, h("span", { class: "phone" }, call.caller_number || T.call.hidden), call.caller_name && h("span", { class: "name" }, call.caller_name)),
        h("td", {}, badge(verdictTone(call.verdict), T.verdicts[call.verdict] ?? plain(call.verdict))),
      ),
    ),
  );
}

function recentCalls(name, signal) {
  return panel(
    T.account.recent,
    list({ account: name }, { signal, limit: RECENT, account: false, more: false }),
    h("p", {}, h("a", { href: `#/calls?account=${encodeURIComponent(name)}` }, T.account.allCalls)),
  );
}
