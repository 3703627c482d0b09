"""Tokens for the provider's APIs: kept encrypted, refreshed one request at a time, and no reason to sign anybody out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from session_middleware import SessionError, Settings, StoreUnavailable
from session_middleware.adapters.wsgi import WSGIFacts
from session_middleware.authorities.oidc.sealing import HeldTokens, open_sealed, seal
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import key_of
from session_middleware.engine import Engine
from session_middleware.runtime import ThreadRuntime
from session_middleware.session import Session
from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import KEY
from session_middleware.testing.stand_ins._faults import Answer
from tests.authorities.oidc_peer import Peer
from tests.authorities.oidc_people import PeerClock, Person, authority_at, stage_of
from tests.authorities.oidc_town import Town, town_of
from tests.authorities.oidc_visitor import Visitor

OFFLINE = "openid offline_access"


@pytest.fixture
def town() -> Iterator[Town]:
    """The stand-in, which rotates refresh tokens and revokes the family of one that comes twice."""
    with town_of("wsgi_mode") as town:
        yield town


def worker(town: Town) -> Engine:
    """Return another process of the application."""
    return Engine(
        Settings(secret_keys=[KEY], inactivity_timeout=86_400, absolute_lifetime=864_000),
        town.stage.store,
        authority=town.authority(scope=OFFLINE),
        runtime=ThreadRuntime(),
        clock=town.stage.clock,
    )


def signed_in(town: Town) -> Person:
    """Return somebody whose session has tokens."""
    alice = town.person(scope=OFFLINE, settings={"inactivity_timeout": 86_400, "absolute_lifetime": 864_000})
    served(alice.sign_in())
    return alice


def session_of(engine: Engine, person: Person) -> Session:
    """Return what a view of this process has of a person's session."""
    cookies = person.app.jar.header_for(person.app.origin, "/")
    return Session(engine, engine.begin(WSGIFacts({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_COOKIE": cookies})))


def record_of(town: Town, person: Person) -> SessionRecord:
    """Return what the store holds of a person's session."""
    record = town.stage.store.load(key_of(served(person.app.fetch("/poll"))["id"]))
    assert isinstance(record, SessionRecord)
    return record


def test_the_token_of_the_sign_in(town: Town) -> None:
    """The first one came with the sign-in, and is handed out without a call."""
    alice = signed_in(town)
    engine = worker(town)
    town.provider.calls.clear()
    token = session_of(engine, alice).provider_token()
    assert token.startswith("access-")
    assert session_of(engine, alice).provider_token() == token
    assert town.provider.calls == []


def test_nothing_of_it_is_in_the_store(town: Town) -> None:
    """What the store holds, and what is printed, shows no token."""
    alice = signed_in(town)
    token = session_of(worker(town), alice).provider_token()
    record = record_of(town, alice)
    assert record.sealed is not None
    (refresh,) = town.provider.world.refresh_tokens
    for secret in (token, refresh, "access-", "refresh-"):
        assert secret not in record.sealed
        assert secret not in repr(record)


def test_a_token_that_is_almost_over(town: Town) -> None:
    """A minute before its end it is refreshed; the new refresh token takes the old one's place, again and again."""
    alice = signed_in(town)
    engine, seen = worker(town), set[str]()
    for _ in range(4):
        seen.add(session_of(engine, alice).provider_token())
        town.stage.clock.advance(539)
        seen.add(session_of(engine, alice).provider_token())
        town.stage.clock.advance(2)
    assert len(seen) == 4
    assert town.provider.calls.count("POST /token") == 4


def test_many_requests_in_two_processes(town: Town) -> None:
    """One of them refreshes; a second use of the same refresh token would have ended them all."""
    alice = signed_in(town)
    workers = [worker(town), worker(town)]
    town.stage.clock.advance(599)
    town.provider.calls.clear()
    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(lambda n: session_of(workers[n % 2], alice).provider_token(), range(20)))
    assert len(found) == 1
    assert town.provider.calls.count("POST /token") == 1
    town.stage.clock.advance(599)
    assert session_of(workers[0], alice).provider_token() not in found


def test_a_provider_that_gives_none_any_more(town: Town) -> None:
    """The view is told, and the session lives on: what is over is a permission, not the user's presence (L17)."""
    alice = signed_in(town)
    town.provider.world.refresh_tokens.clear()
    town.stage.clock.advance(599)
    with pytest.raises(SessionError) as caught:
        session_of(worker(town), alice).provider_token()
    assert caught.value.code == "provider_token"
    served(alice.app.fetch("/me"))
    served(alice.go_on(alice.app.navigate("/session/login?return_to=/me")))
    assert session_of(worker(town), alice).provider_token().startswith("access-")


@pytest.mark.parametrize("fault", ["down", "slow", "429", "500", "garbage", "401"])
def test_a_provider_with_faults(town: Town, fault: str) -> None:
    """A refresh that gets no answer fails the view that wanted it, and nothing else; later it succeeds (L17)."""
    alice = signed_in(town)
    engine = worker(town)
    town.stage.clock.advance(599)
    faults = town.provider.faults
    if fault == "down":
        faults.set(hang_up=True)
    elif fault == "slow":
        engine.authority._provider.calls.timeout = 0.1  # type: ignore[attr-defined]
        faults.set(Answer(503), seconds=1.0)
    elif fault == "garbage":
        faults.set(Answer(200, b"<html>"))
    else:
        status = int(fault)
        faults.set(Answer(status, b'{"error": "invalid_client"}', (("Retry-After", "1"),) if status == 429 else ()))
    with pytest.raises(StoreUnavailable):
        session_of(engine, alice).provider_token()
    served(alice.app.fetch("/me"))
    faults.clear()
    engine.authority._provider.calls.timeout = 3.0  # type: ignore[attr-defined]  # a busy machine may need it
    town.stage.clock.advance(60)  # the refresh may be under way elsewhere for so long
    assert session_of(engine, alice).provider_token().startswith("access-")


def test_keys_that_cannot_be_fetched_just_now(town: Town) -> None:
    """A refresh has used its token up: what it brought is kept, though the new key it is signed with is out of reach."""
    alice = signed_in(town)
    engine = worker(town)
    town.provider.world.rotate_keys()
    town.provider.faults.set(hang_up=True, only="/jwks")
    town.stage.clock.advance(599)
    one = session_of(engine, alice).provider_token()
    town.provider.faults.clear()
    town.stage.clock.advance(599)
    assert session_of(engine, alice).provider_token() != one


def test_another_users_token(town: Town) -> None:
    """An answer to a refresh that names another user is not taken (Core §12.2)."""
    alice = signed_in(town)
    town.provider.world.claims["alice"] = {"sub": "mallory"}
    town.stage.clock.advance(599)
    with pytest.raises(SessionError):
        session_of(worker(town), alice).provider_token()


def test_the_cap_of_the_session_is_that_of_its_beginning(town: Town) -> None:
    """`session_expiry` is taken at sign-in; what a refresh says of it changes nothing (L2)."""
    ends = int(town.stage.clock()) + 3_600
    town.provider.world.claims["alice"] = {"session_expiry": ends}
    alice = signed_in(town)
    town.provider.world.claims["alice"] = {"session_expiry": ends + 86_400}
    town.stage.clock.advance(599)
    session_of(worker(town), alice).provider_token()
    assert served(alice.app.fetch("/me"))["absolute_deadline"] == ends - 30


@pytest.mark.parametrize("end", ["logout", "silence"])
def test_the_end_of_a_session(town: Town, end: str) -> None:
    """When a session ends its refresh token is revoked; where the provider does not answer, a few seconds later."""
    alice = signed_in(town)
    bob = town.person("bob", at=alice.app.driver)
    assert len(town.provider.world.refresh_tokens) == 1
    town.provider.faults.set(hang_up=True)
    if end == "logout":
        assert alice.app.submit("/session/logout").status == 303
    else:
        town.stage.clock.advance(86_400)
        alice.app.fetch("/me")
    assert len(town.provider.world.refresh_tokens) == 1
    town.provider.faults.clear()
    town.stage.clock.advance(10)
    bob.app.fetch("/me")
    assert town.provider.world.refresh_tokens == {}


def test_a_login_over_a_session(town: Town) -> None:
    """A new proof of the same user revokes nothing: the new session goes on with tokens of its own."""
    alice = signed_in(town)
    town.stage.clock.advance(400)
    served(alice.sign_in("/fresh"))
    assert "POST /revoke" not in town.provider.calls
    assert session_of(worker(town), alice).provider_token().startswith("access-")


@pytest.mark.parametrize(
    "answer", [b'{"token_type": "Bearer"}', b'{"access_token": 7}', b'{"access_token": "a", "id_token": 7}']
)
def test_an_answer_without_a_token(town: Town, answer: bytes) -> None:
    """What brings no access token, or one that is no text, gives none."""
    alice = signed_in(town)
    town.stage.clock.advance(599)
    town.provider.faults.set(Answer(200, answer), only="/token")
    with pytest.raises((SessionError, StoreUnavailable)):
        session_of(worker(town), alice).provider_token()
    served(alice.app.fetch("/me"))


@pytest.mark.parametrize("lives", [None, "soon", -5, True, 10**12])
def test_a_life_that_is_not_said(town: Town, lives: object) -> None:
    """Where the provider does not say how long an access token lives, five minutes are assumed (RFC 6749 §5.1)."""
    alice = signed_in(town)
    engine = worker(town)
    town.stage.clock.advance(599)
    said = json.dumps({"access_token": "access-a", **({} if lives is None else {"expires_in": lives})})
    town.provider.faults.set(Answer(200, said.encode()), only="/token", times=1)
    assert session_of(engine, alice).provider_token() == "access-a"
    town.stage.clock.advance(239)
    assert session_of(engine, alice).provider_token() == "access-a"
    town.stage.clock.advance(2)
    assert session_of(engine, alice).provider_token() != "access-a"


def test_a_session_without_tokens(town: Town) -> None:
    """Who did not ask for them has none, and is told what to do."""
    alice = town.person()
    served(alice.sign_in())
    with pytest.raises(SessionError, match="offline_access"):
        session_of(worker(town), alice).provider_token()


def test_what_is_sealed_opens_for_its_own_alone() -> None:
    """Any of our keys opens it; another key, another authority's name or one changed character does not."""
    old, new = b"o" * 32, b"n" * 32
    tokens = HeldTokens("id", "access", 12.5, "refresh")
    sealed = seal(tokens, [old], "one")
    assert sealed is not None
    assert open_sealed(sealed, [new, old], "one") == tokens
    assert seal(tokens, [old], "one") != sealed
    nothing = HeldTokens()
    assert open_sealed(sealed, [new], "one") == nothing
    assert open_sealed(sealed, [old], "two") == nothing
    flipped = sealed[:-2] + ("A" if sealed[-2] != "A" else "B") + sealed[-1]
    for bad in (flipped, "", "a1.", "a1.****", "b9.abc", None):
        assert open_sealed(bad, [old], "one") == nothing
    assert seal(nothing, [old], "one") is None
    assert "refresh" not in repr(tokens).replace("refresh_token", "")


@pytest.mark.server
def test_at_a_real_provider(peer: Peer) -> None:
    """A provider that rotates and watches for reuse gives token after token, with consent asked for at sign-in."""
    stage = stage_of("wsgi_mode")
    stage.clock = PeerClock(peer)
    options = {"scope": f"{OFFLINE} email"}
    driver = stage.app(authority=authority_at(peer, stage, **options))
    with Visitor(peer.issuer) as there:
        alice = Person(Browser(driver, stage.clock, origin=peer.shop.origin), there)
        served(alice.sign_in())
        assert there.pages == ["login", "consent"]
        cookies = alice.app.jar.header_for(alice.app.origin, "/")
        settings = Settings(secret_keys=[KEY], inactivity_timeout=900, absolute_lifetime=28_800)
        engine = Engine(
            settings,
            stage.store,
            authority=authority_at(peer, stage, **options),
            runtime=ThreadRuntime(),
            clock=stage.clock,
        )
        seen = set()
        for _ in range(4):
            facts = WSGIFacts({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_COOKIE": cookies})
            seen.add(Session(engine, engine.begin(facts)).provider_token())
            stage.clock.advance(31)  # its access tokens live for 90 s, and are refreshed 60 s before their end
        assert len(seen) == 4
    stage.close()
