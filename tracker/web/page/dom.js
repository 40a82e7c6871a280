/* DOM helpers. No markup is parsed from strings, therefore responses cannot inject HTML. */

export const byId = (id) => document.getElementById(id);

/* An element with attributes and children. Attributes that are null or false are omitted. */
export function createElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/* Radio buttons in the fieldset *id*: one tab stop, arrow keys select. labels: {value: label} */
export function createRadioGroup(id, labels, selected, onChange) {
  const buttons = Object.entries(labels).map(([value, label]) => {
    const input = createElement("input", { type: "radio", name: id, value });
    input.checked = value === selected;
    input.addEventListener("change", () => onChange(value));
    return createElement("label", {}, input, createElement("span", {}, label));
  });
  byId(id).append(...buttons);
}

/* null: none of them */
export function checkRadio(id, value) {
  for (const input of byId(id).querySelectorAll("input")) input.checked = input.value === value;
}

/* The current colour of a CSS variable, which depends on the theme. */
export function resolveColour(name) {
  const probe = createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
