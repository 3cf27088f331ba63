"""`raw_payload`: small, varied JSON in many scripts, with what makes decoders stumble."""

import json
import random

_VERSIONS = ("3.9.0", "4.0.2", "4.1.0", "4.2.1", "5.0.0-beta.3")
_LOCALES = ("en-US", "en-GB", "ar-EG", "ar-SA", "de-DE", "fr-FR", "ja-JP", "hi-IN")
_REFERRERS = (
    "https://example.com/?q=news&lang=en",
    "https://example.org/ar/%D8%A3%D8%AE%D8%A8%D8%A7%D8%B1",
    "app://home/recommended",
    "push",
    "",
    None,
)
_TEXTS = (
    "أخبار اليوم",
    "بودكاست عن الفلك ✨",
    "日本語のニュース",
    "naïve café — déjà vu",
    "हिन्दी समाचार",
    "עברית",
    'a "quoted" word',
    "back\\slash and\ttab",
    "two\nlines\r\n",
    "🎧🏳️‍🌈👩🏽‍🚀",
    "a\u0301 combining \u200b zero width \u202e turned",
    "'; drop table engagement_events; --",
    "\\N",
    "\u2028\u0085\u007f",
)


def payloads(count: int, seed: int) -> list[bytes]:
    """JSON objects in UTF-8 without their last brace, so that an event can add what is its own."""
    rng = random.Random(seed)
    return [_one(rng)[:-1].encode() for _ in range(count)]


def _one(rng: random.Random) -> str:
    payload: dict[str, object] = {"app_version": rng.choice(_VERSIONS), "locale": rng.choice(_LOCALES)}
    if rng.random() < 0.6:
        payload["referrer"] = rng.choice(_REFERRERS)
    if rng.random() < 0.3:
        payload["search"] = rng.choice(_TEXTS)
    if rng.random() < 0.25:
        payload["experiment"] = {"name": "autoplay", "arm": rng.choice("ab"), "weights": [0.5, rng.random()]}
    if rng.random() < 0.1:
        payload["tags"] = rng.sample(_TEXTS, k=3)
    if rng.random() < 0.1:
        payload["network"] = {"type": rng.choice(("wifi", "5g", "offline")), "rtt_ms": rng.randrange(900)}
    if rng.random() < 0.03:
        payload["trace"] = rng.getrandbits(80)  # more digits than a 64-bit integer or a float keeps
    if rng.random() < 0.05:
        payload["premium"] = rng.choice((True, False, None))
    return json.dumps(payload, ensure_ascii=rng.random() < 0.2, separators=(",", ":"))
