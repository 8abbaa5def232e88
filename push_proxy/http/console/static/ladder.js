// A call's SIP messages as a ladder: a column per party, an arrow per message, its text below.
import { h, svg } from "./dom.js";
import { ms } from "./format.js";
import { T } from "./texts.js";

const US = "us";

/** `hops` and `messages` as `GET /v1/calls/{id}/sip` has them. */
export function ladder({ hops: parties, messages }) {
  return h(
    "div",
    { class: "ladder", style: { "--parties": String(parties.length) } },
    h("div", { class: "parties", "aria-hidden": "true" }, parties.map((party) => h("span", {}, name(party)))),
    h("ol", {}, messages.map((message) => h("li", {}, rung(message, parties)))),
  );
}

function rung(message, parties) {
  const ours = parties.indexOf(US);
  const theirs = Math.max(0, parties.indexOf(message.hop));
  const [from, to] = message.from === US ? [ours, theirs] : [theirs, ours];
  const at = (index) => ((index + 0.5) * 100) / parties.length;
  const [x1, x2] = [at(from), at(to)];
  const answer = message.start_line.startsWith("SIP/2.0");
  const label = answer ? message.start_line.slice(8) : message.start_line.split(" ")[0];
  const tip = x2 > x1 ? -1 : 1;
  const arrow = svg(
    "svg",
    { class: answer ? "arrow answer" : "arrow", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("line", { x1, y1: 5, x2, y2: 5, "vector-effect": "non-scaling-stroke" }),
    svg("path", { d: `M${x2 + tip * 1.4} 1.5L${x2} 5L${x2 + tip * 1.4} 8.5`, "vector-effect": "non-scaling-stroke" }),
  );
  return h(
    "details",
    {},
    h(
      "summary",
      {},
      h("span", { class: "number at" }, `+${ms(message.ms)}`),
      h(
        "span",
        { class: "lanes" },
        parties.map((_, index) => h("span", { class: "life", style: { left: `${at(index)}%` } })),
        arrow,
        h("span", { class: "label", style: { left: `${Math.min(x1, x2)}%`, width: `${Math.abs(x2 - x1)}%` } }, label),
        h("span", { class: "sr" }, ` ${name(parties[from])} → ${name(parties[to])}, ${message.transport}`),
      ),
    ),
    h("pre", { tabindex: "0", role: "region", "aria-label": T.call.message }, message.text),
  );
}

function name(party) {
  return { pbx: "PBX", us: "push-proxy" }[party] ?? party;
}
