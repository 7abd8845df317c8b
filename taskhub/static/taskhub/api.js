// REST client of the pages: requests with the session of this browser or with the token of this tab.

const KEY = "taskhub-token"; // in sessionStorage: gone with the tab
const TIMEOUT_MS = 60_000; // creating a sandbox may take 30 s
const TIMED_OUT =
  "No answer for a minute. A browser opens only six connections to a server: close other tabs of this page.";

/**
 * @typedef {{ status?: number, retryAfterS?: number, code?: string, details?: Record<string, unknown> }} RefusedFields
 *
 * @typedef {object} CallOptions
 * @property {string} [bearer] - Another token than this tab's.
 * @property {number} [version] - The version of the row that is changed, for If-Match.
 */

/** A request that failed. `message` is for people, `code` and `details` are the service's; `status` 0 is no answer. */
export class Refused extends Error {
  status = 0;
  retryAfterS = 0;
  code = "";
  /** @type {Record<string, unknown>} */
  details = {};

  /**
   * @param {string} message
   * @param {RefusedFields} [fields]
   */
  constructor(message, { status = 0, retryAfterS = 0, code = "", details = {} } = {}) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
    this.code = code;
    this.details = details;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  /** @param {string} value */
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** @returns {HTMLMetaElement | null} */
const csrfMeta = () => document.querySelector("meta[name=csrf-token]");

/** Whether this page was opened with a session. */
export const isSignedIn = () => csrfMeta() !== null;

/**
 * An API address: each name is one segment of its path.
 *
 * @param {...string} names
 */
export const api = (...names) => ["/api", ...names.map(encodeURIComponent), ""].join("/");

/** The cookie's value, where it can be read: signing in again in another tab changes it under this page. */
function csrfToken() {
  return /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? csrfMeta()?.content ?? "";
}

/**
 * The JSON of the answer, null where it has no body.
 *
 * @template T
 * @param {string} method
 * @param {string} address
 * @param {unknown} [body]
 * @param {CallOptions} [options]
 * @returns {Promise<T>}
 * @throws {Refused}
 */
export async function call(method, address, body, options = {}) {
  const response = await request(method, address, body, options);
  if (response.status === 204) return /** @type {T} */ (null);
  try {
    return /** @type {T} */ (await response.json());
  } catch {
    throw new Refused("The answer was cut off or is not JSON.");
  }
}

/**
 * A file of the hub. It must begin to come within the time limit; it may then take as long as it takes.
 *
 * @param {string} address
 * @throws {Refused}
 */
export async function file(address) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(new DOMException("", "TimeoutError")), TIMEOUT_MS);
  const response = await request("GET", address, undefined, {}, stop.signal).finally(() => clearTimeout(timer));
  try {
    return await response.blob();
  } catch {
    throw new Refused("The file was cut off. Try again.");
  }
}

/**
 * @param {string} method
 * @param {string} address
 * @param {unknown} [body]
 * @param {CallOptions} [options]
 * @param {AbortSignal} [signal]
 */
async function request(method, address, body, options = {}, signal = AbortSignal.timeout(TIMEOUT_MS)) {
  /** @type {RequestInit} */
  const init = { method, headers: headersOf(body, options), signal };
  if (body !== undefined) init.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(address, init);
  } catch (error) {
    const isTimeout = error instanceof DOMException && error.name === "TimeoutError";
    throw new Refused(isTimeout ? TIMED_OUT : "The server cannot be reached.");
  }
  if (response.ok) return response;
  throw await refusal(response);
}

/**
 * @param {unknown} body
 * @param {CallOptions} options
 */
function headersOf(body, { bearer = "", version }) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (bearer) headers["Authorization"] = `Bearer ${bearer}`;
  else if (isSignedIn()) headers["X-CSRFToken"] = csrfToken();
  else if (token.get()) headers["Authorization"] = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (version !== undefined) headers["If-Match"] = `"${version}"`;
  return headers;
}

/**
 * @template T
 * @typedef {{ results: T[], next: string | null }} Page - What REST answers of a list.
 */

/**
 * All rows of a list, page by page, at most `most` of them; `isCut` says that there are more.
 *
 * @template T
 * @param {string} address
 * @param {string[][]} [query] - Pairs of name and value.
 * @param {number} [most]
 * @throws {Refused}
 */
export async function readAll(address, query = [], most = 1000) {
  /** @type {T[]} */
  const rows = [];
  /** @type {string | null} */
  let next = `${address}?${new URLSearchParams([...query, ["page_size", "200"]]).toString()}`;
  while (next && rows.length < most) {
    /** @type {Page<T>} */
    const page = await call("GET", next);
    rows.push(...page.results);
    next = page.next && pathOf(page.next);
  }
  return { rows, isCut: Boolean(next) };
}

/**
 * Path and query of an address: the browser may know the server by another name than the server itself.
 *
 * @param {string} address
 */
export function pathOf(address) {
  const { pathname, search } = new URL(address);
  return pathname + search;
}

/**
 * The error of a response that is not ok.
 *
 * @param {Response} response
 */
export async function refusal(response) {
  const { status } = response;
  const retryAfterS = Number(response.headers.get("Retry-After")) || 0;
  const body = /** @type {{ error?: RefusedFields & { message?: string } } | null} */ (
    await response.json().catch(() => null)
  );
  const { code = "", message = `The server answered ${status}.`, details = {} } = body?.error ?? {};
  const sentences = [message];
  if (status === 400)
    for (const [name, reasons] of Object.entries(details)) sentences.push(`${name}: ${reasonsOf(reasons)}`);
  if (retryAfterS) sentences.push(retryText(message, retryAfterS));
  return new Refused(sentences.join(" ").trim(), { status, retryAfterS, code, details });
}

/**
 * @param {unknown} reasons - A text, a list, or those of each field inside, by its name.
 * @returns {string}
 */
function reasonsOf(reasons) {
  if (Array.isArray(reasons)) return reasons.map(reasonsOf).join(" ");
  if (typeof reasons !== "object" || reasons === null) return String(reasons);
  return Object.entries(reasons)
    .map(([name, inner]) => `${name}: ${reasonsOf(inner)}`)
    .join(" ");
}

/**
 * @param {string} message - It may say it already.
 * @param {number} s
 */
const retryText = (message, s) => (/try again in/i.test(message) ? "" : `Try again in ${s} s.`);
