// Calls that go on, each with its hops; and those that have just ended.
import { callBadge } from "./badges.js";
import { h, put } from "./dom.js";
import { seconds } from "./format.js";
import { caller, heading } from "./shell.js";
import { T } from "./texts.js";
import { tick, track } from "./waterfall.js";

const SHOWN = 200;
const CALM = matchMedia("(prefers-reduced-motion: reduce)");

export function live(root, _route, { calls }) {
  const cards = new Map();
  const total = h("span", { class: "count" });
  const now = h("div", { class: "cards" });
  const empty = h("p", { class: "quiet empty" }, T.live.none);
  const endedHeading = h("h2", {}, T.live.ended);
  const ended = h("div", { class: "cards ended" });
  put(root, heading(T.live.title, total), now, empty, endedHeading, ended);

  const place = (list, shown) => {
    const wanted = shown.map((call) => cards.get(call.id).element);
    for (const [index, element] of wanted.entries()) {
      if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
    }
    while (list.children.length > wanted.length) list.lastElementChild.remove();
  };
  const draw = (ids) => {
    const going = [...calls.calls.values()].sort((a, b) => (a.started_at < b.started_at ? 1 : -1)).slice(0, SHOWN);
    const known = new Set([...going, ...calls.ended].map((call) => call.id));
    for (const id of cards.keys()) if (!known.has(id)) cards.delete(id);
    for (const call of [...going, ...calls.ended]) {
      if (!cards.has(call.id)) cards.set(call.id, new Card(call, calls.now()));
      else if (ids === null || ids.includes(call.id)) cards.get(call.id).show(call, calls.now());
    }
    place(now, going);
    place(ended, calls.ended);
    empty.hidden = going.length > 0;
    endedHeading.hidden = calls.ended.length === 0;
    const more = calls.calls.size > SHOWN ? ` ${T.live.shown(SHOWN)}` : "";
    total.textContent = going.length ? `${T.live.many(calls.calls.size)}.${more}`.replace(/\.$/, "") : "";
  };

  let changed = new Set();
  let everything = false;
  let drawing = false;
  const unwatch = calls.watch((ids) => {
    if (ids === null) everything = true;
    else for (const id of ids) changed.add(id);
    if (drawing) return;
    drawing = true;
    // Many messages, one drawing. Not an animation frame: a tab in the background has none.
    setTimeout(() => {
      drawing = false;
      draw(everything ? null : [...changed]);
      changed = new Set();
      everything = false;
    }, 16);
  });
  const timer = setInterval(() => {
    for (const card of cards.values()) card.tick(calls.now());
  }, CALM.matches ? 1000 : 200);
  draw(null);
  return () => {
    unwatch();
    clearInterval(timer);
  };
}

class Card {
  constructor(call, now) {
    this.link = h("a", { href: `#/calls/${encodeURIComponent(call.id)}` });
    this.state = h("span", { class: "state" });
    this.elapsed = h("span", { class: "elapsed number", title: T.live.elapsed });
    this.body = h("div");
    this.element = h(
      "article",
      { class: "card", "data-call": call.id },
      h("header", {}, h("h3", {}, this.link), this.state, this.elapsed),
      this.body,
    );
    this.show(call, now);
  }

  show(call, now) {
    this.call = call;
    const outgoing = call.direction === "outgoing" && h("span", { class: "quiet small" }, T.call.outgoing);
    put(this.link, caller(call), h("span", { class: "arrow", "aria-hidden": "true" }, " → "), h("span", { class: "sr" }, " to "), h("span", { class: "phone" }, call.callee || call.account));
    put(this.state, callBadge(call), outgoing);
    this.element.dataset.state = call.state;
    const scrolled = this.body.firstElementChild?.scrollLeft ?? 0;
    const focused = this.body.contains(document.activeElement);
    put(this.body, track(call, this.#since(now)), call.state === "ended" && call.advice ? h("p", { class: "advice small" }, call.advice) : null);
    this.body.firstElementChild.scrollLeft = scrolled;
    if (focused) this.body.firstElementChild.focus();
    this.tick(now);
  }

  tick(now) {
    const since = this.#since(now);
    this.elapsed.textContent = seconds(since / 1000);
    if (this.call.state !== "ended") tick(this.body, since);
  }

  #since(now) {
    const until = this.call.ended_at === null ? now : Date.parse(this.call.ended_at);
    return Math.max(0, until - Date.parse(this.call.started_at));
  }
}
