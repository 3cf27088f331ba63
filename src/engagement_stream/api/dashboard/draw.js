// Elements by name. Texts are set as text: titles come from outside.
const SVG = "http://www.w3.org/2000/svg";

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function svg(name, properties = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(properties)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Only what changed: a text that stays is not read out again, and no selection is lost. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** A figure as it is shown, with the value it stands for. */
export function setFigure(target, value, text) {
  setText(target, text);
  target.dataset.value = value ?? "";
}
