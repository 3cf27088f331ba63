// The flow, drawn: PostgreSQL, capture, enrich, and the sinks that there are.
import { element, setFigure, setText, svg } from "../draw.js";
import { ago, bytes, number, rate, word } from "../words.js";

const UPSTREAM = ["capture", "enrich"];
let drawn = "";

export function showFlow(snapshot) {
  const stages = new Map(snapshot.stages.map((stage) => [stage.stage, stage]));
  const sinks = [...stages.keys()].filter((name) => !UPSTREAM.includes(name));
  const shape = [...stages.keys()].join();
  if (shape !== drawn) {
    draw(sinks);
    drawn = shape;
  }
  source(snapshot, stages.get("capture"));
  for (const name of [...UPSTREAM, ...sinks]) node(name, stages.get(name));
  pace("pipe-capture", stages.get("capture"));
  pace("pipe-enrich", stages.get("enrich"));
  for (const name of sinks) pace(`stream-${name}`, stages.get(name));
  if (sinks.length) pace("pipe-sinks", stages.get("enrich"));
}

function draw(sinks) {
  const fan = svg("svg", { class: "fan", viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  sinks.forEach((name, place) => {
    const y = (100 * (place + 0.5)) / sinks.length;
    const path = `M0 50C55 50 45 ${y} 100 ${y}`;
    fan.append(svg("path", { d: path }), svg("path", { d: path, class: `stream ${name} still`, id: `stream-${name}` }));
  });
  const pipe = (id) => element("li", { class: "pipe still", id, "aria-hidden": "true" });
  document.getElementById("flow").replaceChildren(
    empty("postgresql", ["lsn", "wal"]), pipe("pipe-capture"), empty("capture", ["rate", "canary"]), pipe("pipe-enrich"),
    empty("enrich", ["rate", "lag"]), element("li", { class: "fan-slot", "aria-hidden": "true" }, fan),
    element("li", {}, element("ol", { class: "sinks" }, ...sinks.map((name) => empty(name, ["rate", "lag"])))),
  );
}

function empty(name, figures) {
  const rows = figures.map((figure) => element("div", {}, element("dt"), element("dd", { class: figure })));
  return element("li", { class: `node ${name}`, id: `node-${name}` },
    element("div", {}, element("h3"), element("p", { class: "role" }), element("p", { class: "state" })),
    element("dl", {}, ...rows));
}

function labels(box, name) {
  setText(box.querySelector("h3"), word(`stage.${name}`));
  setText(box.querySelector(".role"), word(`role.${name}`));
  for (const figure of box.querySelectorAll("dd")) setText(figure.previousSibling, word(`figure.${figure.className}`));
}

function source(snapshot, capture) {
  const box = document.getElementById("node-postgresql");
  labels(box, "postgresql");
  box.className = `node postgresql ${capture?.state === "running" ? "running" : "waiting"}`;
  setText(box.querySelector(".state"), word(`phase.${snapshot.source.phase}`));
  setFigure(box.querySelector(".lsn"), snapshot.source.lsn, snapshot.source.lsn || "–");
  box.querySelector(".lsn").dir = "ltr";
  setFigure(box.querySelector(".wal"), snapshot.source.slot_lag_bytes, bytes(snapshot.source.slot_lag_bytes));
}

function node(name, stage) {
  const box = document.getElementById(`node-${name}`);
  if (!box || !stage) return;
  labels(box, name);
  box.className = `node ${name} ${stage.state}`;
  const workers = stage.workers > 1 ? ` × ${number(stage.workers)}` : "";
  setText(box.querySelector(".state"), word(`state.${stage.state}`) + workers);
  box.querySelector(".state").dataset.value = stage.state;
  setFigure(box.querySelector(".rate"), stage.records_per_s, rate(stage.records_per_s));
  const lag = box.querySelector(".lag");
  if (lag) setFigure(lag, stage.lag_records, number(stage.lag_records));
  const canary = box.querySelector(".canary");
  if (canary) setFigure(canary, stage.canary_age_s, ago(stage.canary_age_s));
}

/** Dots move by what passes: from one step in three seconds to four a second; none move where nothing passes. */
function pace(id, stage) {
  const pipe = document.getElementById(id);
  if (!pipe) return;
  const perSecond = stage?.state === "running" ? stage.records_per_s ?? 0 : 0;
  pipe.classList.toggle("still", !perSecond);
  // In coarse steps: each change of the duration makes the dots jump.
  const step = Math.min(Math.round(Math.log10(Math.max(perSecond, 1)) * 2), 8);
  pipe.style.setProperty("--pace", `${(2.4 / 1.35 ** step).toFixed(2)}s`);
}
