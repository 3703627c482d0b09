"""What the engine does with a provider's answers: adoption once, both shown, the provider's end followed (L2, L17, L24)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from session_middleware.authorities.base import EndedThere, NeedsBrowser, NotExtended, Shown
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.engine.vouching import TOLD_AT_ONCE
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.browser import Answer, Browser, Driver
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import JWT, TOKEN, Stage, login

from .desk import Desk, HeaderDesk, Stay

MODES = sorted(path.stem for path in (Path(__file__).parent.parent / "modes").glob("*_mode.py"))
#: Two are enough where nothing of an adapter's is in play.
FEW = ["asgi_mode", "wsgi_mode"]


def stage_of(name: str) -> Iterator[Stage]:
    mode: ModuleType = importlib.import_module(f"tests.modes.{name}")

    def make(settings: Any, store: Any, **more: Any) -> Driver:
        driver: Driver = mode.make(settings, store, **more)
        return driver

    stage = Stage(make, MemoryStore())
    yield stage
    stage.close()


@pytest.fixture(params=MODES, ids=lambda name: name.removesuffix("_mode"))
def everywhere(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from stage_of(request.param)


@pytest.fixture(params=FEW, ids=lambda name: name.removesuffix("_mode"))
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from stage_of(request.param)


def problem(answer: Answer, reason: str | None) -> None:
    """Check a refusal: no cookie of ours goes out with it; the provider's own may (`EndedThere.relay`)."""
    assert (answer.status, answer.json["reason"]) == (401, reason)
    assert all(line.startswith("stay") for line in answer.set_cookies)


def show(browser: Browser, id: str) -> None:
    """Give the browser the desk's cookie, as the desk does."""
    browser.jar.take([f"stay={id}; Path=/; Secure"], browser.origin, "/")


def guest(stage: Stage, desk: Desk, id: str = "stay-1", subject: str = "alice", **options: Any) -> Browser:
    """Return the browser of somebody whom the desk knows and we do not."""
    desk.stays.setdefault(id, Stay(subject, stage.clock(), options.pop("ends_at", None)))
    browser = stage.visitor(options.pop("driver", None) or stage.app(authority=desk, **options))
    show(browser, id)
    return browser


def made_elsewhere(stage: Stage, desk: Desk) -> SessionRecord:
    """Return the record that another process makes of stay-1."""
    store = MemoryStore()
    aside = Stage(stage._make, store)
    aside.clock.advance(stage.clock() - aside.clock())
    browser = aside.visitor(aside.app(authority=desk))
    show(browser, "stay-1")
    served(browser.navigate("/me"))
    [record] = store.list(handle_of("subject", "alice"), stage.clock())
    aside.close()
    return record


def test_a_credential_begins_one_session(everywhere: Stage) -> None:
    """Adoption makes ours once, with the provider's times, and from then on both are shown (L3, L24)."""
    desk = Desk()
    browser = guest(everywhere, desk)
    everywhere.clock.advance(60)
    seen = served(browser.navigate("/me"))
    assert (seen["subject"], seen["claims"]) == ("alice", {"room": 7})
    assert seen["authenticated_at"] == everywhere.clock() - 60
    assert {TOKEN, JWT} <= browser.jar.names
    again = served(browser.navigate("/me"))
    assert again["id"] == seen["id"]
    assert not browser.answers[-1].set_cookies
    assert (desk.calls, everywhere.store.calls["create"]) == (["adopt", "verify"], 1)


def test_parallel_first_requests_make_one_session(stage: Stage) -> None:
    """Ten tabs that open at once are one session: each gets the same token (L24)."""
    desk = Desk()
    browser = guest(stage, desk)
    tabs = [browser.twin(stage.app(authority=desk) if n % 2 else None) for n in range(10)]
    ids = {served(tab.navigate("/me"))["id"] for tab in tabs}
    assert len(ids) == 1
    assert len({tab.jar[TOKEN] for tab in tabs}) == 1
    assert stage.store.calls["create"] == 1


def test_two_processes_at_the_same_instant(stage: Stage) -> None:
    """Where another process creates the record between our look and our write, ours joins it."""
    desk = Desk()
    browser = guest(stage, desk)
    other = browser.twin(stage.app(authority=desk))
    record = made_elsewhere(stage, desk)

    def between() -> Any:
        yield "create", record

    stage.store.interrupt("create", between)
    seen = served(browser.navigate("/me"))
    assert seen["id"] == served(other.navigate("/me"))["id"]
    assert browser.jar[TOKEN] == other.jar[TOKEN]


@pytest.mark.parametrize("what", ["websocket-like OPTIONS", "post of another site", "status"])
def test_where_nothing_is_adopted(stage: Stage, what: str) -> None:
    """Not where no cookie can go out, and not in a request that another site made (L18, L20)."""
    desk = Desk()
    browser = guest(stage, desk)
    if what == "status":
        assert browser.fetch("/session/status").json["authenticated"] is False
    elif what == "post of another site":
        assert browser.submit("/me", site="cross-site").status in (303, 401, 403)
    else:
        browser.send("OPTIONS", "/me")
    assert (stage.store.calls["create"], TOKEN in browser.jar) == (0, False)


def test_ours_alone_lets_nobody_in(everywhere: Stage) -> None:
    """The token without the provider's credential is half a proof: refused, and nothing has ended (L24)."""
    desk = Desk()
    browser = guest(everywhere, desk)
    served(browser.navigate("/me"))
    thief = browser.twin()
    thief.jar.forget("stay")
    problem(thief.fetch("/me"), "signed_out")
    served(browser.navigate("/me"))


def test_the_provider_says_that_it_is_over(everywhere: Stage) -> None:
    """Proof of an end ends ours at once; the same stay is not adopted again (L8, L24)."""
    desk = Desk()
    browser = guest(everywhere, desk)
    served(browser.navigate("/me"))
    desk.stays["stay-1"].over = True
    problem(browser.fetch("/me"), "signed_out")
    desk.stays["stay-1"].over = False
    everywhere.clock.advance(5)
    problem(browser.fetch("/me"), "signed_out")
    assert not any(call.startswith("end revoked") for call in desk.calls)


def test_a_provider_that_does_not_answer(everywhere: Stage) -> None:
    """503, never a login redirect, never a logout, whoever asks; and well again by itself (L17)."""
    desk = Desk()
    browser, new = guest(everywhere, desk), guest(everywhere, desk, "stay-2", "bob")
    new.driver = browser.driver
    served(browser.navigate("/me"))
    desk.fault = RuntimeError("down")
    for visitor in (browser, new):
        answer = visitor.navigate("/me")
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        assert not answer.set_cookies
    desk.fault = None
    assert served(browser.navigate("/me"))["subject"] == "alice"
    assert served(new.navigate("/me"))["subject"] == "bob"
    assert "authority_fault" in everywhere.event_names()


def test_another_user_of_the_provider(everywhere: Stage) -> None:
    """Where the credential names another user, the old session ends and a new one begins, with nothing carried over (L24)."""
    desk = Desk()
    browser = guest(everywhere, desk)
    before = served(browser.navigate("/me"))
    assert browser.submit('/claims?set={"color":"red"}').status == 200
    desk.stays["stay-2"] = Stay("bob", everywhere.clock())
    show(browser, "stay-2")
    after = served(browser.navigate("/me"))
    assert (after["subject"], after["claims"]) == ("bob", {"room": 7})
    assert after["id"] != before["id"]
    ended = [(event.session_id, event.detail["reason"]) for event in everywhere.events if event.name == "session_ended"]
    assert ended == [(before["id"], "replaced")]


def test_the_same_user_signs_in_there_again(stage: Stage) -> None:
    """A new stay of the same user is a login over the old session: claims and beginning stay, the proof is new (L12)."""
    desk = Desk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    assert browser.submit('/claims?set={"color":"red"}').status == 200
    stage.clock.advance(400)
    assert served(browser.navigate("/me"))["fresh"] is False
    desk.stays["stay-2"] = Stay("alice", stage.clock())
    show(browser, "stay-2")
    after = served(browser.navigate("/me"))
    assert (after["claims"], after["fresh"]) == ({"room": 7, "color": "red"}, True)
    assert after["authenticated_at"] == stage.clock()


def test_a_new_proof_on_the_same_stay(everywhere: Stage) -> None:
    """Signing in there once more (`refresh=true`) makes the session fresh and counts its age anew (L3)."""
    desk = Desk()
    browser = guest(everywhere, desk)
    served(browser.navigate("/me"))
    everywhere.clock.advance(600)
    answer = browser.fetch("/fresh")
    assert (answer.status, answer.json["reason"]) == (401, "fresh_login")
    desk.stays["stay-1"].proven_at = everywhere.clock()
    seen = served(browser.fetch("/fresh"))
    assert seen["authenticated_at"] == everywhere.clock()
    creates = everywhere.store.calls["create"]
    served(browser.fetch("/fresh"))
    assert everywhere.store.calls["create"] == creates


def test_a_new_proof_within_the_interval(stage: Stage) -> None:
    """A token that stays the same after a new proof is asked about anew where freshness matters, and there alone (L8)."""
    desk = Desk(interval=60)
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    stage.clock.advance(600)
    served(browser.navigate("/me"))
    stage.clock.advance(5)
    asked = len(desk.calls)
    assert browser.fetch("/fresh").json["reason"] == "fresh_login"
    stage.clock.advance(5)
    desk.stays["stay-1"].proven_at = stage.clock()
    served(browser.navigate("/me"))
    assert len(desk.calls) == asked + 1
    assert served(browser.fetch("/fresh"))["fresh"]
    served(browser.fetch("/fresh"))
    assert len(desk.calls) == asked + 2
    stage.clock.advance(600)
    served(browser.navigate("/me"))
    stage.clock.advance(5)
    desk.fault = RuntimeError("down")
    assert browser.fetch("/fresh").status == 503
    desk.fault = None
    desk.stays["stay-1"].over = True
    assert browser.fetch("/fresh").json["reason"] == "signed_out"


def test_a_provider_whose_clock_is_ahead(stage: Stage) -> None:
    """Thirty seconds ahead is no new proof at each request, and nobody is logged out by it (L1)."""
    desk = Desk()
    desk.stays["stay-1"] = Stay("alice", stage.clock() + 30)
    browser = guest(stage, desk)
    for _ in range(4):
        served(browser.navigate("/me"))
        stage.clock.advance(5)
    assert stage.store.calls["create"] == 1


def test_the_providers_end_moves(everywhere: Stage) -> None:
    """Ours ends 30 s before theirs, and follows when theirs is moved, also at the last moment (L2)."""
    desk = Desk()
    browser = guest(everywhere, desk, ends_at=everywhere.clock() + 600, inactivity_timeout=None)
    assert served(browser.navigate("/me"))["absolute_deadline"] == everywhere.clock() + 570
    everywhere.clock.advance(580)  # past ours, before theirs
    desk.stays["stay-1"].ends_at = everywhere.clock() + 600
    assert served(browser.navigate("/me"))["absolute_deadline"] == everywhere.clock() + 570
    everywhere.clock.advance(570)
    answer = browser.fetch("/me")
    assert (answer.status, answer.json["reason"]) == (401, "lifetime")


def test_a_provider_down_at_its_own_end(stage: Stage) -> None:
    """Whether its end has moved cannot be known while it is down: nobody is logged out (L17)."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    stage.clock.advance(580)
    desk.stays["stay-1"].ends_at = stage.clock() + 600
    desk.fault = RuntimeError("down")
    assert browser.fetch("/me").status == 503
    desk.fault = None
    served(browser.fetch("/me"))


def test_activity_extends_there_and_not_too_often(everywhere: Stage) -> None:
    """Activity extends the provider's session when it is due, once; what is no activity does not (L4, L6)."""
    desk = Desk()
    desk.extends_by = 600
    browser = guest(everywhere, desk, ends_at=everywhere.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    everywhere.clock.advance(60)
    served(browser.fetch("/poll"))
    assert "extend" not in desk.calls
    served(browser.navigate("/me"))
    assert desk.calls.count("extend") == 1
    assert "stay_extended" in browser.jar
    assert served(browser.navigate("/me"))["absolute_deadline"] == everywhere.clock() + 570
    assert desk.calls.count("extend") == 1


def test_an_extension_that_fails_waits(stage: Stage) -> None:
    """After a fault the request is served, and the next attempt comes seconds later (L17)."""
    desk = Desk(interval=3_600)
    desk.extends_by = 600
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    stage.clock.advance(60)
    desk.fault = RuntimeError("down")
    served(browser.navigate("/me"))
    stage.clock.advance(2)
    served(browser.navigate("/me"))
    assert desk.calls.count("extend") == 1
    stage.clock.advance(60)
    desk.fault = None
    served(browser.navigate("/me"))
    assert desk.calls.count("extend") == 2


def test_an_extension_of_what_is_over(stage: Stage) -> None:
    """Where the provider answers that its session is over, ours ends (L7, L8)."""
    desk = Desk(interval=3_600)
    desk.extends_by = 600
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    stage.clock.advance(60)
    desk.extension = NotExtended(gone=True)
    problem(browser.fetch("/me"), "signed_out")
    stage.clock.advance(5)
    problem(browser.fetch("/me"), "signed_out")


def test_continue_extends_both(everywhere: Stage) -> None:
    """`POST continue` and `extend(minutes)` move the provider's end first, which bounds ours (L7)."""
    desk = Desk()
    browser = guest(everywhere, desk, ends_at=everywhere.clock() + 600, inactivity_timeout=900, max_continue=3_600)
    served(browser.navigate("/me"))
    answer = browser.fetch(
        "/session/continue", "POST", b'{"minutes": 30}', headers=[("Content-Type", "application/json")]
    )
    assert (answer.status, answer.json["inactivity_left"]) == (200, 1_770)
    assert desk.stays["stay-1"].ends_at == everywhere.clock() + 1_800
    assert served(browser.submit("/extend?minutes=20"))["inactivity_deadline"] == everywhere.clock() + 1_170


def test_continue_that_takes_the_browser(stage: Stage) -> None:
    """Where only the browser can go on, the answer says where it is to go, and takes a person there who has no script."""
    desk = Desk()
    desk.extension = NeedsBrowser("https://desk.example/again")
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    answer = browser.fetch("/session/continue", "POST")
    assert answer.json["continue_url"] == "https://desk.example/again"
    assert "continue_url" not in browser.fetch("/session/status").json
    answer = browser.submit("/session/continue")
    assert (answer.status, answer.header("Location")) == (303, "https://desk.example/again")


def test_continue_of_what_is_over_there(stage: Stage) -> None:
    """It stays ended, and the answer is a refusal (L7)."""
    desk = Desk(interval=3_600)
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    desk.stays["stay-1"].over = True
    answer = browser.fetch("/session/continue", "POST")
    assert (answer.status, answer.json["reason"]) == (401, "signed_out")


def test_logout_ends_both(everywhere: Stage) -> None:
    """Logout ends the provider's session, and its own cookie lines go to the browser as they are (L24)."""
    desk = Desk()
    browser = guest(everywhere, desk)
    served(browser.navigate("/me"))
    assert browser.submit("/sign-out").status == 200
    assert desk.calls[-1] == "end logout"
    assert desk.stays["stay-1"].over
    assert not {TOKEN, JWT, "stay"} & browser.jar.names
    problem(browser.fetch("/me"), None)


def test_an_end_by_date_is_not_undone_by_the_provider(everywhere: Stage) -> None:
    """After a breach everybody proves who they are anew: what was proved before begins nothing, seen here or not (L13, L24)."""
    desk = Desk()
    known, unknown = guest(everywhere, desk), guest(everywhere, desk, "stay-2", "bob")
    served(known.navigate("/me"))
    everywhere.clock.advance(60)
    everywhere.store.store.end_before(everywhere.clock(), everywhere.clock())
    proven_anew = everywhere.clock() + 1
    for browser in (known, unknown):
        for _ in range(3):
            problem(browser.fetch("/me"), "signed_out" if browser is known else None)
            everywhere.clock.advance(1_000)
    assert everywhere.store.calls["create"] == 5, "the first, and for each of the two one that is refused and a mark"
    assert desk.stays["stay-2"].over, "else its login page would say that the user is signed in"
    for browser, id in ((known, "stay-1"), (unknown, "stay-2")):
        desk.stays[id].over, desk.stays[id].proven_at = False, proven_anew
        show(browser, id)
        everywhere.clock.advance(60)
        served(browser.navigate("/me"))


def test_who_proved_it_before_an_end_by_date_takes_nobodys_place(stage: Stage) -> None:
    """L24: what begins nothing does not end the session of a device on which the user has signed in since."""
    desk = Desk()
    before = guest(stage, desk, max_sessions=1)
    stage.clock.advance(60)
    stage.store.store.end_before(stage.clock(), stage.clock())
    since = guest(stage, desk, "stay-2", "alice", driver=before.driver)
    id = served(since.navigate("/me"))["id"]
    problem(before.fetch("/me"), None)
    assert served(since.navigate("/me"))["id"] == id


def test_a_store_that_goes_down_after_it_took_the_record(stage: Stage) -> None:
    """Whether it ended by date cannot be said then: nobody is let in, and the next request joins what was begun (L17)."""
    desk = Desk()
    browser = guest(stage, desk)

    def meanwhile() -> Any:
        stage.store.go_down(writes=False)
        yield from ()

    stage.store.interrupt("create", meanwhile)
    answer = browser.fetch("/me")
    assert (answer.status, answer.set_cookies) == (503, [])
    stage.store.come_back()
    stage.clock.advance(2)
    assert served(browser.fetch("/me"))["subject"] == "alice"
    assert stage.store.calls["create"] == 1


def test_a_store_that_does_not_find_what_it_has_just_taken(stage: Stage) -> None:
    """A fail-over may lose it: a fault proves no end, and nobody is signed out at the provider for it (L17, L24)."""
    desk = Desk()
    browser = guest(stage, desk)

    def meanwhile() -> Any:
        [record] = stage.store.store.list(handle_of("subject", "alice"), stage.clock())
        stage.store.store.prune(record.keep_until)
        yield from ()

    stage.store.interrupt("load", meanwhile, skip=3)
    answer = browser.fetch("/me")
    assert (answer.status, answer.set_cookies) == (503, [])
    assert not desk.stays["stay-1"].over
    assert "adoption_refused" not in stage.event_names()
    served(browser.navigate("/me"))


def test_an_end_that_the_provider_missed(stage: Stage) -> None:
    """The user is signed out here at once; the provider is told when it answers again (L17)."""
    desk = Desk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    desk.fault = RuntimeError("down")
    assert browser.submit("/sign-out").status == 200
    assert not desk.stays["stay-1"].over
    desk.fault = None
    stage.clock.advance(6)
    problem(browser.fetch("/me"), None)
    assert desk.calls[-2:] == ["end logout", "adopt"]
    assert desk.stays["stay-1"].over


def test_nobody_waits_for_all_the_ends_that_a_provider_missed(stage: Stage) -> None:
    """L17: while it is down a request waits for one of them, and for some once it is not; one that it refuses blocks none."""
    desk = Desk()
    driver = stage.app(authority=desk)
    desk.stays = {f"stay-{n}": Stay("alice", stage.clock()) for n in range(TOLD_AT_ONCE + 2)}
    browsers = [guest(stage, desk, id, driver=driver) for id in desk.stays]
    for browser in browsers:
        served(browser.navigate("/me"))
    desk.fault = RuntimeError("down")
    for browser in browsers:
        assert browser.submit("/sign-out").status == 200
    refused = desk.stays.pop("stay-1")  # the desk knows nothing of it any more, and raises
    for told, fault in ((1, desk.fault), (1, None), (TOLD_AT_ONCE, None), (2, None)):
        desk.fault, desk.calls = fault, []
        stage.clock.advance(6)
        stage.visitor(driver).fetch("/me")
        assert len(desk.calls) == told
    assert all(stay.over for stay in desk.stays.values())
    desk.stays["stay-1"] = refused
    stage.clock.advance(6)
    stage.visitor(driver).fetch("/me")
    assert refused.over


def test_a_logout_while_store_and_provider_are_down(stage: Stage) -> None:
    """Nobody could read on what the session stands: its mark is left all the same once that can be read (L17, L24)."""
    desk = Desk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    other = browser.twin(stage.app(authority=desk))
    stage.store.go_down()
    desk.fault = RuntimeError("down")
    assert other.submit("/sign-out").status == 503
    stage.store.come_back()
    desk.fault = None
    stage.clock.advance(2)
    problem(other.fetch("/me"), None)
    browser.jar.forget(TOKEN, JWT)
    stage.clock.advance(5)
    show(browser, "stay-1")
    assert browser.fetch("/me").status == 401


@pytest.mark.parametrize("sso", [False, True])
def test_silence_and_the_providers_memory(everywhere: Stage, sso: bool) -> None:
    """After silence the provider's memory begins nothing, unless `silent_sso=True` (L24)."""
    desk = Desk()
    browser = guest(everywhere, desk, silent_sso=sso)
    first = served(browser.navigate("/me"))
    everywhere.clock.advance(1_000)
    answer = browser.fetch("/me")
    if sso:
        assert served(answer)["id"] != first["id"]
        return
    problem(answer, "inactivity")
    assert "end inactivity_timeout" in desk.calls
    assert "stay" not in browser.jar
    desk.stays["stay-1"].over = False
    everywhere.clock.advance(5)
    show(browser, "stay-1")
    problem(browser.fetch("/me"), "inactivity")
    assert desk.calls[-1] == "end refused"
    desk.stays["stay-1"] = Stay("alice", everywhere.clock())
    everywhere.clock.advance(5)
    show(browser, "stay-1")
    assert served(browser.fetch("/me"))["subject"] == "alice"


def test_answers_hold_for_an_interval(stage: Stage) -> None:
    """One question in `verify_interval` and process, whatever happens to our own cookies meanwhile (L8)."""
    desk = Desk(interval=60)
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    for _ in range(299):
        stage.clock.advance(1)
        served(browser.navigate("/me"))
    assert len(desk.calls) <= 5


def test_a_bad_credential_is_not_asked_about_at_every_request(stage: Stage) -> None:
    """A stay that the desk does not know costs one question in two seconds, and no store call."""
    desk = Desk()
    browser = guest(stage, desk)
    show(browser, "no-such-stay")
    for _ in range(5):
        problem(browser.fetch("/me"), None)
    assert desk.calls == ["adopt"]
    assert sum(stage.store.calls.values()) == 0
    stage.clock.advance(2)
    problem(browser.fetch("/me"), None)
    assert desk.calls == ["adopt", "adopt"]


def test_two_values_of_its_cookie_are_none(stage: Stage) -> None:
    """Which of two different values the provider would read cannot be known, so neither proves anything."""
    desk = Desk()
    browser = guest(stage, desk)
    desk.stays["stay-2"] = Stay("mallory", stage.clock())
    browser.cookie_header = "stay=stay-1; stay=stay-2"
    problem(browser.fetch("/me"), None)
    assert desk.calls == []


def test_a_lost_token_is_given_again(stage: Stage) -> None:
    """A browser that lost our cookies and still shows the credential gets the same session back (L24)."""
    desk = Desk()
    browser = guest(stage, desk)
    first = served(browser.navigate("/me"))
    stage.clock.advance(100)
    browser.jar.forget(TOKEN, JWT)
    assert served(browser.navigate("/me"))["id"] == first["id"]
    assert served(browser.navigate("/me"))["id"] == first["id"]
    assert stage.store.calls["create"] == 1


def test_a_lost_token_of_a_session_that_is_over(stage: Stage) -> None:
    """What ran out of silence meanwhile is not brought back by losing the cookie (L24)."""
    desk = Desk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    stage.clock.advance(1_000)
    browser.jar.forget(TOKEN, JWT)
    problem(browser.fetch("/me"), "inactivity")
    stage.clock.advance(5)
    assert browser.fetch("/me").status == 401


def test_more_to_prove(stage: Stage) -> None:
    """Where the provider wants more from the user, the login page is told what (Vouch.ask_for)."""
    desk = Desk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    desk.ask_for = (("aal", "aal2"),)
    answer = browser.navigate("/me")
    assert answer.status == 303
    assert "aal=aal2" in (answer.header("Location") or "")
    assert "reason=fresh_login" in (answer.header("Location") or "")
    desk.ask_for = ()
    served(browser.navigate("/me"))


def test_relayed_cookies_go_out_on_every_answer(everywhere: Stage) -> None:
    """What the provider sets reaches the browser unchanged, on served and on quiet requests alike."""
    desk = Desk()
    browser = guest(everywhere, desk)
    served(browser.navigate("/me"))
    served(browser.navigate("/me"))
    desk.relay = ("stay_seen=2; Path=/; Secure; SameSite=Lax",)
    served(browser.navigate("/me"))
    assert desk.relay[0] in browser.answers[-1].set_cookies
    assert "no-store" in (browser.answers[-1].header("Cache-Control") or "")


def test_a_credential_in_a_header(stage: Stage) -> None:
    """An API client shows the stay in a header; another header value is another stay, asked about anew (L24)."""
    desk = HeaderDesk(interval=60)
    desk.stays = {"stay-1": Stay("alice", stage.clock()), "stay-2": Stay("bob", stage.clock())}
    browser = stage.visitor(stage.app(authority=desk))
    one, two = [("X-Stay", "stay-1")], [("X-Stay", "stay-2")]
    assert served(browser.fetch("/me", headers=one))["subject"] == "alice"
    assert served(browser.fetch("/me", headers=one))["subject"] == "alice"
    assert desk.calls == ["adopt"]
    assert "X-Stay" in (browser.answers[-1].header("Vary") or "")
    problem(browser.fetch("/me"), "signed_out")
    assert served(browser.fetch("/me", headers=two))["subject"] == "bob"


def test_a_login_of_the_apps_own_beside_it(stage: Stage) -> None:
    """A session that the app's own form made stands on no provider session, and is not held against one."""
    desk = Desk()
    browser = stage.signed_in("carol", stage.app(authority=desk))
    assert served(browser.navigate("/me"))["subject"] == "carol"
    assert desk.calls == []


def test_a_store_that_is_down_while_adopting(stage: Stage) -> None:
    """503 and no cookie; adopted when it is back (L17)."""
    desk = Desk()
    browser = guest(stage, desk)
    stage.store.go_down()
    answer = browser.fetch("/me")
    assert (answer.status, answer.set_cookies) == (503, [])
    stage.store.come_back()
    stage.clock.advance(2)
    assert served(browser.fetch("/me"))["subject"] == "alice"


def test_too_many_sessions_of_one_guest(stage: Stage) -> None:
    """Where no further session may begin, the credential begins none, and says so as an event."""
    desk = Desk()
    first = guest(stage, desk, max_sessions=1, on_max_sessions="refuse")
    served(first.navigate("/me"))
    second = guest(stage, desk, "stay-2", driver=first.driver)
    problem(second.fetch("/me"), None)
    assert "session_limit" in stage.event_names()
    served(first.navigate("/me"))


class LastingDesk(Desk):
    """Takes no note of what has ended here, as a provider whose sessions other apps share."""

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
        self.calls.append(f"end {reason}")
        return None


@pytest.mark.parametrize("kind", [Desk, LastingDesk])
def test_a_session_that_made_room_does_not_come_back(stage: Stage, kind: type[Desk]) -> None:
    """L24: what `max_sessions` ends has ended as by anybody else, until its user proves anew who they are."""
    desk = kind()
    first = guest(stage, desk, max_sessions=1)
    served(first.navigate("/me"))
    stage.clock.advance(60)
    second = guest(stage, desk, "stay-2", "alice", driver=first.driver)
    id = served(second.navigate("/me"))["id"]
    assert "end revoked" in desk.calls
    assert first.fetch("/me").status == 401
    assert served(second.navigate("/me"))["id"] == id
    stage.clock.advance(60)
    desk.stays["stay-1"].over, desk.stays["stay-1"].proven_at = False, stage.clock()
    show(first, "stay-1")
    stage.clock.advance(60)
    served(first.navigate("/me"))
    assert second.fetch("/me").status == 401


def test_room_made_by_a_session_of_the_same_stay(stage: Stage) -> None:
    """L24: where a proof of the same stay makes room for itself the stay goes on: it is what the new one stands on."""
    desk = Desk()
    first = guest(stage, desk, max_sessions=1)
    id = served(first.navigate("/me"))["id"]
    stage.clock.advance(60)
    desk.stays["stay-1"].proven_at = stage.clock()
    second = stage.visitor(first.driver)
    show(second, "stay-1")
    new = served(second.navigate("/me"))["id"]
    assert new != id
    assert not desk.stays["stay-1"].over
    stage.clock.advance(60)
    assert served(second.navigate("/me"))["id"] == new


def without_token(browser: Browser) -> None:
    browser.jar.take([f"{name}=; Max-Age=0; Path=/; Secure" for name in (TOKEN, JWT)], browser.origin, "/")


def with_another_keys_token(browser: Browser) -> None:
    browser.jar.take([f"{TOKEN}=v1.{'A' * 32}.0.{'A' * 43}; Path=/; Secure"], browser.origin, "/")


def with_a_planted_token(browser: Browser) -> None:
    browser.cookie_header = f"{browser.jar.header_for(browser.origin, '/')}; {TOKEN}=v1.evil"


@pytest.mark.parametrize("kind", [Desk, LastingDesk])
@pytest.mark.parametrize("how", [without_token, with_another_keys_token, with_a_planted_token])
def test_a_logout_that_shows_the_credential_alone(
    stage: Stage, kind: type[Desk], how: Callable[[Browser], None]
) -> None:
    """L13, L24: whoever signs out is signed out, also where their token is gone and the credential would begin anew."""
    desk = kind()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    stage.clock.advance(5)
    how(browser)
    assert browser.fetch("/session/logout", "POST").status == 204
    assert "end logout" in desk.calls
    browser.cookie_header = None
    show(browser, "stay-1")
    stage.clock.advance(5)
    assert browser.fetch("/me").status == 401
    desk.stays["stay-1"].over, desk.stays["stay-1"].proven_at = False, stage.clock()
    stage.clock.advance(60)
    served(browser.navigate("/me"))


@pytest.mark.parametrize("subject", ["alice", "bob"])
def test_a_logout_of_the_apps_own_login_beside_a_credential(stage: Stage, subject: str) -> None:
    """L24: a logout is one of everything that this browser shows, or its next request would be signed in again."""
    desk = LastingDesk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    stage.clock.advance(5)
    login(browser, subject)
    served(browser.navigate("/me"))
    stage.clock.advance(5)
    assert browser.fetch("/session/logout", "POST").status == 204
    assert browser.fetch("/me").status == 401


@pytest.mark.parametrize("shown", [False, True], ids=["not shown", "one factor short"])
def test_a_logout_without_the_other_half_of_the_proof(stage: Stage, shown: bool) -> None:
    """L24: the token alone is refused; but it is known whose session it is, and a logout of that leaves its mark."""
    desk = LastingDesk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    stage.clock.advance(5)
    if shown:
        desk.ask_for = (("aal", "aal2"),)
    else:
        browser.jar.take(["stay=; Max-Age=0; Path=/; Secure"], browser.origin, "/")
    assert browser.fetch("/session/logout", "POST").status == 204
    assert "end logout" in desk.calls
    desk.ask_for = ()
    show(browser, "stay-1")
    stage.clock.advance(5)
    assert browser.fetch("/me").status == 401


def test_a_logout_while_the_provider_cannot_say_whose_credential_it_is(stage: Stage) -> None:
    """L17: nothing can be ended of it then; the logout stands for what is ours."""
    desk = Desk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    without_token(browser)
    desk.fault = OSError("down")
    assert browser.fetch("/session/logout", "POST").status == 204
    assert not desk.stays["stay-1"].over


def test_a_logout_by_the_credential_that_cannot_be_stored(stage: Stage) -> None:
    """L17: it says so, and what is known of it stands as soon as the store answers."""
    desk = LastingDesk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    stage.clock.advance(5)
    without_token(browser)
    stage.store.go_down()
    assert browser.fetch("/session/logout", "POST").status == 503
    stage.store.come_back()
    stage.clock.advance(5)
    show(browser, "stay-1")
    assert browser.fetch("/me").status == 401


@pytest.mark.parametrize("steps_up", [False, True])
@pytest.mark.parametrize("ahead", [20, 600])
def test_a_proof_of_a_clock_that_is_ahead_is_over_with_its_session(stage: Stage, ahead: int, steps_up: bool) -> None:
    """L1, L24: a proof of a moment that has not come yet is no later one than the end of what stood on it."""
    desk = LastingDesk()
    browser = guest(stage, desk)
    desk.stays["stay-1"].proven_at = stage.clock() + ahead
    served(browser.navigate("/me"))
    stage.clock.advance(10)
    if steps_up:
        assert browser.submit("/step-up").status == 200
    assert browser.fetch("/session/logout", "POST").status == 204
    show(browser, "stay-1")
    stage.clock.advance(60)
    assert browser.fetch("/me").status == 401


def test_a_logout_beside_an_adoption() -> None:
    """L13, L24: whoever ends and whoever begins see each other; nothing of an adapter's is in play."""
    stage = next(stages := stage_of("wsgi_mode"))
    desk = LastingDesk()
    browser = guest(stage, desk)
    other = browser.twin(stage.app(authority=desk))

    def signed_out() -> Any:
        assert other.fetch("/session/logout", "POST").status == 204
        yield from ()

    stage.store.interrupt("create", signed_out)
    browser.fetch("/me")
    for pause in (1, 600):
        stage.clock.advance(pause)
        assert browser.fetch("/me").status == 401
    assert next(stages, None) is None


def test_no_token_lives_twice(stage: Stage) -> None:
    """L16, L24: where silence may begin a session again on the same proof, it is another one, however long ago the first ended."""
    desk = LastingDesk()
    browser = guest(stage, desk, silent_sso=True, inactivity_timeout=900, absolute_lifetime=30 * 86_400)
    tokens = set()
    for _ in range(4):
        served(browser.navigate("/me"))
        tokens.add(browser.jar[TOKEN])
        stage.clock.advance(1_000)
        assert browser.fetch("/session/status").json["reason"] == "inactivity"
        stage.clock.advance(86_400)
        stage.store.store.prune(stage.clock())
        without_token(browser)
    assert len(tokens) == 4


def test_ending_one_of_my_sessions_ends_it_there(stage: Stage) -> None:
    """A session ended from the list, or by an operator, is ended at the provider too."""
    desk = Desk()
    browser = guest(stage, desk)
    other = guest(stage, desk, "stay-2", "alice", driver=browser.driver)
    id = served(other.navigate("/me"))["id"]
    served(browser.navigate("/me"))
    assert browser.fetch(f"/session/list/{id}", "DELETE").status == 204
    assert desk.stays["stay-2"].over
    assert not desk.stays["stay-1"].over
