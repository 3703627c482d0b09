"""The record that every size and speed in the docs is measured with: one of a browser, signed in with a password."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.settings import Limits

__all__ = ["reference_record"]

_START = 1_760_000_000.0
_RETENTION = 86_400.0

# 110 characters each, as browsers send them; no two neighbours alike.
_BROWSERS = (
    "Mozilla/5.0 (X11; Linux x86_64; wayland) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/604.1.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.0.0 Safari/537.36",
)


def reference_record(n: int) -> SessionRecord:
    """Return the n-th reference record: realistic in every byte, and the same on every machine.

    110 characters of user agent, an address, one factor, 100 bytes of claims as JSON, one handle, times with
    microseconds. Keys and ids are as random as real ones; sessions begin one every 37 ms.

    Args:
        n: its number, from 0; different numbers never share a key.
    """
    noise = sha256(b"reference record %d" % n).digest()
    began = round(_START + n * 0.037 + noise[0] / 7919, 6)
    subject = f"user-{n:07d}"
    return SessionRecord(
        key=sha256(noise).digest(),
        public_id=urlsafe_b64encode(noise[:16]).rstrip(b"=").decode(),
        subject=subject,
        created_at=began,
        authenticated_at=began,
        last_seen_at=began,
        inactivity_deadline=began + 3600.0,
        limits=Limits(3600, 86400),
        keep_until=began + 3600.0 + _RETENTION,
        renewed_at=began,
        claims={
            "email": f"u{n:07d}@example.org",
            "name": f"User {n:07d}",
            "roles": ["editor", "billing"],
            "tenant": noise[16:19].hex()[:5],
        },
        factors=({"kind": "password", "at": began},),
        attributes={"user_agent": _BROWSERS[n % 3], "address": f"{198 + noise[19] % 2}.51.{noise[20]}.{noise[21]}"},
        handles=(handle_of("subject", subject),),
    )
