/* Requests to the API of this server, and the server's clock. */

const ROOT = new URL(".", document.baseURI);
const REQUEST_TIMEOUT = 8000; // milliseconds
let clockOffset = 0; // milliseconds by which the server's clock is ahead of ours

/* The time by the server's clock, in milliseconds: ages are right although the viewer's clock is wrong. */
export const now = () => Date.now() + clockOffset;

export function apiUrl(path, parameters = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) url.searchParams.append(name, each);
  }
  return url;
}

/* The response's body, and the URL of the next page or null. Throws on a failure or an error status. */
export async function fetchPage(url) {
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT);
  const response = await fetch(url, { cache: "no-cache", signal });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({})); // a proxy's own page is not JSON
    throw new Error(problem.detail ?? `status ${response.status}`);
  }
  const body = await response.json();
  setClock(response.headers.get("date"));
  const next = /<([^>]+)>; *rel="?next"?/.exec(response.headers.get("link") ?? "");
  return { body, next: next && new URL(next[1], url) };
}

export const fetchJson = async (path) => (await fetchPage(apiUrl(path))).body;

/* The rows of up to *maxPages* pages. */
export async function fetchRows(path, parameters, maxPages = 3) {
  const rows = [];
  let url = apiUrl(path, parameters);
  for (let page = 0; url && page < maxPages; page += 1) {
    const { body, next } = await fetchPage(url);
    rows.push(...body);
    url = next;
  }
  return rows;
}

/* The Date header has whole seconds, therefore a difference below 1.5 seconds counts as none. */
function setClock(date) {
  const ahead = Date.parse(date) + 500 - Date.now();
  if (Number.isFinite(ahead)) clockOffset = Math.abs(ahead) < 1500 ? 0 : ahead;
}
