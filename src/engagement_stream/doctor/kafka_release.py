"""Which release of Kafka a broker is, from the protocol versions it offers: the only way to ask, and before any login.

ApiVersions in its first version, by hand, since librdkafka keeps the answer to itself.
"""

import socket
import ssl
import struct

from engagement_stream.settings import KafkaSettings

_API_VERSIONS = 18
_TIMEOUT_S = 5.0
_SIGNS: tuple[tuple[int, int, tuple[int, int]], ...] = (
    (0, 12, (4, 0)),  # Produce: transactions of KIP-890, second half
    (68, 0, (3, 7)),  # ConsumerGroupHeartbeat
    (24, 4, (3, 6)),  # AddPartitionsToTxn: KIP-890, first half
    (1, 13, (3, 1)),  # Fetch by topic id
    (1, 12, (2, 7)),  # Fetch
    (28, 3, (2, 5)),  # TxnOffsetCommit with the group's metadata (KIP-447)
    (36, 0, (1, 0)),  # SaslAuthenticate
)
"""(API key, version it is offered in at least, release that began it), newest first."""

Release = tuple[int, int]
OLDEST: Release = (2, 5)
"""Exactly once needs consumers' metadata in transactions."""


def release_of(offered: dict[int, int]) -> Release:
    """The newest release whose sign is there: `at least that`; (0, 0) if none. Pure."""
    return next((release for key, version, release in _SIGNS if offered.get(key, -1) >= version), (0, 0))


def offered_by(kafka: KafkaSettings) -> dict[int, int]:
    """API key -> newest version that the first broker offers. Raises OSError."""
    host, _, port = kafka.bootstrap_servers.split(",")[0].strip().rpartition("://")[2].rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port or 9092)), _TIMEOUT_S) as plain:
        connection = _encrypted(plain, host, kafka) if "SSL" in kafka.security_protocol.split("_") else plain
        client = b"engagement-doctor"
        request = struct.pack("!hhih", _API_VERSIONS, 0, 1, len(client)) + client
        connection.sendall(struct.pack("!i", len(request)) + request)
        (size,) = struct.unpack("!i", _exactly(connection, 4))
        if not 10 <= size < 1 << 20:
            raise OSError("what answers there does not speak Kafka's protocol")
        answer = _exactly(connection, size)
    _correlation, error, count = struct.unpack_from("!ihi", answer)
    if error or len(answer) < 10 + 6 * count:
        raise OSError(f"the broker refuses to tell its versions (error {error})")
    triples = (struct.unpack_from("!hhh", answer, 10 + 6 * i) for i in range(count))
    return {key: newest for key, _oldest, newest in triples}


def _encrypted(plain: socket.socket, host: str, kafka: KafkaSettings) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(kafka.ssl_ca) if kafka.ssl_ca else None)
    return context.wrap_socket(plain, server_hostname=host)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise OSError("the broker hung up")
        data += piece
    return data
