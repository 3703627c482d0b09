"""The hostile tokens are what they claim to be: signed with the right key, and wrong in one respect only."""

from __future__ import annotations

import time

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.authorities.hostile_logout_tokens import ANY, EVENT, LOGOUT
from tests.authorities.token_forge import Forge


@pytest.fixture(scope="module")
def forge() -> Forge:
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True, auto_kid=True)
    return Forge(key, issuer="https://provider.example", audience="shop", now=time.time())


@pytest.mark.parametrize("kind", ["logout", "event"])
def test_a_good_one_verifies(forge: Forge, kind: str) -> None:
    """What the rows start from is a token that a verifier takes."""
    token = getattr(forge, kind)()
    claims = jwt.decode(token, forge.key, algorithms=["RS256"]).claims
    assert (claims["iss"], claims["aud"]) == ("https://provider.example", "shop")


def test_there_are_many(forge: Forge) -> None:
    """Each row has a name of its own, says why, and builds something else than its neighbours."""
    for kind, rows in (("logout", (*ANY, *LOGOUT)), ("event", (*ANY, *EVENT))):
        assert len(rows) >= 60
        assert len({row.name for row in rows}) == len(rows)
        assert all(row.why for row in rows)
        assert len({row.build(forge, getattr(forge, kind)) for row in rows}) == len(rows)


def test_what_is_wrong_is_not_the_signature(forge: Forge) -> None:
    """Every row whose fault is in its claims carries a signature that verifies, so that nothing else refuses it."""
    from_claims = {row.name for row in ANY[ANY.index(next(row for row in ANY if row.name == "iss-other")) :]}
    for rows, make in (((*ANY, *LOGOUT), forge.logout), ((*ANY, *EVENT), forge.event)):
        for row in rows:
            if row in ANY and row.name not in from_claims:
                continue
            jwt.decode(row.build(forge, make), forge.key, algorithms=["RS256"])
