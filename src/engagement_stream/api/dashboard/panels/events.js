// The latest events of the content in the ranking.
import { element } from "../draw.js";
import { has, timeOfDay, word } from "../words.js";

const SHOWN = 10;
let shownIds = "";

export function showEvents(snapshot) {
  const list = document.getElementById("events");
  const events = (snapshot.latest ?? []).slice(0, SHOWN);
  const ids = document.documentElement.lang + events.map((event) => event.event_id).join();
  if (ids === shownIds && list.children.length) return;
  shownIds = ids;
  if (!events.length) return list.replaceChildren(element("li", { class: "empty" }, word(snapshot.latest ? "events.empty" : "top.away")));
  list.replaceChildren(...events.map((event) => {
    const kind = has(`kind.${event.event_type}`) ? event.event_type : "untyped";
    return element("li", { class: kind, "data-event": event.event_id },
      element("span", { class: "kind" }, word(`kind.${kind}`)),
      element("span", { class: "name" }, element("bdi", {}, event.title ?? event.content_id)),
      element("time", { datetime: event.event_ts }, timeOfDay(event.event_ts)));
  }));
}
