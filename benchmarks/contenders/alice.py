"""Who is signed in, in every contender: all of them keep of her what the reference record says of a user.

Ours writes down by itself when, where and with which browser somebody signed in; with a peer, the app puts that into its
session. A session that held one word would be no session that anybody has, and would flatter whoever reads it all on every
request.
"""

from __future__ import annotations

from typing import Any, Final

from session_middleware.testing.reference_record import reference_record

__all__ = ["ALICE", "KEPT", "SAID"]

ALICE: Final = "alice"

_RECORD = reference_record(0)

#: What the app says of her at a login of ours.
SAID: Final[dict[str, Any]] = {"claims": dict(_RECORD.claims), "factors": list(_RECORD.factors)}  # Any: of many kinds

#: What the app puts into the session of a peer: the same, and what ours knows without being told; 371 bytes of JSON.
KEPT: Final[dict[str, Any]] = {
    "user": ALICE,
    **SAID,
    **_RECORD.attributes,
    "authenticated_at": _RECORD.authenticated_at,
}
