// Commit-to-visible of each sink against its promise; the last five minutes are kept here, in the page.
import { element, setFigure, setText, svg } from "../draw.js";
import { duration, word } from "../words.js";

const KEPT_MS = 5 * 60 * 1000;
const WIDTH = 300;
const HEIGHT = 56;
const history = new Map(); // stage -> [[ms, p50, p99], ...]

export function remember(snapshot) {
  const now = Date.parse(snapshot.at);
  for (const { stage, promise_s, latency } of snapshot.stages) {
    if (promise_s == null) continue;
    const points = history.get(stage) ?? [];
    points.push([now, latency?.p50_s ?? null, latency?.p99_s ?? null]);
    while (points.length && now - points[0][0] > KEPT_MS) points.shift();
    history.set(stage, points);
  }
}

export function showLatency(snapshot) {
  const box = document.getElementById("latency");
  setText(document.getElementById("span"), word("latency.span", { n: KEPT_MS / 60_000 }));
  const sinks = snapshot.stages.filter((stage) => stage.promise_s != null);
  if ([...box.children].map((card) => card.dataset.stage).join() !== sinks.map((sink) => sink.stage).join()) {
    box.replaceChildren(...sinks.map((sink) => card(sink.stage)));
  }
  const now = Date.parse(snapshot.at);
  sinks.forEach((sink, place) => show(box.children[place], sink, now));
}

function card(stage) {
  const quantile = (name) => element("div", { class: name }, element("dt", { dir: "ltr" }, name), element("dd"));
  return element("article", { class: `card ${stage}`, "data-stage": stage },
    element("h3", {}, element("span"), element("small")),
    element("dl", { class: "quantiles" }, quantile("p99"), quantile("p50")),
    svg("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      svg("path", { class: "base", d: `M0 ${HEIGHT}H${WIDTH}` }), svg("path", { class: "promise" }),
      svg("path", { class: "p50" }), svg("path", { class: "p99" })),
    element("p", { class: "promise-line" }));
}

function show(box, sink, now) {
  const { latency, promise_s: promise } = sink;
  setText(box.querySelector("h3 span"), word(`stage.${sink.stage}`));
  // The long form of HTTP's promise is for /health; its beginning says it.
  setText(box.querySelector("h3 small"), word(`guarantee.${sink.guarantee.split(",")[0]}`));
  for (const name of ["p99", "p50"]) {
    const value = latency?.[`${name}_s`] ?? null;
    setFigure(box.querySelector(`.quantiles .${name} dd`), value, duration(value));
  }
  const over = latency != null && latency.p99_s > promise;
  const line = box.querySelector(".promise-line");
  line.classList.toggle("over", over);
  const sentence = latency ? word(over ? "latency.over" : "latency.promise", { value: duration(promise) }) : word("latency.none");
  setText(line, sentence);
  plot(box.querySelector("svg"), history.get(sink.stage) ?? [], promise, now);
  box.querySelector("svg").setAttribute("aria-label", word("latency.chart", { stage: word(`stage.${sink.stage}`), value: duration(latency?.p99_s) }));
}

function plot(chart, points, promise, now) {
  // A single outlier must not flatten the rest: beyond four times the promise the line runs along the upper edge.
  const highest = Math.min(points.reduce((top, [, , p99]) => Math.max(top, p99 ?? 0), promise), promise * 4);
  const y = (value) => (HEIGHT - (Math.min(value, highest) / (highest * 1.08)) * HEIGHT).toFixed(1);
  const x = (ms) => (WIDTH - ((now - ms) / KEPT_MS) * WIDTH).toFixed(1);
  chart.querySelector(".promise").setAttribute("d", `M0 ${y(promise)}H${WIDTH}`);
  for (const [index, name] of [[1, "p50"], [2, "p99"]]) {
    let path = "";
    let drawing = false; // a gap where nothing passed
    for (const point of points) {
      if (point[index] != null) path += `${drawing ? "L" : "M"}${x(point[0])} ${y(point[index])}`;
      drawing = point[index] != null;
    }
    chart.querySelector(`.${name}`).setAttribute("d", path);
  }
}
