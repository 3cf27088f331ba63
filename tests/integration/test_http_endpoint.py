"""The endpoint on its own: certificates are checked, deadlines hold over TLS too, nothing is left waiting."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engagement_stream.errors import Retry
from engagement_stream.sinks.http.endpoint import Endpoint

BODY = b"x" * 300_000


class _Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        taken = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if taken == BODY else 400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL of a server with a certificate that nobody has signed, and that certificate."""
    file = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = HTTPServer(("127.0.0.1", 0), _Taker)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a refused handshake is what we are after
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/in", file
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_unknown_certificate_is_refused(tls: tuple[str, Path]) -> None:
    """Before a byte of ours is sent; the reason names host and cause, not the path."""
    endpoint = Endpoint(tls[0], connections=1, timeout_s=5)
    with pytest.raises(Retry, match="certificate verify failed") as caught:
        endpoint.post(BODY, {})
    assert "/in" not in str(caught.value)
    endpoint.close()


def test_a_trusted_certificate_is_taken(tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE names a CA of one's own; a long body arrives whole, twice on one connection."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[1]))
    endpoint = Endpoint(tls[0], connections=1, timeout_s=5)
    assert [endpoint.post(BODY, {}).status for _ in range(2)] == [204, 204]
    endpoint.close()


@pytest.mark.parametrize(("behaviour", "body_bytes"), [("silent", 20_000_000), ("crumbs", 20_000_000), ("drip", 10)])
def test_no_server_holds_us_beyond_the_deadline(behaviour: str, body_bytes: int) -> None:
    """It does not read at all, reads in crumbs, or drips a header that never ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            if behaviour == "drip":
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not stop.wait(0.05):
                if behaviour == "drip":
                    connection.sendall(b"a")
                elif behaviour == "crumbs":
                    connection.recv(2_000)

    thread = threading.Thread(target=serve)
    thread.start()
    endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/", connections=1, timeout_s=0.7)
    began_s = time.monotonic()
    with pytest.raises(Retry, match="did not answer in time"):
        endpoint.post(b"x" * body_bytes, {})
    took_s = time.monotonic() - began_s
    stop.set()
    thread.join()
    listener.close()
    endpoint.close()
    assert 0.6 < took_s < 2


def test_an_endless_body_of_an_answer_is_not_read() -> None:
    """The status has said everything."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
            try:
                while True:
                    connection.sendall(b"y" * 65_536)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/", connections=1, timeout_s=5)
    answer = endpoint.post(b"x", {})
    assert (answer.status, answer.text) == (200, "")
    thread.join(5)
    assert not thread.is_alive()
    listener.close()
    endpoint.close()


def test_a_refused_connection_is_a_reason_to_wait() -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    endpoint = Endpoint(f"http://user:pass@127.0.0.1:{port}/secret?token=1", connections=1, timeout_s=1)
    with pytest.raises(Retry) as caught:
        endpoint.post(b"x", {})
    assert str(caught.value).startswith(f"http://127.0.0.1:{port} cannot be reached")
    assert not {"pass", "secret", "token"} & set(str(caught.value).replace(":", " ").split())
    endpoint.close()
