/* The time in the viewer's zone and in UTC, and the colours the viewer wants. */

import { now } from "./api.js";
import { el, find, switcher } from "./dom.js";
import { isUtc, when, zoneName } from "./words.js";

function tick() {
  const utc = `${when(now(), "second", "UTC")} UTC`;
  const local = isUtc() ? [] : [el("b", {}, when(now(), "second")), " "];
  find("clock").replaceChildren(...local, utc);
  setTimeout(tick, 1000 - (now() % 1000));
}

tick();
find("zone").textContent = isUtc()
  ? "Times are UTC."
  : `Times are of ${zoneName()} unless UTC is said; days, weeks and months are UTC's.`;

const root = document.documentElement;
const dressed = () => document.dispatchEvent(new Event("dressed"));

const themes = { "": "Auto", light: "Light", dark: "Dark" };
switcher("theme", themes, root.dataset.theme ?? "", (theme) => {
  localStorage.setItem("theme", theme);
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  dressed();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dressed);
