// What is wrong, in one sentence with its remedy. A live region: it only changes when the sentence does.
import { setText } from "../draw.js";
import { word } from "../words.js";

const at = (name) => document.querySelector(`#verdict .${name}`);

function say(kind, headline, remedy, detail = "") {
  document.getElementById("verdict").className = `verdict ${kind}`;
  setText(at("headline"), headline);
  setText(at("remedy"), remedy);
  setText(at("detail"), detail);
}

export function showVerdict(snapshot) {
  if (!snapshot) return say("", word("verdict.loading"), "");
  const [worst, ...others] = snapshot.troubles;
  if (!worst) return say("ok", word("verdict.ok"), "");
  const stage = worst.stage.replace(/-\d+$/, "");
  const headline = word(`trouble.${worst.kind}`, { stage: stage ? word(`stage.${stage}`) : "" });
  const more = others.length ? ` ${word("verdict.more", { n: others.length })}` : "";
  // What a halted stage asks for is particular to it: its own words, whatever the language of the page.
  const own = ["halted", "degraded"].includes(worst.kind) && worst.remedy ? ` ${worst.remedy}` : "";
  say(snapshot.status === "ok" ? "degraded" : snapshot.status, headline + more, word(`trouble.${worst.kind}.remedy`), worst.sentence + own);
}

export function showLost() {
  say("lost", word("verdict.lost"), word("verdict.lost.remedy"));
}
