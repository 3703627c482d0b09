"""Signing in at a real OpenID provider, and what our session takes from it (L2, L3, L12, L24)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import Stage
from tests.authorities.oidc_people import Person

pytestmark = pytest.mark.server


def asked_of(url: str) -> dict[str, str]:
    """The parameters of a sign-in at the provider."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_page_leads_to_the_provider_and_back(stage: Stage, person: Callable[..., Person]) -> None:
    """Who opens a page without a session signs in at the provider and sees that page, as who they are there."""
    alice = person()
    seen = served(alice.sign_in("/me?tab=2"))
    assert alice.there.pages == ["login", "consent"]
    assert alice.app.answers[-2].header("Location") == "/me?tab=2"
    assert (seen["subject"], seen["claims"]) == ("alice", {"email": "somebody@example.org"})
    assert abs(seen["authenticated_at"] - stage.clock()) < 60
    assert not [cookie for cookie in alice.app.jar.names if "state" in cookie]


def test_what_is_asked(person: Callable[..., Person]) -> None:
    """A sign-in asks for a code, with PKCE and nonce of its own, and for the time of the user's last proof."""
    alice = person(parameters={"audience": "an-api"})
    one, two = (asked_of(alice.to_the_provider("/session/login?login_hint=alice%40x&evil=1")) for _ in range(2))
    assert one["response_type"] == "code"
    assert one["code_challenge_method"] == "S256"
    assert (one["audience"], one["login_hint"]) == ("an-api", "alice@x")
    assert int(one["max_age"]) > 0
    assert "evil" not in one
    assert "prompt" not in one
    assert "response_mode" not in one
    for name in ("state", "nonce", "code_challenge"):
        assert len(one[name]) >= 43
        assert one[name] != two[name]


def test_two_tabs_sign_in_at_once(person: Callable[..., Person]) -> None:
    """Each sign-in has a state of its own, so that the one which comes back last is none the worse."""
    alice = person()
    one, two = (alice.to_the_provider(f"/session/login?return_to=/open?{tab}") for tab in (1, 2))
    assert alice.arrive(alice.there.visit(two)).header("Location") == "/open?2"
    assert alice.arrive(alice.there.visit(one)).header("Location") == "/open?1"


def test_an_answer_for_another_browser(person: Callable[..., Person]) -> None:
    """An answer that this browser did not ask for signs nobody in: login CSRF."""
    alice = person()
    mallory = person("mallory", like=alice)
    arrival = mallory.there.visit(mallory.to_the_provider())
    answer = alice.arrive(arrival)
    assert answer.status == 400
    assert alice.app.navigate("/me").status == 303
    assert not answer.set_cookies


def test_an_answer_counts_once(person: Callable[..., Person]) -> None:
    """The same answer a second time, say by the browser's back button, begins nothing."""
    alice = person()
    arrival = alice.there.visit(alice.to_the_provider())
    assert alice.arrive(arrival).status == 303
    session = served(alice.app.navigate("/me"))["id"]
    assert alice.arrive(arrival).status == 400
    assert served(alice.app.navigate("/me"))["id"] == session


def test_a_code_of_another_sign_in(stage: Stage, person: Callable[..., Person]) -> None:
    """A code that was begotten by another sign-in fails at the verifier, whoever's it is (code injection)."""
    alice = person()
    mallory = person("mallory", like=alice)
    stolen = mallory.there.visit(mallory.to_the_provider()).answer["code"]
    mine = alice.there.visit(alice.to_the_provider())
    target = mine.target.replace(mine.answer["code"], stolen)
    assert alice.app.navigate(target, site="cross-site").status == 400
    assert stage.store.calls["create"] == 0


def test_another_issuer_answers(person: Callable[..., Person]) -> None:
    """An answer with another `iss` than the provider's, or with none where it always says one, is refused (RFC 9207)."""
    alice = person()
    for change in ("https%3A%2F%2Fevil.example", ""):
        arrival = alice.there.visit(alice.to_the_provider())
        target = arrival.target.partition("&iss=")[0] + (f"&iss={change}" if change else "")
        assert alice.app.navigate(target, site="cross-site").status == 400


def test_the_user_says_no(person: Callable[..., Person]) -> None:
    """Who does not sign in there gets a page that says so, and no session."""
    alice = person()
    state = asked_of(alice.to_the_provider())["state"]
    issuer = alice.there.issuer
    answer = alice.app.navigate(f"/session/callback?error=access_denied&state={state}&iss={issuer}", site="cross-site")
    assert answer.status == 403
    assert alice.app.navigate("/me").status == 303


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_nobody_is_sent_elsewhere(person: Callable[..., Person], to: str) -> None:
    """Only a path of this host is returned to (L15)."""
    alice = person()
    answer = alice.arrive(alice.there.visit(alice.to_the_provider(f"/session/login?return_to={to}")))
    assert answer.header("Location") == "/"


def test_a_fresh_login(stage: Stage, person: Callable[..., Person]) -> None:
    """A route that demands a recent proof makes the provider ask again, and its new time counts (L21, L3)."""
    alice = person()
    before = served(alice.sign_in())["authenticated_at"]
    stage.clock.advance(301)
    answer = alice.app.follow(alice.app.navigate("/fresh"))
    asked = asked_of(answer.header("Location") or "")
    assert (asked["prompt"], asked["max_age"]) == ("login", "0")
    alice.there.pages.clear()
    seen = served(alice.go_on(answer))
    assert alice.there.pages == ["login"]
    assert seen["authenticated_at"] >= before + 300
    assert seen["claims"] == {"email": "somebody@example.org"}


def test_a_proof_cannot_be_talked_out_of_the_provider(stage: Stage, person: Callable[..., Person]) -> None:
    """Who takes `prompt` and `max_age` out of the URL comes back with an old proof, which a fresh login does not take."""
    alice = person()
    served(alice.sign_in())
    stage.clock.advance(20)
    location = alice.to_the_provider("/session/login?reason=fresh_login&return_to=/fresh")
    stripped = location.replace("prompt=login", "x=1").replace("max_age=0", "y=1")
    assert alice.arrive(alice.there.visit(stripped)).status == 403


def test_silent_renewal(stage: Stage, person: Callable[..., Person]) -> None:
    """`prompt=none` goes on with the provider's session without a page: a new session of ours, no newer proof (L3)."""
    alice = person()
    before = served(alice.sign_in())
    pages = list(alice.there.pages)
    stage.clock.advance(1)
    seen = served(alice.go_on(alice.app.navigate("/session/login?prompt=none&return_to=/me")))
    assert alice.there.pages == pages
    assert seen["id"] != before["id"]
    assert seen["authenticated_at"] == before["authenticated_at"]
    assert seen["inactivity_deadline"] > before["inactivity_deadline"]
    assert seen["absolute_deadline"] == before["absolute_deadline"]


def test_continue_goes_on_there_too(stage: Stage, person: Callable[..., Person]) -> None:
    """Where it is asked for, `continue` moves our deadline and says where the browser renews the provider's session."""
    alice = person(continue_there=True)
    served(alice.sign_in())
    stage.clock.advance(10)
    said = alice.app.fetch("/session/continue", "POST").json
    assert said["inactivity_left"] == 900
    parts = urlsplit(said["continue_url"])
    pages = list(alice.there.pages)
    answer = alice.app.navigate(f"{parts.path}?{parts.query}&return_to=/me", site="same-origin")
    served(alice.go_on(answer))
    assert alice.there.pages == pages
    assert "continue_url" not in person().app.fetch("/session/status").json


def test_silent_renewal_after_the_end_there(stage: Stage, person: Callable[..., Person]) -> None:
    """Once the provider's session has ended by silence, who goes on is asked to sign in there."""
    brief = person("brief")
    served(brief.sign_in())
    for _ in range(2):
        stage.clock.advance(40)
        served(brief.go_on(brief.app.navigate("/session/login?prompt=none&return_to=/me")))
    stage.clock.advance(61)
    brief.there.pages.clear()
    seen = served(brief.go_on(brief.app.navigate("/session/login?prompt=none&return_to=/me")))
    assert brief.there.pages[0] == "login"
    assert seen["subject"] == "brief"


@pytest.mark.parametrize("stripped", [False, True], ids=["told", "stripped"])
def test_our_session_ends_by_its_own_rules(stage: Stage, person: Callable[..., Person], stripped: bool) -> None:
    """Silence here ends ours though the provider's lives on, and then its memory is not enough (L24)."""
    alice = person()
    served(alice.sign_in())
    stage.clock.advance(1_000)
    answer = alice.app.navigate("/me")
    assert "reason=inactivity" in (answer.header("Location") or "")
    if stripped:
        answer = alice.app.navigate("/session/login?return_to=/me")
        assert "prompt" not in asked_of(answer.header("Location") or "")
    alice.there.pages.clear()
    served(alice.go_on(answer))
    assert alice.there.pages == ["login"]


def test_silent_sso(stage: Stage, person: Callable[..., Person]) -> None:
    """With silent_sso the provider's memory begins a session again after silence here."""
    alice = person(settings={"silent_sso": True})
    served(alice.sign_in())
    stage.clock.advance(1_000)
    answer = alice.app.navigate("/me")
    assert "reason=inactivity" in (answer.header("Location") or "")
    alice.there.pages.clear()
    served(alice.go_on(answer))
    assert alice.there.pages == []


def test_the_session_that_an_enterprise_caps(stage: Stage, person: Callable[..., Person]) -> None:
    """`session_expiry` of the ID token is the latest end of ours, 30 s early (L2)."""
    ends = int(stage.clock()) + 600
    carol = person(f"carol?session_expiry={ends}")
    assert served(carol.sign_in())["absolute_deadline"] == ends - 30
    stage.clock.advance(571)
    assert carol.app.navigate("/me").status == 303


def test_a_cap_that_has_passed(stage: Stage, person: Callable[..., Person]) -> None:
    """A session whose latest end has passed is not begun, and nobody is sent round in circles."""
    carol = person(f"carol?session_expiry={int(stage.clock()) - 5}")
    assert carol.sign_in().status == 403


@pytest.mark.parametrize("nonsense", [0, -5, 1_800_000_000_000])
def test_a_cap_that_is_none(person: Callable[..., Person], nonsense: int) -> None:
    """A cap in milliseconds, or of nothing, is passed over, as Auth0's clients do."""
    carol = person(f"carol?session_expiry={nonsense}")
    seen = served(carol.sign_in())
    assert seen["absolute_deadline"] == pytest.approx(seen["authenticated_at"] + 28_800)


@pytest.mark.parametrize("ahead", [-30, 30])
def test_a_clock_that_is_half_a_minute_off(stage: Stage, person: Callable[..., Person], ahead: int) -> None:
    """Nobody is kept out by 30 s between the provider's clock and ours, a new proof after logout included (L1)."""
    stage.clock.ahead = ahead  # type: ignore[attr-defined]
    alice = person()
    served(alice.sign_in())
    assert alice.app.submit("/sign-out").status == 200
    served(alice.go_on(alice.app.navigate("/session/login?return_to=/me")))


def test_another_user_of_the_provider(stage: Stage, person: Callable[..., Person]) -> None:
    """Where another user comes back, the first one's session ends and none of it is carried over (L12)."""
    alice = person()
    served(alice.sign_in())
    bob = person("bob", like=alice)
    alice.there = bob.there
    seen = served(alice.go_on(alice.app.navigate("/session/login?return_to=/me")))
    assert seen["subject"] == "bob"
    assert [event.subject for event in stage.events if event.name == "session_ended"] == ["alice"]


def test_users_of_our_own(person: Callable[..., Person]) -> None:
    """`subject=` names the user as the app does."""
    alice = person(subject=lambda claims: f"user-{claims['sub']}")
    assert served(alice.sign_in())["subject"] == "user-alice"
