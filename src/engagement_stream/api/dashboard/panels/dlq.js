// Dead letters: how many, and the way in. What can be done with them belongs into this file.
import { element, setFigure, setText } from "../draw.js";
import { number, word } from "../words.js";

export function showDeadLetters(snapshot) {
  const box = document.getElementById("dlq");
  if (!box.children.length) {
    const link = element("a", { href: "dlq" });
    const wayIn = element("p", {}, element("span"), " ", link, " · ", element("code", {}, "engagement dlq list"));
    box.append(element("strong"), element("span", { class: "what" }), wayIn);
  }
  const count = snapshot.dead_letters;
  box.classList.toggle("some", count > 0);
  setFigure(box.querySelector("strong"), count, number(count));
  setText(box.querySelector(".what"), count ? word("dlq.some", { n: count }) : word("dlq.none"));
  setText(box.querySelector("p span"), word("dlq.inspect"));
  setText(box.querySelector("a"), word("dlq.list"));
}
