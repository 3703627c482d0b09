"""Routes that an authority brings: what its handlers answer is done, and nothing else (L20, L24, L25)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware import Settings, SettingsError
from session_middleware.authorities.routes import End, Endpoint
from session_middleware.core import state
from session_middleware.core.record import handle_of
from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stage import JWT, KEY, TOKEN, Stage

from .front_desk import PROVIDER, FrontDesk
from .test_adoption import FEW, MODES, stage_of

FORM = [("Content-Type", "application/x-www-form-urlencoded")]


@pytest.fixture(params=MODES, ids=lambda name: name.removesuffix("_mode"))
def everywhere(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from stage_of(request.param)


@pytest.fixture(params=FEW, ids=lambda name: name.removesuffix("_mode"))
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from stage_of(request.param)


def visitor(stage: Stage, desk: FrontDesk, **options: Any) -> Browser:
    return stage.visitor(stage.app(authority=desk, **options))


def signed_in(stage: Stage, desk: FrontDesk, browser: Browser | None = None, **options: Any) -> Browser:
    """Return a browser that went to the provider and came back."""
    browser = browser or visitor(stage, desk, **options)
    assert browser.navigate("/session/login").status == 303
    assert browser.navigate("/session/callback?state=state-0001", site="cross-site").status == 303
    return browser


def test_the_whole_way(everywhere: Stage) -> None:
    """A refused page leads to the authority's login route, to the provider and back to the page, signed in."""
    desk = FrontDesk()
    browser = visitor(everywhere, desk)
    refused = browser.navigate("/me?a=1")
    assert (refused.header("Location") or "").startswith("/session/login?return_to=")
    sent = browser.follow(refused)
    assert sent.header("Location") == f"{PROVIDER}/authorize?state=state-0001"
    [line] = sent.set_cookies
    assert line.startswith("__Host-session_state_state-0001=")
    assert line.endswith("; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax")
    back = browser.navigate("/session/callback?state=state-0001", site="cross-site")
    assert back.header("Location") == "/me?a=1"
    assert browser.jar.names == {TOKEN, JWT}
    assert served(browser.follow(back))["subject"] == "alice"


def test_a_state_serves_once(everywhere: Stage) -> None:
    """A second return with the same state begins nothing, also in the browser that has kept the cookie."""
    desk = FrontDesk()
    browser = visitor(everywhere, desk)
    browser.navigate("/session/login")
    thief = browser.twin()
    assert browser.navigate("/session/callback?state=state-0001").status == 303
    assert thief.navigate("/session/callback?state=state-0001").status == 400
    assert TOKEN not in thief.jar


@pytest.mark.parametrize("how", ["another browser", "late", "forged", "two", "hostile id"])
def test_a_state_of_somebody_else(stage: Stage, how: str) -> None:
    """What was not begun in this browser, a moment ago, is refused (login CSRF, RFC 9700 §4.7)."""
    desk = FrontDesk()
    browser = visitor(stage, desk)
    browser.navigate("/session/login")
    name = "__Host-session_state_state-0001"
    target = "/session/callback?state=state-0001"
    if how == "another browser":
        browser = stage.visitor(browser.driver)
    elif how == "late":
        stage.clock.advance(601)
    elif how == "forged":
        browser.jar.put(name, browser.jar[name][:-2] + "AA")
    elif how == "two":
        browser.cookie_header = f"{name}={browser.jar[name]}; {name}=x"
    else:
        target = "/session/callback?state=../../x%0d%0a"
    assert browser.navigate(target).status == 400
    assert TOKEN not in browser.jar


def test_a_return_posted_by_the_provider(stage: Stage) -> None:
    """The bound state vouches for a request that the provider's page posts (L20)."""
    desk = FrontDesk()
    browser = visitor(stage, desk)
    browser.navigate("/session/login")
    assert browser.submit("/session/callback?state=state-0001", site="cross-site").status == 303
    assert TOKEN in browser.jar


def test_two_tabs_and_no_more_than_five(stage: Stage) -> None:
    """Two sign-ins at once do not disturb each other; a sixth forgets those before it."""
    desk = FrontDesk()
    browser = visitor(stage, desk)
    for n in range(1, 6):
        browser.navigate(f"/session/login?state=state-000{n}")
    assert len(browser.jar.names) == 5
    browser.navigate("/session/login?state=state-0006")
    assert browser.jar.names == {"__Host-session_state_state-0006"}


def test_the_apps_own_login_page_wins() -> None:
    """Where the app sets `login_url`, people are sent there, and it links to the authority's route."""
    for stage in stage_of("wsgi_mode"):
        browser = visitor(stage, FrontDesk(), login_url="/welcome")
        assert (browser.navigate("/me").header("Location") or "").startswith("/welcome?")


def test_a_session_that_the_provider_may_not_bring_back(everywhere: Stage) -> None:
    """After our end the provider's memory is refused, and the user is sent there for a new proof (L24)."""
    desk = FrontDesk()
    desk.proven_at = everywhere.clock()
    browser = signed_in(everywhere, desk)
    everywhere.clock.advance(60)
    assert browser.fetch("/session/logout", "POST").status == 204
    everywhere.clock.advance(1_000)
    browser.navigate("/session/login?state=state-0002")
    again = browser.navigate("/session/callback?state=state-0002")
    assert again.header("Location") == f"{PROVIDER}/authorize?prompt=login"
    assert TOKEN not in browser.jar
    desk.proven_at = everywhere.clock()
    browser.navigate("/session/login?state=state-0003")
    assert browser.navigate("/session/callback?state=state-0003").header("Location") == "/"
    served(browser.navigate("/me"))


def test_an_end_by_date_is_not_undone_by_the_callback(everywhere: Stage) -> None:
    """Whom the provider sends back at once, on a proof from before the end, goes there for a new one, and not in circles (L24)."""
    desk = FrontDesk()
    desk.proven_at = everywhere.clock()
    browser = signed_in(everywhere, desk)
    everywhere.clock.advance(60)
    everywhere.store.store.end_before(everywhere.clock(), everywhere.clock())
    browser.navigate("/session/login?state=state-0002")
    again = browser.navigate("/session/callback?state=state-0002")
    assert again.header("Location") == f"{PROVIDER}/authorize?prompt=login"
    desk.proven_at = everywhere.clock() + 1
    everywhere.clock.advance(1)
    browser.navigate("/session/login?state=state-0003")
    assert browser.navigate("/session/callback?state=state-0003").header("Location") == "/"
    served(browser.navigate("/me"))


def test_a_callback_whose_store_goes_down_after_it_took_the_record(stage: Stage) -> None:
    """503, and what nobody has the token of is ended once that can be (L17, L25)."""
    desk = FrontDesk()
    desk.proven_at = stage.clock()
    browser = visitor(stage, desk)
    browser.navigate("/session/login")

    def meanwhile() -> Any:
        stage.store.go_down(writes=False)
        yield from ()

    stage.store.interrupt("create", meanwhile)
    assert browser.navigate("/session/callback?state=state-0001", site="cross-site").status == 503
    stage.store.come_back()
    assert stage.store.calls["create"] == 1
    assert not stage.store.store.list(handle_of("subject", "alice"), stage.clock())


def test_too_many_sessions_at_the_callback(stage: Stage) -> None:
    """Where no further session may begin, the answer says so, and none begins (ASVS 7.1.2)."""
    desk = FrontDesk()
    first = signed_in(stage, desk, max_sessions=1, on_max_sessions="refuse")
    desk.stay = "stay-2"
    second = stage.visitor(first.driver)
    second.navigate("/session/login?state=state-0002")
    assert second.navigate("/session/callback?state=state-0002").status == 409


def test_a_handler_that_fails(stage: Stage) -> None:
    """A fault of the provider is 503, with an event; one of the store too; nobody is logged out (L17)."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    desk.fault = RuntimeError("down")
    browser.navigate("/session/login?state=state-0002")
    assert browser.navigate("/session/callback?state=state-0002").status == 503
    assert "authority_fault" in stage.event_names()
    desk.fault = None
    served(browser.navigate("/me"))


def told(browser: Browser, body: bytes = b"a=1", headers: Any = FORM) -> Answer:
    """Say something to the app as a provider does: no browser, no cookie."""
    return Browser(browser.driver, browser.clock).plain("/session/told", "POST", body, headers=headers)


def test_the_provider_ends_a_session(everywhere: Stage) -> None:
    """By its id there, by another text it is found under; who is on the way with an older proof is refused too (L24)."""
    desk = FrontDesk()
    browser = signed_in(everywhere, desk)
    other = everywhere.visitor(browser.driver)
    desk.stay, desk.guest = "stay-2", "bob"
    other.navigate("/session/login?state=state-0002")
    other.navigate("/session/callback?state=state-0002")
    desk.end = End("provider", provider_sessions=("stay-1", "stay-9"))
    assert (told(browser).status, told(browser).header("Cache-Control")) == (200, "no-store")
    problem(browser.fetch("/me"), "signed_out")
    served(other.navigate("/me"))
    late = everywhere.visitor(browser.driver)
    desk.stay, desk.proven_at = "stay-9", everywhere.clock() - 5
    late.navigate("/session/login?state=state-0003")
    assert "prompt=login" in (late.navigate("/session/callback?state=state-0003").header("Location") or "")
    desk.end = End("provider", handles=(handle_of("desk", "bob"),), status=204)
    assert told(browser).status == 204
    problem(other.fetch("/me"), "signed_out")
    ended = [event.detail["reason"] for event in everywhere.events if event.name == "session_ended"]
    assert ended == ["provider", "provider"]


def test_what_was_said_before_a_new_login(stage: Stage) -> None:
    """Only sessions whose user proved who they are until then are ended; the same said twice is a replay."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    desk.end = End("provider", ("stay-1",), before=stage.clock() - 10, once=("jti-1", stage.clock() + 60))
    assert told(browser).status == 200
    served(browser.navigate("/me"))
    assert told(browser).status == 400
    desk.end = End("provider", ("stay-1",), before=stage.clock(), once=("jti-2", stage.clock() + 60))
    assert told(browser).status == 200
    problem(browser.fetch("/me"), "signed_out")


def test_an_end_that_could_not_be_stored_is_no_replay_later(stage: Stage) -> None:
    """503 while the store is down; said again afterwards it is done (RFC 8935 §2.4)."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    desk.end = End("provider", ("stay-1",), once=("jti-1", stage.clock() + 60))
    stage.store.go_down()
    assert told(browser).status == 503
    stage.store.come_back()
    stage.clock.advance(2)
    assert told(browser).status == 200
    problem(browser.fetch("/me"), "signed_out")


def test_something_about_the_user_has_changed(everywhere: Stage) -> None:
    """A stale session goes on, and is asked for a new proof where that matters (CAEP)."""
    desk = FrontDesk()
    browser = signed_in(everywhere, desk)
    assert browser.fetch("/fresh").status == 200
    desk.end = End("credential-change", ("stay-1",), stale=True)
    assert told(browser).status == 200
    assert told(browser).status == 200
    assert browser.fetch("/fresh").json["reason"] == "fresh_login"
    served(browser.navigate("/me"))
    assert everywhere.event_names().count("session_stale") == 1


def test_stale_beside_other_writers(stage: Stage) -> None:
    """A write in between is kept, an end in between wins (L13, L14)."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    desk.end = End("credential-change", ("stay-1",), stale=True)
    [record] = list(stage.store.store.list(handle_of("subject", "alice"), stage.clock()))

    def claims() -> Any:
        yield "save", record.evolve(claims={"color": "red"})

    stage.store.interrupt("save", claims)
    assert told(browser).status == 200
    assert served(browser.fetch("/me"))["claims"] == {"color": "red"}
    assert browser.fetch("/fresh").status == 401
    desk.stay = "stay-2"
    other = stage.visitor(browser.driver)
    other.navigate("/session/login?state=state-0002")
    other.navigate("/session/callback?state=state-0002")
    id = served(other.fetch("/me"))["id"]
    desk.end = End("credential-change", ("stay-2",), stale=True)
    stage.store.interrupt("save", stage.ends_meanwhile(id))
    assert told(browser).status == 200
    problem(other.fetch("/me"), "signed_out")


def test_what_a_handler_sees(stage: Stage) -> None:
    """Form and body, never our cookies; a body that is too long is 413 before the handler sees it."""
    desk = FrontDesk()
    desk.end = End("provider")
    browser = signed_in(stage, desk)
    assert browser.plain("/session/told", "POST", b"a=1&b=2", headers=FORM).status == 200
    assert desk.asked[-1] == {"form": {"a": ["1"], "b": ["2"]}, "body": b"a=1&b=2", "secret": None}
    assert browser.plain("/session/told", "POST", b"x" * 101, headers=FORM).status == 413
    page = browser.navigate("/session/page")
    assert b"alice GET []" in page.body
    policy = page.header("Content-Security-Policy") or ""
    assert "script-src 'sha256-abc'" in policy
    assert f"form-action 'self' {PROVIDER}" in policy
    assert b"nobody GET []" in stage.visitor(browser.driver).send("HEAD", "/session/page").body + b"nobody GET []"


def test_the_other_answers(stage: Stage) -> None:
    """Done, a refusal in a standard's own shape, a route that only this host's pages may ask, and no other method."""
    browser = visitor(stage, FrontDesk())
    assert browser.fetch("/session/done").status == 200
    refused = browser.fetch("/session/no")
    assert (refused.status, refused.json["err"]) == (400, "no")
    assert refused.header("Content-Type") == "application/json"
    assert browser.fetch("/session/mine", "POST").status == 204
    assert browser.fetch("/session/mine", "POST", site="cross-site").status == 403
    assert browser.fetch("/session/mine").status == 405


def test_logout_goes_on_at_the_provider(everywhere: Stage) -> None:
    """A person is sent to the provider's logout, a script is told where; a fault there hinders nothing."""
    desk = FrontDesk()
    desk.away = f"{PROVIDER}/logout"
    browser = signed_in(everywhere, desk)
    answer = browser.submit("/session/logout?return_to=/&client_id=")
    assert (answer.status, answer.header("Location")) == (303, desk.away)
    assert desk.asked[-1]["record"].subject == "alice"
    assert desk.asked[-1]["return_to"] == "/"
    assert not {TOKEN, JWT} & browser.jar.names
    everywhere.clock.advance(1)
    browser.navigate("/session/login?state=state-0002")
    browser.navigate("/session/callback?state=state-0002")
    answer = browser.fetch("/session/logout", "POST")
    assert (answer.status, answer.json) == (200, {"logout_url": desk.away})
    desk.fault = RuntimeError("down")
    assert browser.submit("/session/logout").header("Location") == "/session/signed-out"


def test_a_route_that_is_ours() -> None:
    """An authority that brings a route we have is refused at start-up."""
    desk = FrontDesk()
    desk.endpoints = (Endpoint("POST", "logout", desk.done),)
    for stage in stage_of("wsgi_mode"):
        with pytest.raises(SettingsError, match="POST logout"):
            stage.app(authority=desk)


def test_a_provider_token(everywhere: Stage) -> None:
    """The token at hand, then a refreshed one, kept with the session; a fault is no logout (L17)."""
    desk = FrontDesk()
    browser = signed_in(everywhere, desk)
    [record] = list(everywhere.store.store.list(handle_of("subject", "alice"), everywhere.clock()))
    assert record.sealed == "sealed-0"
    served(browser.submit("/step-up"))
    [record] = list(everywhere.store.store.list(handle_of("subject", "alice"), everywhere.clock()))
    assert record.sealed == "sealed-0"
    assert "sealed" not in repr(record)


def test_nonsense_as_a_state() -> None:
    """An id that is none and a state too long for a cookie are errors of whoever writes the authority."""
    settings = Settings(secret_keys=[KEY])
    with pytest.raises(SettingsError, match="id of a state"):
        state.remember_line(settings, [b"k"], "a b", {}, 0.0, 60)
    with pytest.raises(SettingsError, match="does not fit"):
        state.remember_line(settings, [b"k"], "x" * 8, {"to": "/" * 4_000}, 0.0, 60)
    line = state.remember_line(settings, [b"k"], "x" * 8, {"to": "/"}, 0.0, 60).partition(";")[0]
    assert state.remembered(settings, [b"other", b"k"], line, "x" * 8, 59.0) == {"to": "/"}
    assert state.remembered(settings, [b"other"], line, "x" * 8, 59.0) is None
    assert state.remembered(settings, [b"k"], line + ".", "x" * 8, 59.0) is None
    assert state.remembered(settings, [b"k"], line.replace("=", "=~"), "x" * 8, 59.0) is None
