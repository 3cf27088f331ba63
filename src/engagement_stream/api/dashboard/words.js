// The two languages: which one is chosen, its words with their plurals, its numbers and times (by Intl).
const KEY = "engagement.language";
let words = {};
let language = "en";
let numbers, plurals, clock, relative;

export async function loadWords() {
  words = await (await fetch("dashboard/words.json")).json();
  choose(localStorage.getItem(KEY) ?? (navigator.language.startsWith("ar") ? "ar" : "en"));
}

export function switchLanguage() {
  choose(language === "en" ? "ar" : "en");
  localStorage.setItem(KEY, language);
}

function choose(wanted) {
  language = wanted in words ? wanted : "en";
  numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
  plurals = new Intl.PluralRules(language);
  clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  relative = new Intl.RelativeTimeFormat(language, { style: "short" });
  document.documentElement.lang = language;
  document.documentElement.dir = language === "ar" ? "rtl" : "ltr";
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  const other = document.getElementById("language");
  other.textContent = word("language");
  other.lang = language === "en" ? "ar" : "en";
}

/** A word; `n` chooses its plural form. An unknown key is shown as it is: seen, and no reason to break. */
export function word(key, values = {}) {
  let text = words[language]?.[key] ?? words.en?.[key] ?? key;
  if (typeof text === "object") text = text[plurals.select(values.n)] ?? text.other;
  const shown = typeof values.n === "number" ? { ...values, n: numbers.format(values.n) } : values;
  return text.replace(/\{(\w+)\}/g, (_, name) => shown[name] ?? "");
}

export const has = (key) => key in (words[language] ?? {});
export const number = (n) => (n == null ? "–" : numbers.format(n));
export const timeOfDay = (text) => clock.format(new Date(text));

export function rate(perSecond) {
  if (perSecond == null) return "–";
  const digits = perSecond < 10 && perSecond > 0 ? 1 : 0;
  const text = new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(perSecond);
  return word("unit.per_second", { n: text });
}

function inUnit(value, unit, digits) {
  return new Intl.NumberFormat(language, {
    style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits,
  }).format(value);
}

export function duration(seconds) {
  if (seconds == null) return "–";
  const [unit, value, digits] = seconds < 1 ? ["ms", seconds * 1000, 0] : ["s", seconds, seconds < 10 ? 1 : 0];
  return word(`unit.${unit}`, { n: new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value) });
}

export function bytes(count) {
  if (count == null) return "–";
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const step = Math.min(Math.floor(Math.log(Math.max(count, 1)) / Math.log(1000)), units.length - 1);
  return inUnit(count / 1000 ** step, units[step], step ? 1 : 0);
}

export function ago(seconds) {
  if (seconds == null) return "–";
  const s = Math.round(seconds);
  if (s < 120) return relative.format(-s, "second");
  return s < 7200 ? relative.format(-Math.round(s / 60), "minute") : relative.format(-Math.round(s / 3600), "hour");
}
