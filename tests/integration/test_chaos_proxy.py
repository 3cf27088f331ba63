"""The proxy breaks a connection in just the way it says, and mends it again."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from engagement_stream.chaos.proxy import Proxy
from engagement_stream.stack.ports import HOST
from tests.fixtures.waiting import wait_until


class _Echo:
    """A server that remembers what it got and answers `<` before and `>` after it."""

    def __init__(self) -> None:
        self.got = b""
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(65_536):
                    self.got += data
                    client.sendall(b"<" + data + b">")
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def server() -> Iterator[_Echo]:
    """On a port of its own."""
    echo = _Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(server: _Echo) -> Iterator[Proxy]:
    """In front of it."""
    between = Proxy(server.port)
    yield between
    between.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """Connected, and through."""
    with _connected(proxy) as connection:
        yield connection


def _connected(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection((HOST, proxy.port), timeout=10)
    assert _asked(connection, b"hello") == b"<hello>"
    return connection


def _asked(connection: socket.socket, question: bytes) -> bytes:
    connection.sendall(question)
    return _heard(connection, len(question) + 2)


def _heard(connection: socket.socket, count: int) -> bytes:
    """Up to so many bytes; fewer when the other side ends."""
    found = b""
    while len(found) < count and (data := connection.recv(count - len(found))):
        found += data
    return found


def _end_of(connection: socket.socket) -> bytes:
    """What still comes; a reset is an end too."""
    try:
        return connection.recv(10)
    except ConnectionResetError:
        return b""


def test_an_answer_is_swallowed_after_the_server_acted(server: _Echo, proxy: Proxy, client: socket.socket) -> None:
    """The lost answer: the request took effect and nobody was told."""
    proxy.drop_answers()
    client.sendall(b"do it")
    assert _end_of(client) == b""
    assert server.got == b"hellodo it"
    assert proxy.answers_dropped == 1


def test_an_answer_is_cut_in_its_middle(server: _Echo, proxy: Proxy, client: socket.socket) -> None:
    """What came before the cut arrives, the rest does not."""
    proxy.cut_answers(3)
    client.sendall(b"do it")
    assert _heard(client, 7) == b"<do"
    assert server.got == b"hellodo it"


def test_what_goes_into_a_black_hole_never_arrives(server: _Echo, proxy: Proxy, client: socket.socket) -> None:
    """The connection stays open and silent, and ends with the hole."""
    proxy.blackhole()
    client.sendall(b"lost")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    proxy.heal()
    with _connected(proxy) as another:
        assert _asked(another, b"again") == b"<again>"
    assert b"lost" not in server.got


def test_what_is_held_back_arrives_late_even_when_nobody_waits_for_it_any_more(
    server: _Echo, proxy: Proxy, client: socket.socket
) -> None:
    """The request of a client that has given up long ago."""
    proxy.hold()
    client.sendall(b"late")
    client.close()
    time.sleep(0.2)
    assert server.got == b"hello"
    proxy.release()
    wait_until(lambda: server.got == b"hellolate", 10.0, "the late request")


def test_a_release_keeps_the_connection(proxy: Proxy, client: socket.socket) -> None:
    """A network that was away for a moment: nothing is lost, only late."""
    proxy.hold()
    client.sendall(b"patience")
    proxy.release()
    assert _heard(client, 10) == b"<patience>"


def test_a_slow_network_passes_everything(proxy: Proxy, client: socket.socket) -> None:
    """At the rate that was asked for, or slower."""
    proxy.slow(delay_s=0.01, bytes_per_s=100_000)
    question = b"x" * 20_000
    began_s = time.monotonic()
    assert _asked(client, question) == b"<" + question + b">"
    assert time.monotonic() - began_s >= 0.2
    proxy.release()


def test_open_connections_are_reset_and_new_ones_taken(proxy: Proxy, client: socket.socket) -> None:
    """As when a load balancer forgets its table."""
    proxy.cut()
    assert _end_of(client) == b""
    _connected(proxy).close()


def test_nobody_listens_until_it_is_healed(proxy: Proxy) -> None:
    """Refused at once, as by a host without the server."""
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port), timeout=5)
    proxy.heal()
    _connected(proxy).close()
