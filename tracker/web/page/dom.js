/* Elements, built without markup in strings: what the API says is text and nothing else. */

export const find = (id) => document.getElementById(id);

/* An element with attributes and children; null and false attributes are left out. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/* A row of radio buttons in the fieldset *id*: one tab stop, arrow keys choose. */
export function switcher(id, choices, chosen, changed) {
  const buttons = Object.entries(choices).map(([value, words]) => {
    const input = el("input", { type: "radio", name: id, value });
    input.checked = value === chosen;
    input.addEventListener("change", () => changed(value));
    return el("label", {}, input, el("span", {}, words));
  });
  find(id).append(...buttons);
}

export function choose(id, value) {
  const input = find(id).querySelector(`input[value="${value}"]`);
  if (input) input.checked = true;
}

/* The colour that the style sheet gives a variable now, light or dark. */
export function ink(name) {
  const probe = el("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
