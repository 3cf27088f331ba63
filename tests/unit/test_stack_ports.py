"""Ports: the wanted one, the one of last time, or a free one."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engagement_stream.stack.ports import HOST, WANTED, PortBook, free_port, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    """A port another program listens on."""
    with socket.create_server((HOST, 0)) as other:
        yield int(other.getsockname()[1])


def test_a_listened_port_is_not_free(taken: int) -> None:
    """A listener on the loopback interface alone is enough."""
    assert not is_free(taken)


def test_the_wanted_port_is_taken_when_it_is_free(tmp_path: Path) -> None:
    """Nothing to say then."""
    wanted = free_port()
    port = PortBook(tmp_path / "ports.json").choose("kafka", wanted)
    assert (port.number, port.instead_of) == (wanted, None)


def test_a_taken_port_is_replaced_and_the_substitute_is_kept(tmp_path: Path, taken: int) -> None:
    """Whoever noted the address down finds the server there again."""
    first = PortBook(tmp_path / "ports.json").choose("kafka", taken)
    assert first.instead_of == taken
    assert first.number != taken
    assert PortBook(tmp_path / "ports.json").choose("kafka", taken) == first


def test_a_substitute_that_is_taken_too_is_replaced(tmp_path: Path, taken: int) -> None:
    """The memory is a wish, not an order."""
    (tmp_path / "ports.json").write_text(f'{{"kafka": {taken}}}')
    wanted = free_port()
    assert PortBook(tmp_path / "ports.json").choose("kafka", wanted).number == wanted


@pytest.mark.parametrize("content", ["", "[1]", '{"kafka": "x"}', '{"kafka'])
def test_a_torn_book_costs_only_its_memory(tmp_path: Path, content: str) -> None:
    """A crash while writing, or a hand in the file."""
    (tmp_path / "ports.json").write_text(content)
    wanted = free_port()
    assert PortBook(tmp_path / "ports.json").choose("kafka", wanted).number == wanted


def test_a_free_port_is_none_a_person_expects_and_none_of_outgoing_connections() -> None:
    """A restarted server must find it again: Linux gives outgoing connections ports from 32768 on."""
    for _ in range(20):
        assert free_port() not in WANTED.values()
        assert free_port() < 32_768
