"""Which payloads BigQuery's JSON type takes. Pure."""

import re
from typing import Final

import msgspec

MAX_DEPTH: Final = 500
"""Levels of nesting that BigQuery's JSON type takes."""

_parse = msgspec.json.Decoder(msgspec.Raw).decode  # checks, and builds nothing
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def json_problem(text: str) -> str:
    """Why a payload cannot be stored; empty: it can."""
    if len(text) > 2 * MAX_DEPTH and text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        return "raw_payload is nested too deeply"
    try:
        _parse(text)
    except RecursionError:
        return "raw_payload is nested too deeply"
    except msgspec.MsgspecError as error:
        return f"raw_payload: {error}"
    return ""


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest
