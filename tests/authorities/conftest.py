"""What the tests of authorities share."""

from __future__ import annotations

from tests.authorities.oidc_peer import peer, running_peer
from tests.authorities.oidc_people import person, stage

__all__ = ["peer", "person", "running_peer", "stage"]
