// The ranking: bars grow, places change by moving.
import { element, setFigure, setText } from "../draw.js";
import { has, number, word } from "../words.js";

const rows = new Map(); // content id -> row
const still = matchMedia("(prefers-reduced-motion: reduce)");

export function showTop(snapshot) {
  const list = document.getElementById("top");
  setText(document.getElementById("window"), word("top.window", { n: snapshot.window_minutes }));
  const top = snapshot.top ?? [];
  if (!top.length) {
    rows.clear();
    return list.replaceChildren(element("li", { class: "empty" }, word(snapshot.top ? "top.empty" : "top.away")));
  }
  const before = new Map([...rows].map(([id, row]) => [id, row.getBoundingClientRect().top]));
  const ids = new Set(top.map((content) => content.content_id));
  for (const id of [...rows.keys()]) if (!ids.has(id)) rows.delete(id);
  const most = top[0].events || 1;
  const ordered = top.map((content) => {
    if (!rows.has(content.content_id)) rows.set(content.content_id, row());
    const shown = rows.get(content.content_id);
    fill(shown, content, most);
    return shown;
  });
  if (ordered.length !== list.children.length || ordered.some((shown, place) => list.children[place] !== shown)) {
    list.replaceChildren(...ordered);
    if (!still.matches) for (const [id, shown] of rows) move(shown, before.get(id));
  }
}

function row() {
  return element("li", {}, element("span", { class: "rank" }),
    element("span", { class: "name" }, element("bdi"), element("small")), element("span", { class: "count" }),
    element("span", { class: "bar", "aria-hidden": "true" }, element("i")));
}

function fill(shown, content, most) {
  shown.dataset.content = content.content_id;
  setText(shown.querySelector(".rank"), number(content.rank));
  const title = content.title ?? content.slug ?? content.content_id;
  setText(shown.querySelector("bdi"), title);
  shown.querySelector(".name").title = title;
  const type = `type.${content.content_type}`;
  setText(shown.querySelector("small"), has(type) ? word(type) : content.content_type ?? "");
  setFigure(shown.querySelector(".count"), content.events, word("top.events", { n: content.events }));
  shown.querySelector("i").style.transform = `scaleX(${(content.events / most).toFixed(4)})`;
}

function move(shown, from) {
  const by = from === undefined ? 0 : from - shown.getBoundingClientRect().top;
  if (by) shown.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 450, easing: "ease-out" });
}
