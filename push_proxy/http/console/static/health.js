// The node, the providers, the PBXs, and how fast phones wake.
import { get } from "./api.js";
import { appBadge, badge, reachableBadge, readyBadge, verdictTone } from "./badges.js";
import { breakdown, histogram } from "./charts.js";
import { h, put } from "./dom.js";
import { count, ms, plain, share, when } from "./format.js";
import { failed, heading, loading, panel, table } from "./shell.js";
import { T } from "./texts.js";

const AGAIN_MS = 5000;
/** Edges of the histograms' buckets that are named below them. */
const TICKS = new Set([1000, 2000, 5000, 10_000, 20_000]);

export function health(root) {
  const abort = new AbortController();
  const body = h("div", { class: "grid" });
  let timer;
  let last = "";
  const refresh = async () => {
    try {
      const found = await get("/v1/overview", {}, { signal: abort.signal });
      const { at, ...rest } = found;
      const now = JSON.stringify(rest);
      // Nothing is drawn again that has not changed: focus and scrolling stay.
      if (now !== last) put(body, panels(found));
      last = now;
    } catch (error) {
      if (abort.signal.aborted) return;
      last = "";
      put(body, failed(error, refresh));
    }
    clearTimeout(timer);
    timer = setTimeout(refresh, AGAIN_MS);
  };
  put(body, loading());
  put(root, heading(T.health.title), body);
  refresh();
  return () => {
    abort.abort();
    clearTimeout(timer);
  };
}

function panels(found) {
  return [node(found), found.nodes.length > 1 && nodes(found), registrations(found), verdicts(found), latency(found), providers(found), pbxs(found)];
}

function wide(element) {
  element.classList.add("wide");
  return element;
}

function node({ node, accounts, devices, calls }) {
  const names = T.health.counts;
  const number = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, count(value)));
  return wide(panel(
    T.health.node,
    h("p", { class: "verdict" }, readyBadge(node.status), h("span", {}, node.id), h("span", { class: "quiet" }, `${T.health.version} ${node.version}`)),
    node.reasons.map((reason) => h("p", { class: "advice" }, reason)),
    h("dl", { class: "numbers" }, number(names.accounts, accounts), number(names.devices, devices.total), number(names.wakeable, devices.wakeable), number(names.connected, devices.connected), number(names.calls, calls.total)),
  ));
}

function nodes({ nodes: found }) {
  const columns = T.health.nodeColumns;
  return wide(panel(
    T.health.nodes,
    table(
      T.health.nodes,
      [[columns.node], [columns.state], [columns.sip], [columns.since], [columns.waiting, "number"]],
      found.map((one) =>
        h("tr", {}, h("td", {}, h("code", {}, one.id), one.this && h("span", { class: "name" }, T.health.thisNode)), h("td", {}, readyBadge(one.status)), h("td", {}, h("code", {}, one.sip)), h("td", {}, when(one.since)), h("td", { class: "number" }, count(one.waiting_calls))),
      ),
    ),
  ));
}

function registrations({ registrations }) {
  const order = ["registered", "pending", "retrying", "rejected", "unused"];
  const parts = order.filter((state) => registrations[state]).map((state) => ({ name: T.registration[state], value: registrations[state] }));
  return panel(T.health.registrations, parts.length ? breakdown(T.health.registrations, parts, [T.health.state, T.accounts.title]) : h("p", { class: "quiet" }, T.accounts.none));
}

function verdicts({ calls }) {
  const parts = calls.verdicts.map(({ verdict, calls }) => ({ name: badge(verdictTone(verdict), T.verdicts[verdict] ?? plain(verdict)), value: calls }));
  return panel(
    T.health.verdicts,
    h("p", { class: "quiet small" }, T.health.verdictsSince(when(calls.since))),
    parts.length ? breakdown(T.health.verdicts, parts, [T.calls.verdict, T.calls.title]) : h("p", { class: "quiet" }, T.health.noCalls),
  );
}

function latency({ wake_latency: groups }) {
  const columns = T.health.latencyColumns;
  const platform = (group) => T.platforms[group.platform] ?? plain(group.platform);
  const name = (group) => `${platform(group)}, ${plain(group.vendor)}`;
  const time = (value) => (value === null ? T.none : ms(value));
  const charts = groups.filter((group) => group.p50_ms !== null);
  return wide(
    panel(
      T.health.latency,
      h("p", { class: "quiet small" }, T.health.latencyNote),
      !groups.length && h("p", { class: "quiet" }, T.health.noLatency),
      h(
        "div",
        { class: "histograms" },
        charts.map((group) =>
          h(
            "figure",
            {},
            h("figcaption", {}, h("strong", {}, name(group)), h("span", { class: "quiet" }, `${time(group.p50_ms)} / ${time(group.p95_ms)}`)),
            histogram(T.health.chart(name(group), time(group.p50_ms), time(group.p95_ms)), group.histogram),
            h("div", { class: "axis", "aria-hidden": "true" }, group.histogram.map((bucket) => h("span", {}, TICKS.has(bucket.up_to_ms) ? `${bucket.up_to_ms / 1000} s` : ""))),
          ),
        ),
      ),
      groups.length > 0 &&
        table(
          T.health.latency,
          [[columns.platform], [columns.vendor], [columns.wakes, "number"], [columns.rate, "number"], [columns.p50, "number"], [columns.p95, "number"]],
          groups.map((group) =>
            h("tr", {}, h("td", {}, platform(group)), h("td", {}, plain(group.vendor)), h("td", { class: "number" }, count(group.wakes)), h("td", { class: "number" }, group.rate === null ? T.none : share(group.rate)), h("td", { class: "number" }, time(group.p50_ms)), h("td", { class: "number" }, time(group.p95_ms))),
          ),
        ),
    ),
  );
}

function providers({ providers: found }) {
  const columns = T.health.providerColumns;
  return wide(
    panel(
      T.health.providers,
      found.length
        ? table(
            T.health.providers,
            [[columns.provider], [columns.app], [columns.state], [columns.reason], [columns.ends]],
            found.map((app) =>
              h("tr", {}, h("td", {}, plain(app.provider)), h("td", {}, h("code", {}, app.app_id)), h("td", {}, appBadge(app.state)), h("td", { class: "detail" }, app.reason || T.none, app.advice && h("span", { class: "name" }, app.advice)), h("td", {}, app.credential_ends_at ? when(app.credential_ends_at) : T.none)),
            ),
          )
        : h("p", { class: "quiet" }, T.health.noProviders),
    ),
  );
}

function pbxs({ pbxs: found, pbxs_total: total }) {
  const columns = T.health.pbxColumns;
  const trouble = (pbx) => (pbx.registrations.retrying ?? 0) + (pbx.registrations.rejected ?? 0);
  return wide(
    panel(
      T.health.pbxs,
      found.length
        ? table(
            T.health.pbxs,
            [[columns.name], [columns.reachable], [columns.accounts, "number"], [columns.registered, "number"], [columns.trouble, "number"]],
            found.map((pbx) =>
              h("tr", {}, h("td", {}, h("code", {}, pbx.name || T.none), pbx.reason && h("span", { class: "name bad" }, pbx.reason)), h("td", {}, reachableBadge(pbx.reachable)), h("td", { class: "number" }, count(pbx.accounts)), h("td", { class: "number" }, count(pbx.registrations.registered ?? 0)), h("td", { class: "number" }, count(trouble(pbx)))),
            ),
          )
        : h("p", { class: "quiet" }, T.health.noPbxs),
      total > found.length && h("p", { class: "quiet" }, T.health.pbxMore(count(total - found.length))),
    ),
  );
}
