"""The fault vocabulary does to answers what it says."""

import threading

import pytest

from engagement_stream.testing.faults import Answers, FailAfterWrite, Hold, Reject, Slow


class _Client:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.pieces.append(data)


def test_an_answer_passes_as_long_as_nothing_is_wrong() -> None:
    """Reject too is none of its business: there is no answer to a write that never was."""
    answers, client = Answers(), _Client()
    answers.pass_on(client, b"one")
    answers.inject(Reject())
    answers.pass_on(client, b"two")
    assert client.pieces == [b"one", b"two"]
    assert not answers.met.is_set()


def test_one_answer_is_lost_and_the_next_passes() -> None:
    """Over the same connection or another."""
    answers, client = Answers(), _Client()
    answers.inject(FailAfterWrite())
    with pytest.raises(ConnectionResetError):
        answers.pass_on(client, b"one")
    assert answers.met.is_set()
    answers.pass_on(client, b"two")
    assert client.pieces == [b"two"]


def test_a_held_answer_comes_when_it_is_released_and_keeps_nobody_else_waiting() -> None:
    """Another connection goes on meanwhile."""
    answers, held, other = Answers(), _Client(), _Client()
    answers.inject(Hold())
    thread = threading.Thread(target=answers.pass_on, args=(held, b"one"))
    thread.start()
    assert answers.met.wait(10)
    answers.pass_on(other, b"two")
    assert (held.pieces, other.pieces) == ([], [b"two"])
    answers.release()
    thread.join(10)
    assert held.pieces == [b"one"]


def test_a_slow_answer_drips() -> None:
    """Byte by byte, and is whole in the end."""
    answers, client = Answers(), _Client()
    answers.inject(Slow(seconds_per_byte=0))
    answers.pass_on(client, b"one")
    assert client.pieces == [b"o", b"n", b"e"]
