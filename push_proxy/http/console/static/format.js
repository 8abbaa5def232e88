// Numbers and times as people read them.

const DAY = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const COUNT = new Intl.NumberFormat("en-GB");

export function count(value) {
  return COUNT.format(value);
}

/** Milliseconds as `84 ms`, `2.31 s`, `1 min 05 s`. */
export function ms(value) {
  if (value < 1000) return `${Math.max(0, Math.round(value))} ms`;
  if (value < 10_000) return `${(value / 1000).toFixed(2)} s`;
  return seconds(value / 1000);
}

/** Seconds as `12.3 s`, `1 min 05 s`, `2 h 03 min`. */
export function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 172_800) return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
  return `${Math.floor(whole / 86_400)} days`;
}

/** A time of day, with its day where that is not today. */
export function when(text, now = new Date()) {
  const at = new Date(text);
  if (at.toDateString() === now.toDateString()) return CLOCK.format(at);
  const day = at.getFullYear() === now.getFullYear() ? DAY : YEAR;
  return `${day.format(at)}, ${CLOCK.format(at)}`;
}

/** To the millisecond. */
export function exact(text) {
  const at = new Date(text);
  return `${CLOCK.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** `in 4 min 10 s`, `12.0 s ago`. */
export function relative(text, now = Date.now()) {
  const distance = (Date.parse(text) - now) / 1000;
  return distance >= 0 ? `in ${seconds(distance)}` : `${seconds(-distance)} ago`;
}

/** Share of a whole, as `97 %`. */
export function share(value) {
  return `${Math.round(value * 100)} %`;
}

/** A word of the API as it may be shown when there is no text for it. */
export function plain(word) {
  const text = String(word).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function two(value) {
  return String(value).padStart(2, "0");
}
