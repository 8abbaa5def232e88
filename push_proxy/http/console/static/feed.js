// The live stream: newline-delimited JSON, read for as long as it lasts, opened again when it ends.
import { ApiError, request } from "./api.js";

const SILENCE_MS = 40_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** A tab that nobody looks at reads no longer than this: a browser has six connections in all. */
const UNSEEN_MS = 60_000;

/**
 * Opens the stream. `onMessage` gets each message; `onState` one of
 * {state: "connecting" | "live" | "away" | "refused", error, retryInMs}. Rests while the tab is hidden.
 */
export class Feed {
  constructor({ onMessage, onState }) {
    this.onMessage = onMessage;
    this.onState = onState;
    this.pauseMs = FIRST_PAUSE_MS;
    this.closed = false;
    this.resting = false;
    this.hurry = () => this.#again(0);
    this.look = () => this.#look();
    addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.look);
    this.#run();
  }

  close() {
    this.closed = true;
    removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.look);
    clearTimeout(this.timer);
    clearTimeout(this.unseen);
    this.abort?.abort();
  }

  async #run() {
    this.abort = new AbortController();
    this.onState({ state: "connecting" });
    try {
      await this.#read(this.abort);
      this.#wait(null);
    } catch (error) {
      if (this.closed || this.resting) return;
      if (error instanceof ApiError && [401, 403].includes(error.status)) {
        this.onState({ state: "refused", error });
        return;
      }
      this.#wait(error);
    }
  }

  #look() {
    clearTimeout(this.unseen);
    if (document.hidden) {
      this.unseen = setTimeout(() => {
        this.resting = true;
        clearTimeout(this.timer);
        this.abort.abort();
        this.onState({ state: "away" });
      }, UNSEEN_MS);
    } else if (this.resting) {
      this.resting = false;
      this.#run();
    }
  }

  async #read(abort) {
    const response = await request("/v1/live", { signal: abort.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const silence = setTimeout(() => abort.abort(), SILENCE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) this.#take(JSON.parse(line));
    }
  }

  #take(message) {
    if (message.type === "snapshot") {
      this.pauseMs = FIRST_PAUSE_MS;
      this.onState({ state: "live" });
    }
    this.onMessage(message);
  }

  #wait(error) {
    if (this.closed || this.resting) return;
    const asked = (error?.retryAfter ?? 0) * 1000;
    const pause = Math.max(asked, this.pauseMs * (0.75 + Math.random() / 2));
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
    this.onState({ state: "away", error, retryInMs: pause });
    this.#again(pause);
  }

  #again(pauseMs) {
    if (this.closed || this.resting || (pauseMs === 0 && this.timer === undefined)) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.#run();
    }, pauseMs);
  }
}
