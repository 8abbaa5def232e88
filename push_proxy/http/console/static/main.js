// The console: who is logged in, which view is shown, and the live stream that all views share.
import { account } from "./account.js";
import { accounts } from "./accounts.js";
import { forget, key } from "./api.js";
import { call } from "./call.js";
import { calls } from "./calls.js";
import { h, put, say } from "./dom.js";
import { Feed } from "./feed.js";
import { health } from "./health.js";
import { live } from "./live.js";
import { LiveCalls } from "./live_calls.js";
import { login } from "./login.js";
import { feedState, navigation, tools } from "./shell.js";
import { T } from "./texts.js";

const LISTS = { live, calls, accounts, health };
const SINGLE = { calls: call, accounts: account };
const main = document.getElementById("content");
let leave = () => {};
let session = null;

function start() {
  const liveCalls = new LiveCalls();
  const state = feedState();
  const feed = new Feed({
    onMessage: (message) => liveCalls.take(message),
    onState: (now) => {
      state.show(now);
      if (now.state === "refused") end(now.error.status === 401 ? T.login.ended : now.error.message);
    },
  });
  session = { calls: liveCalls, feed };
  tools(state.element, h("button", { type: "button", class: "quiet", on: { click: () => end("") } }, T.logout));
  show();
}

function end(why) {
  session?.feed.close();
  session = null;
  forget();
  leave();
  leave = () => {};
  tools();
  login(main, { onDone: start, why });
}

function route() {
  const [where, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = where.split("/").filter(Boolean).map(decoded);
  return { parts: parts.length ? parts : ["live"], query: new URLSearchParams(query) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function show({ moved = false } = {}) {
  const found = route();
  const name = Object.hasOwn(LISTS, found.parts[0]) ? found.parts[0] : "live";
  const view = found.parts.length > 1 && SINGLE[name] ? SINGLE[name] : LISTS[name];
  leave();
  put(main);
  navigation(name);
  document.title = T.title(found.parts.length > 1 ? found.parts[1] : T.nav[name]);
  leave = view(main, found, session);
  scrollTo(0, 0);
  if (moved) {
    main.focus({ preventScroll: true });
    say(document.title);
  }
}

addEventListener("hashchange", () => {
  if (session) show({ moved: true });
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

if (key()) start();
else end("");
