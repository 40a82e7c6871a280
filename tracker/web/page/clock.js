/* The time in the viewer's zone and in UTC, and the colour theme. */

import { now } from "./api.js";
import { byId, createElement, createRadioGroup } from "./dom.js";
import { formatTime, isUtc, zoneName } from "./format.js";

function tick() {
  const utc = `${formatTime(now(), "second", "UTC")} UTC`;
  const local = isUtc() ? [] : [createElement("b", {}, formatTime(now(), "second")), " "];
  byId("clock").replaceChildren(...local, utc);
  setTimeout(tick, 1000 - (now() % 1000));
}

tick();
byId("zone").textContent = isUtc()
  ? "Times are UTC."
  : `Times are in ${zoneName()} unless marked UTC; days, weeks and months are in UTC.`;

const root = document.documentElement;
const notifyTheme = () => document.dispatchEvent(new Event("themechange"));

const THEMES = { "": "Auto", light: "Light", dark: "Dark" };
createRadioGroup("theme", THEMES, root.dataset.theme ?? "", (theme) => {
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  notifyTheme();
  localStorage.setItem("theme", theme); // throws where storage is forbidden
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", notifyTheme);
