"""What a provider says by itself ends or ages the sessions it names, and nobody else's; what is forged does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_middleware.authorities.oidc import OIDCAuthority, SharedSignals
from session_middleware.testing.browser import FORM, Browser
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stand_ins import served as on_loopback
from session_middleware.testing.stand_ins.openid import OpenIDStandIn
from tests.authorities.hostile_logout_tokens import ANY, EVENT, LOGOUT, Hostile
from tests.authorities.oidc_people import MODES, client_for
from tests.authorities.oidc_town import ORIGIN, SECRET, Town, town_of
from tests.authorities.token_forge import ABSENT, CAEP, LOGOUT_EVENT, Forge

SIGNALS = SharedSignals("shop")


@pytest.fixture(params=MODES)
def town(request: pytest.FixtureRequest) -> Iterator[Town]:
    """The stand-in and an application that takes security events."""
    with town_of(request.param) as town:
        yield town


@pytest.fixture(scope="module")
def quiet_town() -> Iterator[Town]:
    """A town for many tokens that change nothing in it."""
    with town_of("wsgi_mode") as town:
        yield town


@pytest.fixture(scope="module")
def alice(quiet_town: Town) -> Any:
    """Somebody signed in there."""
    alice = quiet_town.person(signals=SIGNALS)
    served(alice.sign_in())
    return alice


# --- what is refused ---------------------------------------------------------------------------------------------------


def _touched(town: Town) -> tuple[int, ...]:
    calls = town.stage.store.calls
    return tuple(calls[name] for name in ("create", "touch", "save", "renew", "end", "add_once"))


@pytest.mark.parametrize("row", [*ANY, *LOGOUT], ids=lambda row: row.name)
def test_a_bad_logout_token(quiet_town: Town, alice: Any, row: Hostile) -> None:
    """It is answered with 400 and an error in JSON (§2.8), no session is touched, and nothing of it is repeated."""
    forge = quiet_town.forge(alice)
    before, token = _touched(quiet_town), row.build(forge, forge.logout)
    answer = quiet_town.tell(alice.app.driver, token)
    assert answer.status == 400
    assert answer.json["error"] == "invalid_request"
    assert answer.header("Cache-Control") == "no-store"
    assert not token or token[:200].encode() not in answer.body
    assert _touched(quiet_town) == before
    served(alice.app.fetch("/poll"))


@pytest.mark.parametrize("row", [*ANY, *EVENT], ids=lambda row: row.name)
def test_a_bad_security_event_token(quiet_town: Town, alice: Any, row: Hostile) -> None:
    """It is answered with 400 and `err` (RFC 8935 §2.4), and no session is touched."""
    forge = quiet_town.forge(alice)
    before, token = _touched(quiet_town), row.build(forge, forge.event)
    answer = quiet_town.push(alice.app.driver, token)
    assert answer.status == 400
    assert answer.json["err"] in {"invalid_request", "invalid_key", "invalid_issuer", "invalid_audience"}
    assert answer.json["description"]
    assert _touched(quiet_town) == before
    served(alice.app.fetch("/poll"))


@pytest.mark.parametrize(
    ("change", "err"),
    [
        ({"iss": "https://evil.example"}, "invalid_issuer"),
        ({"aud": "another"}, "invalid_audience"),
        ({"header": {"kid": "unknown"}}, "invalid_key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_transmitter_is_told(quiet_town: Town, alice: Any, change: dict[str, Any], err: str) -> None:
    """The error says which side has to look at its configuration (RFC 8935 §2.4)."""
    assert quiet_town.push(alice.app.driver, quiet_town.forge(alice).event(**change)).json["err"] == err


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", FORM), (b"token=x", FORM), (b"logout_token=a&logout_token=b", FORM), (b"\xff\xfe", "text/plain")],
    ids=["empty", "another field", "two tokens", "no form"],
)
def test_a_request_without_one_token(quiet_town: Town, alice: Any, body: bytes, kind: str) -> None:
    """What brings no token, or two, is refused like a bad one."""
    outsider = Browser(alice.app.driver, quiet_town.stage.clock, origin=ORIGIN)
    answer = outsider.plain("/session/backchannel-logout", "POST", body, headers=[("Content-Type", kind)])
    assert answer.status == 400


def test_a_body_that_is_too_long(quiet_town: Town, alice: Any) -> None:
    """Nobody makes the application read megabytes."""
    assert quiet_town.tell(alice.app.driver, "x" * 100_000).status == 413


def test_an_event_that_is_called_otherwise(quiet_town: Town, alice: Any) -> None:
    """The Content-Type is the one of RFC 8935 §2.1, so that no page's form can post an event."""
    answer = quiet_town.push(alice.app.driver, quiet_town.forge(alice).event(), kind=FORM)
    assert (answer.status, answer.json["err"]) == (400, "invalid_request")


# --- what counts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"header": {"typ": ABSENT}},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": "application/logout+jwt"}},
        {"header": {"typ": "LOGOUT+JWT"}},
        {"sub": ABSENT},
        {"sid": ABSENT},
        {"exp": ABSENT},
        {"aud": ["shop", "another"]},
        {"trace_id": "of Auth0"},
        {"events": {LOGOUT_EVENT: {"more": 1}, "revoke_offline_access": True}},
    ],
    ids=[
        "plain",
        "no typ",
        "JWT",
        "long typ",
        "loud typ",
        "sid alone",
        "sub alone",
        "no exp",
        "list",
        "more",
        "Keycloak",
    ],
)
def test_the_spellings_of_providers(town: Town, change: dict[str, Any]) -> None:
    """Each way in which providers write a logout token ends the session it names."""
    alice = town.person()
    bob = town.person("bob", at=alice.app.driver)
    served(alice.sign_in())
    served(bob.sign_in())
    answer = town.tell(alice.app.driver, town.forge(alice).logout(**change))
    assert answer.status == 200
    problem(alice.app.fetch("/me"), "signed_out")
    served(bob.app.fetch("/me"))


def test_times_that_are_still_good(town: Town) -> None:
    """Five minutes and what clocks differ by is the age of a logout token (L1); who signed in after it stays."""
    alice = town.person()
    served(alice.sign_in())
    sent = int(town.stage.clock())
    town.stage.clock.advance(328)
    late = town.person(at=alice.app.driver)
    served(late.sign_in())
    token = town.forge(alice).logout(iat=sent, exp=sent + 600, sid=ABSENT)
    assert town.tell(alice.app.driver, token).status == 200
    problem(alice.app.fetch("/me"), "signed_out")
    served(late.app.fetch("/me"))
    early = town.forge(late).logout(iat=int(town.stage.clock()) + 29, sid=ABSENT)
    assert town.tell(late.app.driver, early).status == 200
    problem(late.app.fetch("/me"), "signed_out")


def test_a_strict_application(town: Town) -> None:
    """With the switch only what says that it is a logout token is one (OWASP ASVS 5.0 10.5.5)."""
    alice = town.person(strict_logout_typ=True)
    served(alice.sign_in())
    forge = town.forge(alice)
    for typ in ("JWT", ABSENT):
        assert town.tell(alice.app.driver, forge.logout({"typ": typ})).status == 400
    served(alice.app.fetch("/me"))
    assert town.tell(alice.app.driver, forge.logout()).status == 200
    problem(alice.app.fetch("/me"), "signed_out")


def test_a_session_by_its_id_or_a_user_by_name(town: Town) -> None:
    """With `sid` that session ends, on every browser it is used from; with `sub` alone all of that user's."""
    home, work = town.person(), town.person()
    work.app.driver = home.app.driver
    served(home.sign_in())
    forge = town.forge(home)
    served(work.sign_in())
    assert town.tell(home.app.driver, forge.logout()).status == 200
    problem(home.app.fetch("/me"), "signed_out")
    served(work.app.fetch("/me"))
    assert town.tell(home.app.driver, forge.logout(sid=ABSENT)).status == 200
    problem(work.app.fetch("/me"), "signed_out")


def test_a_user_s_sign_in_that_is_on_its_way(town: Town) -> None:
    """The provider's answer from before the logout of its user, named by `sub` alone, begins no session; the next does (L24)."""
    alice = town.person()
    late = alice.there.visit(alice.to_the_provider("/session/login?return_to=/me"))
    town.stage.clock.advance(1)
    assert town.tell(alice.app.driver, town.forge(alice).logout(sid=ABSENT)).status == 200
    refused = alice.arrive(late)
    assert "/session/login?prompt=login" in (refused.header("Location") or "")
    problem(alice.app.fetch("/me"), None)
    town.stage.clock.advance(1)
    served(alice.go_on(refused))


def test_users_of_our_own_are_found_by_the_providers_name(town: Town) -> None:
    """`sub` is the provider's name for the user, whatever the application calls them."""
    alice = town.person(subject=lambda claims: f"user {claims['sub']}")
    served(alice.sign_in())
    assert town.tell(alice.app.driver, town.forge(alice).logout(sid=ABSENT)).status == 200
    problem(alice.app.fetch("/me"), "signed_out")


def test_two_providers_behind_one_store(town: Town) -> None:
    """A session is found by issuer, client and `sid`: what another provider says of the same `sid` or user ends nothing."""
    alice = town.person()
    served(alice.sign_in())
    other = OpenIDStandIn(clock=town.stage.clock)
    other.add_client("shop", SECRET, [f"{ORIGIN}/session/callback"])
    with on_loopback(other) as url:
        other.base_url = url
        elsewhere = town.stage.app(
            authority=OIDCAuthority(url, "shop", SECRET, app_url=ORIGIN, client=client_for(town.stage))
        )
        (sid,) = town.provider.world.sessions
        forge = Forge(other.world.keys[0], issuer=url, audience="shop", now=town.stage.clock(), sid=sid)
        assert town.tell(elsewhere, forge.logout()).status == 200
        assert town.tell(elsewhere, forge.logout(sid=ABSENT)).status == 200
        assert town.tell(alice.app.driver, forge.logout()).status == 400
        served(alice.app.fetch("/me"))
        assert town.tell(elsewhere, town.forge(alice).logout()).status == 400
    served(alice.app.fetch("/me"))


def test_a_replay(town: Town) -> None:
    """The same token a second time is refused, and a session begun since lives on."""
    alice = town.person()
    served(alice.sign_in())
    token = town.forge(alice).logout(sid=ABSENT)
    assert town.tell(alice.app.driver, token).status == 200
    town.stage.clock.advance(60)
    served(alice.go_on(alice.app.navigate("/session/login?prompt=login&return_to=/me")))
    assert town.tell(alice.app.driver, token).status == 400
    served(alice.app.fetch("/me"))


def test_a_replay_at_another_worker(town: Town) -> None:
    """What one process has seen, all have."""
    alice = town.person()
    served(alice.sign_in())
    token = town.forge(alice).logout()
    assert town.tell(alice.app.driver, token).status == 200
    assert town.tell(town.app(), token).status == 400


def test_a_store_that_is_down(town: Town) -> None:
    """A logout that cannot be stored is answered with 503, and the same token said again is taken (L17)."""
    alice = town.person()
    served(alice.sign_in())
    token = town.forge(alice).logout()
    town.stage.store.go_down()
    assert town.tell(alice.app.driver, token).status == 503
    town.stage.store.come_back()
    town.stage.clock.advance(10)
    assert town.tell(alice.app.driver, token).status == 200
    problem(alice.app.fetch("/me"), "signed_out")


def test_a_provider_whose_keys_are_out_of_reach(town: Town) -> None:
    """A token that cannot be judged is not refused for good: 503, to be said again."""
    alice = town.person()
    served(alice.sign_in())
    token = town.forge(alice).logout()
    town.provider.faults.set(hang_up=True)
    worker = town.app()
    assert town.tell(worker, token).status == 503
    town.provider.faults.clear()
    town.stage.clock.advance(5)
    assert town.tell(worker, token).status == 200
    problem(alice.app.fetch("/me"), "signed_out")


def test_keys_that_change(town: Town) -> None:
    """A token under a key that is new at the provider is verified with it, fetched for that; the old key is worth nothing."""
    alice = town.person()
    served(alice.sign_in())
    old = town.forge(alice)
    town.provider.world.rotate_keys()
    town.stage.clock.advance(30)
    assert town.tell(alice.app.driver, town.forge(alice).logout()).status == 200
    problem(alice.app.fetch("/me"), "signed_out")
    assert town.tell(alice.app.driver, old.logout()).status == 400


def test_forged_keys_make_no_storm(town: Town) -> None:
    """A hundred tokens that name unknown keys make one call to the provider in ten seconds."""
    alice = town.person()
    served(alice.sign_in())
    town.stage.clock.advance(30)
    town.provider.calls.clear()
    forge = town.forge(alice)
    for number in range(100):
        assert town.tell(alice.app.driver, forge.logout({"kid": f"unknown-{number}"})).status == 400
    assert town.provider.calls == ["GET /jwks"]


# --- security events ---------------------------------------------------------------------------------------------------


SUBJECTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "session": lambda f: {"format": "opaque", "id": f.sid},
    "user": lambda f: {"format": "iss_sub", "iss": f.issuer, "sub": f.subject},
    "user by an opaque id": lambda f: {"format": "opaque", "id": f.subject},
    "user by several names": lambda f: {
        "format": "aliases",
        "identifiers": [
            {"format": "email", "email": "alice@example.org"},
            {"format": "iss_sub", "iss": "https://other.example", "sub": "bob"},
            {"format": "iss_sub", "iss": f.issuer, "sub": f.subject},
        ],
    },
    "both": lambda f: f.event_claims()["sub_id"],
    "session of complex": lambda f: {"format": "complex", "session": {"format": "opaque", "id": f.sid}},
    "user and device": lambda f: {
        "format": "complex",
        "user": {"format": "iss_sub", "iss": f.issuer, "sub": f.subject},
        "device": {"format": "opaque", "id": "a phone"},
    },
}


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_a_session_that_is_revoked(town: Town, subject: Callable[[Any], dict[str, Any]]) -> None:
    """`session-revoked` ends the sessions it names, however it names them (CAEP 1.0 §3.1)."""
    alice = town.person(signals=SIGNALS)
    bob = town.person("bob", at=alice.app.driver)
    served(alice.sign_in())
    served(bob.sign_in())
    forge = town.forge(alice)
    assert town.push(alice.app.driver, forge.event(sub_id=subject(forge))).status == 202
    problem(alice.app.fetch("/me"), "signed_out")
    served(bob.app.fetch("/me"))


@pytest.mark.parametrize("event", ["credential-change", "assurance-level-change"])
def test_a_user_who_has_to_prove_it_again(town: Town, event: str) -> None:
    """Such an event ends nothing, but what demands a recent proof asks for a new one; that proof stands."""
    alice = town.person(signals=SIGNALS)
    served(alice.sign_in())
    served(alice.app.fetch("/fresh"))
    token = town.forge(alice).event(of=event)
    assert town.push(alice.app.driver, token).status == 202
    served(alice.app.fetch("/me"))
    problem(alice.app.fetch("/fresh"), "fresh_login")
    town.stage.clock.advance(60)
    served(alice.go_on(alice.app.navigate("/fresh")))
    then = int(town.stage.clock()) - 60
    late = town.forge(alice).event(of=event, iat=then, events={CAEP + event: {"event_timestamp": then}})
    assert town.push(alice.app.driver, late).status == 202
    served(alice.app.fetch("/fresh"))


@pytest.mark.parametrize(
    "change",
    [
        {"events": {"https://schemas.openid.net/secevent/ssf/event-type/verification": {"state": "x"}}},
        {"events": {CAEP + "token-claims-change": {}}},
        {"sub_id": {"format": "email", "email": "alice@example.org"}},
        {"sub_id": {"format": "iss_sub", "iss": "https://other.example", "sub": "alice"}},
        {"sub_id": {"format": "opaque", "id": "a session we never saw"}},
        {"sub_id": {"format": "complex", "tenant": {"format": "opaque", "id": "t"}}},
    ],
    ids=["verification", "another event", "by email", "another provider's user", "another session", "a tenant"],
)
def test_an_event_that_is_about_nobody_here(town: Town, change: dict[str, Any]) -> None:
    """It is taken note of, and nothing is done (RFC 8935 §2.2)."""
    alice = town.person(signals=SIGNALS)
    served(alice.sign_in())
    token = town.forge(alice).event(**change)
    assert town.push(alice.app.driver, token).status == 202
    assert town.push(alice.app.driver, token).status == 400
    served(alice.app.fetch("/fresh"))


def test_an_event_in_milliseconds(town: Town) -> None:
    """The drafts of CAEP wrote `event_timestamp` so, and transmitters still do: it ends what it names, and nothing newer."""
    alice = town.person(signals=SIGNALS)
    served(alice.sign_in())
    before = (int(town.stage.clock()) - 3_600) * 1000 + 643
    token = town.forge(alice).event(events={CAEP + "session-revoked": {"event_timestamp": before}})
    assert town.push(alice.app.driver, token).status == 202
    served(alice.app.fetch("/me"))
    now = int(town.stage.clock()) * 1000 + 643
    token = town.forge(alice).event(events={CAEP + "session-revoked": {"event_timestamp": now}}, txn=8675309)
    assert town.push(alice.app.driver, token).status == 202
    problem(alice.app.fetch("/me"), "signed_out")


def test_a_revocation_beside_a_sign_in_that_is_on_its_way(town: Town) -> None:
    """It holds back what was proved before it happened, however late it comes; another proof asked for holds nothing (L24)."""
    alice = town.person(signals=SIGNALS)
    forge = town.forge()
    user = SUBJECTS["user"](forge)
    revoked = forge.event(sub_id=user)
    town.stage.clock.advance(840)
    stale = town.forge().event(of="credential-change", sub_id=user)
    later = alice.there.visit(alice.to_the_provider("/session/login?return_to=/me"))
    assert town.push(alice.app.driver, revoked).status == 202
    assert town.push(alice.app.driver, stale).status == 202
    served(alice.go_on(alice.arrive(later)))


def test_an_event_that_comes_hours_late(town: Town) -> None:
    """A transmitter says again what did not arrive; who signed in after the event stays."""
    alice = town.person(signals=SIGNALS)
    late = town.person(at=alice.app.driver)
    served(alice.sign_in())
    forge = town.forge(alice)
    token = forge.event(sub_id=SUBJECTS["user"](forge))
    town.stage.clock.advance(840)
    served(late.sign_in())
    assert town.push(alice.app.driver, token).status == 202
    problem(alice.app.fetch("/me"), "signed_out")
    served(late.app.fetch("/me"))


def test_a_transmitter_of_its_own(town: Town) -> None:
    """Events may come from somebody else than the provider, with keys of their own; the provider's then count nothing."""
    other = OpenIDStandIn(clock=town.stage.clock)
    with on_loopback(other) as url:
        signals = SharedSignals(
            "https://app.example/caep", issuer=url, jwks_uri=f"{url}/jwks", client=client_for(town.stage)
        )
        alice = town.person(signals=signals)
        served(alice.sign_in())
        said = {"iss": url, "aud": "https://app.example/caep"}
        assert town.push(alice.app.driver, town.forge(alice).event(**said)).status == 400
        forge = town.forge(alice)
        forge.key = other.world.keys[0]
        assert town.push(alice.app.driver, forge.event(**said)).status == 202
        problem(alice.app.fetch("/me"), "signed_out")


def test_without_signals_there_is_no_such_address(town: Town) -> None:
    """Who takes no events has no route for them."""
    alice = town.person()
    assert town.push(alice.app.driver, town.forge().event()).status == 404
