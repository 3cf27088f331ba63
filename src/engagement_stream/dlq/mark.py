"""What became of a letter: one record of the state topic, its key the letter's name. No mark: the letter is open."""

from typing import Literal

import msgspec


class Mark(msgspec.Struct, frozen=True):
    """`at_ms` since 1970; `by`: command line, token or loopback; `operation` tells one handling from another."""

    state: Literal["replayed", "discarded"]
    at_ms: int
    by: str
    operation: str
    v: int = 1


encode_mark = msgspec.json.Encoder().encode
decode_mark = msgspec.json.Decoder(Mark).decode
"""bytes -> Mark; raises msgspec.MsgspecError."""
