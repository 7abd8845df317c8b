// REST: reads for everybody who may, writes with the session of who is signed in or with the token of this tab.

const KEY = "taskhub-token"; // in sessionStorage: gone with the tab
const PATIENCE_MS = 60_000; // making a sandbox may take 30 s
const meta = document.querySelector("meta[name=csrf-token]");

/** A request that was not fulfilled; `message` is for people, `code` and `details` are the service's. */
export class Refused extends Error {
  constructor(message, { status = 0, retryAfterS = 0, code = "", details = {} } = {}) {
    super(message);
    Object.assign(this, { status, retryAfterS, code, details });
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export const isSignedIn = Boolean(meta);

/** An API address of the hub: each name is one part of its path. */
export const api = (...names) => ["/api", ...names.map(encodeURIComponent), ""].join("/");

/** The cookie's, where it can be read: signing in again in another tab changes it under this page. */
function csrf() {
  return /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? meta.content;
}

/**
 * The answer's JSON, null where it has no body. Throws Refused.
 *
 * `version`: of the row that is changed, for If-Match; `bearer`: another token than this tab's.
 */
export async function call(method, address, body = undefined, options = {}) {
  const response = await ask(method, address, body, options);
  return response.status === 204 ? null : response.json();
}

/** A file of the hub's, as a Blob. Throws Refused. */
export const file = async (address) => (await ask("GET", address)).blob();

async function ask(method, address, body = undefined, { bearer = "", version = undefined } = {}) {
  const headers = { Accept: "application/json" };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  else if (isSignedIn) headers["X-CSRFToken"] = csrf();
  else if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (version !== undefined) headers["If-Match"] = `"${version}"`;
  let response;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    response = await fetch(address, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
    if (response.ok) return response;
  } catch (error) {
    throw new Refused(
      error.name === "TimeoutError"
        ? "No answer for a minute. A browser opens only six connections to a server: close other tabs of this page."
        : "The server cannot be reached.",
    );
  }
  throw await refusal(response);
}

/** Every row of a list, page by page, at most `most` of them; `isCut` says that there are more. */
export async function readAll(address, query = [], most = 1000) {
  const rows = [];
  let next = `${address}?${new URLSearchParams([...query, ["page_size", "200"]])}`;
  while (next && rows.length < most) {
    const page = await call("GET", next);
    rows.push(...page.results);
    // What the server takes for its own address may not be what the browser calls it.
    next = page.next && new URL(page.next).pathname + new URL(page.next).search;
  }
  return { rows, isCut: Boolean(next) };
}

/** What a response that is not ok says. */
export async function refusal(response) {
  const { status } = response;
  const retryAfterS = Number(response.headers.get("Retry-After")) || 0;
  const body = await response.json().catch(() => null);
  const { code = "", message = `The server answered ${status}.`, details = {} } = body?.error ?? {};
  const words = [message];
  if (status === 400)
    for (const [name, reasons] of Object.entries(details)) words.push(`${name}: ${[reasons].flat().join(" ")}`);
  if (retryAfterS) words.push(`Try again in ${retryAfterS} s.`);
  return new Refused(words.join(" "), { status, retryAfterS, code, details });
}
