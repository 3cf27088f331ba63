"""The external REST system: somebody listens there, over TLS that is valid.

No request is sent: it could have an effect.
"""

import datetime as dt
import socket
import ssl
from urllib.parse import urlsplit

from engagement_stream.doctor.examination import Examination
from engagement_stream.settings import Settings

_TIMEOUT_S = 5.0
_SOON_DAYS = 14
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "receiver"})


def check(settings: Settings) -> Examination:
    """A connection, and for https a handshake."""
    of, http = Examination(), settings.http
    if http.url is None or "http" not in settings.stage.sinks:
        of.saw("no EXTERNAL_API_URL: the http sink is not started")
        return of
    parts = urlsplit(http.url.get_secret_value())
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as plain:
            if parts.scheme == "https":
                _judge_certificate(of, _certificate_of(plain, host))
    except ssl.SSLCertVerificationError as error:
        of.error(
            f"the certificate of {host} is not valid: {error.verify_message}",
            "renew it over there, or name its CA: SSL_CERT_FILE=/path/to/ca.pem",
        )
        return of
    except OSError as error:
        of.error(
            f"nobody answers at {host}:{port}: {error.strerror or type(error).__name__}",
            f"start the receiver, or correct EXTERNAL_API_URL in .env; then: nc -vz {host} {port}",
        )
        return of
    of.saw(f"{host}:{port} answers")
    if parts.scheme == "http" and host not in _LOOPBACK:
        of.warning(f"events go to {host} unencrypted", "EXTERNAL_API_URL=https://... in .env")
    if not http.secret.get_secret_value():
        of.note(
            "batches are not signed: the receiver cannot tell who sent them", "EXTERNAL_API_SECRET=whsec_... in .env"
        )
    return of


def _certificate_of(plain: socket.socket, host: str) -> dt.datetime:
    """When it ends. Raises SSLCertVerificationError."""
    with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as connection:
        ends = str((connection.getpeercert() or {}).get("notAfter", ""))
    return dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), dt.UTC)


def _judge_certificate(of: Examination, ends: dt.datetime) -> None:
    days = (ends - dt.datetime.now(dt.UTC)).days
    if days < _SOON_DAYS:
        of.warning(f"the receiver's certificate ends in {days} days", "renew it over there")
