/* Questions to the API beside this page, and the server's clock. */

const root = new URL(".", document.baseURI);
const PATIENCE = 8000; // milliseconds
let skew = 0; // milliseconds that the server's clock is ahead of ours

/* The present moment by the server's clock, in milliseconds: ages are true on a wrong clock too. */
export const now = () => Date.now() + skew;

export function address(path, parameters = {}) {
  const url = new URL(path, root);
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) url.searchParams.append(name, each);
  }
  return url;
}

/* The answer, and the URL of the next page if there is one. Throws if it is not a good one. */
export async function ask(url) {
  const answer = await fetch(url, { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE) });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? `${answer.status}`);
  setClock(answer.headers.get("date"));
  return { body, next: nextPage(url, answer.headers.get("link") ?? "") };
}

export const get = async (path, parameters) => (await ask(address(path, parameters))).body;

/* Rows of up to *most* pages. */
export async function list(path, parameters, most = 3) {
  const rows = [];
  for (let url = address(path, parameters); url && most > 0; most -= 1) {
    const { body, next } = await ask(url);
    rows.push(...body);
    url = next;
  }
  return rows;
}

/* The link is relative to the URL that was requested. */
function nextPage(url, link) {
  const found = /<([^>]+)>; *rel="?next"?/.exec(link);
  return found ? new URL(found[1], url) : null;
}

/* The header has whole seconds: a difference that small is none. */
function setClock(date) {
  const ahead = Date.parse(date) + 500 - Date.now();
  if (Number.isFinite(ahead)) skew = Math.abs(ahead) < 1500 ? 0 : ahead;
}
