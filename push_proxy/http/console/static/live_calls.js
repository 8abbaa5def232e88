// What is known of calls that go on: kept from the live stream, told to the views.

const ENDED_KEPT = 20;

export class LiveCalls {
  constructor() {
    this.calls = new Map();
    this.ended = [];
    this.offsetMs = 0;
    this.listeners = new Set();
  }

  /** Now, by the service's clock. */
  now() {
    return Date.now() + this.offsetMs;
  }

  /** Call `listener` with the ids that changed; null: everything may have. Returns its end. */
  watch(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  take(message) {
    this.offsetMs = Date.parse(message.at) - Date.now();
    if (message.type === "snapshot") {
      this.calls = new Map(message.calls.map((call) => [call.id, call]));
      this.#tell(null);
    } else if (message.type === "call") {
      this.#change(message.call);
      this.#tell([message.call.id]);
    }
  }

  #change(call) {
    if (call.state !== "ended") {
      this.calls.set(call.id, call);
      return;
    }
    this.calls.delete(call.id);
    const known = this.ended.findIndex((each) => each.id === call.id);
    if (known >= 0) this.ended[known] = call;
    else this.ended = [call, ...this.ended].slice(0, ENDED_KEPT);
  }

  #tell(ids) {
    for (const listener of this.listeners) listener(ids);
  }
}
