"""What the tests of authorities share."""

from __future__ import annotations

from tests.authorities.oidc_peer import peer, running_peer

__all__ = ["peer", "running_peer"]
