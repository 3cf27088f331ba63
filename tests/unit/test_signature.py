"""Signatures over bytes are those of the standard's own library, in both directions."""

import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from engagement_stream.model.signature import Signer

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUA=="
BODY = '{"title":"\u0639\u0646\u0648\u0627\u0646 \u2615"}'


def test_the_signature_is_the_librarys() -> None:
    """Whatever the body holds, and whether the secret has its prefix and padding or not."""
    for secret in (SECRET, SECRET.rstrip("="), SECRET.removeprefix("whsec_")):
        wanted = Webhook(secret).sign("key", datetime.fromtimestamp(1_754_000_000, UTC), BODY)
        assert Signer(secret).sign("key", 1_754_000_000, BODY.encode()) == wanted


def test_what_the_library_signs_is_verified_also_among_others() -> None:
    """A sender that changes its secret sends two signatures for a while."""
    now_s = int(time.time())
    signature = Webhook(SECRET).sign("key", datetime.fromtimestamp(now_s, UTC), BODY)
    for given in (signature, f"v1,AAAA {signature}", f"v1a,{signature[3:]} {signature}"):
        assert Signer(SECRET).verifies("key", str(now_s), given, BODY.encode())


@pytest.mark.parametrize("signatures", ["", "v1,", "v1,AAAA", "v1,\u0661", "v1,A", "v2,{}", "{}"])
def test_nothing_else_is_verified(signatures: str) -> None:
    """Nonsense, an empty digest, another version; it is refused, never an exception."""
    now_s = int(time.time())
    digest = Signer(SECRET).sign("key", now_s, BODY.encode()).removeprefix("v1,")
    assert not Signer(SECRET).verifies("key", str(now_s), signatures.format(digest), BODY.encode())


@pytest.mark.parametrize("timestamp", ["", "1", "99999999999", "-5", "\u0661", "nan"])
def test_a_signature_holds_for_five_minutes(timestamp: str) -> None:
    """An old request cannot be sent again by whoever saw it."""
    number = int(timestamp) if timestamp.isascii() and timestamp.isdigit() else 0
    signature = Signer(SECRET).sign("key", number, BODY.encode())
    assert not Signer(SECRET).verifies("key", timestamp, signature, BODY.encode())


@pytest.mark.parametrize("secret", ["whsec_", "whsec_%", "whsec_A", "\u0661"])
def test_a_secret_that_cannot_be_one_is_refused(secret: str) -> None:
    """Before anything is signed with it."""
    with pytest.raises(ValueError, match=r"."):
        Signer(secret)
