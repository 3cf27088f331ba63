// Listens to /live and hands each snapshot to the panels.
import { setText } from "./draw.js";
import { showDeadLetters } from "./panels/dlq.js";
import { showEvents } from "./panels/events.js";
import { showFlow } from "./panels/flow.js";
import { remember, showLatency } from "./panels/latency.js";
import { showTop } from "./panels/top.js";
import { showLost, showVerdict } from "./panels/verdict.js";
import { loadWords, switchLanguage, timeOfDay } from "./words.js";

const LOST_AFTER_MS = 4000;
const HIDDEN_CLOSES_AFTER_MS = 30000; // a forgotten tab costs the pipeline nothing
const PANELS = [showVerdict, showFlow, showLatency, showTop, showEvents, showDeadLetters];

let source = null;
let latest = null;
let lost = false;
let lastHeardMs = Date.now();
let closing = 0;

function show() {
  const clock = document.getElementById("at");
  if (latest) {
    setText(clock, timeOfDay(latest.at));
    clock.dateTime = latest.at;
    for (const panel of PANELS) panel(latest);
  }
  if (lost) showLost();
  document.getElementById("connection").classList.toggle("lost", lost);
}

function take(event) {
  latest = JSON.parse(event.data);
  lastHeardMs = Date.now();
  lost = false;
  remember(latest);
  show();
}

function connect() {
  if (source) return;
  source = new EventSource("live");
  source.addEventListener("snapshot", take);
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) { // refused: EventSource itself does not try again then
      source = null;
      setTimeout(connect, 3000);
    }
  });
}

setInterval(() => {
  const silent = source !== null && Date.now() - lastHeardMs > LOST_AFTER_MS;
  if (silent !== lost && !document.hidden) {
    lost = silent;
    show();
  }
}, 1000);

document.addEventListener("visibilitychange", () => {
  clearTimeout(closing);
  lastHeardMs = Date.now();
  if (!document.hidden) return connect();
  closing = setTimeout(() => {
    source?.close();
    source = null;
  }, HIDDEN_CLOSES_AFTER_MS);
});

document.getElementById("language").addEventListener("click", () => {
  switchLanguage();
  show();
});

await loadWords();
showVerdict(null);
document.documentElement.classList.remove("loading");
connect();
