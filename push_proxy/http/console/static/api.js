// The HTTP API with the operator's key, which lives in this tab alone.
import { T } from "./texts.js";

const KEY = "push-proxy.key";
const TIMEOUT_MS = 15_000;

/** An answer that is no success; `status` 0: there was none. */
export class ApiError extends Error {
  constructor(status, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function key() {
  return sessionStorage.getItem(KEY);
}

export function remember(newKey) {
  sessionStorage.setItem(KEY, newKey);
}

export function forget() {
  sessionStorage.removeItem(KEY);
}

/** Whether it can be sent in a header at all. */
export function usable(text) {
  return /^[\x21-\x7e]{1,512}$/.test(text);
}

/** The response to a GET with the key; raises `ApiError`. */
export async function request(path, { signal, withKey = key() } = {}) {
  let response;
  try {
    response = await fetch(path, {
      headers: { Authorization: `Bearer ${withKey}`, "Accept-Language": "en" },
      credentials: "omit",
      cache: "no-store",
      signal,
    });
  } catch (error) {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    throw new ApiError(0, T.errors.away);
  }
  if (response.ok) return response;
  throw await problem(response);
}

/** JSON from a path with query parameters; empty ones are left out. */
export async function get(path, parameters = {}, { signal, withKey } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const both = signal ? AbortSignal.any([signal, limit]) : limit;
  const response = await request(query.size ? `${path}?${query}` : path, { signal: both, withKey });
  try {
    return await response.json();
  } catch {
    throw new ApiError(0, T.errors.away);
  }
}

/** As `get`; null where the service has nothing of the kind. */
export async function maybe(path, parameters = {}, options = {}) {
  try {
    return await get(path, parameters, options);
  } catch (error) {
    if (error instanceof ApiError && [403, 404, 405].includes(error.status)) return null;
    throw error;
  }
}

/** The path of an account, device or call: names may hold what a URL must not. */
export function path(...parts) {
  return `/v1/${parts.map(encodeURIComponent).join("/")}`;
}

async function problem(response) {
  let detail = "";
  try {
    detail = (await response.json()).detail ?? "";
  } catch {
    // No problem document: the status has to do.
  }
  const retry = Number(response.headers.get("Retry-After")) || null;
  const known = { 401: T.errors.key, 429: T.errors.many(retry) }[response.status];
  return new ApiError(response.status, known ?? (detail || T.errors.status(response.status)), retry);
}
