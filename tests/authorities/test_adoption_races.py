"""Adoption where others write meanwhile, where bounds are reached, and where a provider answers oddly (L2, L13, L14, L24)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from session_middleware.adapters.wsgi import WSGIFacts
from session_middleware.authorities.base import Alive, EndedThere, Extended, NotExtended, ProviderLogin, Shown, Vouch
from session_middleware.authorities.routes import Ask, End, Endpoint, Page
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.engine import Engine, vouching
from session_middleware.runtime import run_sync
from session_middleware.sessions import Sessions
from session_middleware.settings import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.browser import Browser, Driver
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import KEY, TOKEN, Stage, login

from .desk import Desk, Stay
from .front_desk import FrontDesk
from .test_adoption import FEW, guest, made_elsewhere, problem, show, stage_of
from .test_routes import signed_in, told


@pytest.fixture(params=FEW, ids=lambda name: name.removesuffix("_mode"))
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from stage_of(request.param)


def only(stage: Stage, subject: str = "alice") -> SessionRecord:
    [record] = list(stage.store.store.list(handle_of("subject", subject), stage.clock()))
    found: SessionRecord = record
    return found


def test_two_tabs_come_back_from_the_provider(stage: Stage) -> None:
    """Both show the new stay beside the old token: one new session, which the second joins; the old one ends (L12)."""
    desk = Desk()
    one = guest(stage, desk)
    served(one.navigate("/me"))
    stage.clock.advance(100)
    desk.stays["stay-2"] = Stay("bob", stage.clock())
    show(one, "stay-2")
    two = one.twin(stage.app(authority=desk))
    first, second = served(one.navigate("/me")), served(two.navigate("/me"))
    assert first["id"] == second["id"]
    assert one.jar[TOKEN] == two.jar[TOKEN]
    assert not list(stage.store.store.list(handle_of("subject", "alice"), stage.clock()))


def test_a_question_that_begins_nothing_is_no_yes(stage: Stage) -> None:
    """L24: status learns that the provider names another user, and begins nothing; whoever asks next is not the user before."""
    desk = Desk(interval=60.0)
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    desk.stays["stay-2"] = Stay("bob", stage.clock())
    show(browser, "stay-2")
    for _ in range(2):
        assert browser.fetch("/session/status").json["authenticated"] is False
    assert served(browser.navigate("/me"))["subject"] == "bob"


def test_the_end_moves_early(stage: Stage) -> None:
    """A provider's end that moved is followed at the next question, to earlier instants too (L2)."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    for left in (1_200, 300):
        desk.stays["stay-1"].ends_at = stage.clock() + left
        assert served(browser.navigate("/me"))["absolute_deadline"] == stage.clock() + left - 30


@pytest.mark.parametrize("seen", [False, True], ids=["only then", "in between"])
def test_the_end_that_had_cut_the_silence(stage: Stage, seen: bool) -> None:
    """Where the provider's session lives longer, nobody ends earlier than inactivity_timeout after their last activity (L5)."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=900)
    assert served(browser.navigate("/me"))["inactivity_deadline"] == stage.clock() + 570
    stage.clock.advance(1)
    desk.stays["stay-1"].ends_at = stage.clock() + 5_000
    if seen:
        served(browser.fetch("/poll"))
    stage.clock.advance(719)
    assert served(browser.fetch("/poll"))["inactivity_deadline"] == stage.clock() + 180
    stage.clock.advance(180)
    problem(browser.fetch("/poll"), "inactivity")


def test_an_end_while_the_silence_is_given_back(stage: Stage) -> None:
    """Dead wins there too (L13)."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=900)
    id = served(browser.navigate("/me"))["id"]
    desk.stays["stay-1"].ends_at = stage.clock() + 5_000
    stage.store.interrupt("touch", stage.ends_meanwhile(id))
    assert served(browser.fetch("/poll"))["id"] != id  # that end left no mark, so the stay begins another session


def test_the_end_moves_beside_other_writers(stage: Stage) -> None:
    """A write of claims in between is kept; an end in between wins; a store that cannot write does not matter yet."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    id = served(browser.navigate("/me"))["id"]
    record = only(stage)

    def claims() -> Any:
        yield "save", record.evolve(claims={"color": "red"})

    desk.stays["stay-1"].ends_at = stage.clock() + 1_200
    stage.store.interrupt("save", claims)
    assert served(browser.navigate("/me"))["claims"] == {"color": "red"}
    assert only(stage).ceiling == stage.clock() + 1_200
    desk.stays["stay-1"].ends_at = stage.clock() + 2_400
    stage.store.go_down(reads=False)
    assert served(browser.navigate("/me"))["absolute_deadline"] == stage.clock() + 2_370
    stage.store.come_back()
    served(browser.navigate("/me"))
    assert only(stage).ceiling == stage.clock() + 2_400
    desk.stays["stay-1"].ends_at = stage.clock() + 3_600
    stage.store.interrupt("save", stage.ends_meanwhile(id))
    assert served(browser.navigate("/me"))["id"] != id  # that end left no mark, so the stay begins another session


def test_writers_without_end(stage: Stage) -> None:
    """Where others write without end the moved ceiling holds for this request, and is written by a later one."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    desk.stays["stay-1"].ends_at = stage.clock() + 1_200

    def writer() -> Any:
        yield "save", only(stage).evolve(claims={"n": only(stage).revision})

    for n in range(25):
        stage.store.interrupt("save", writer, skip=n)
    assert served(browser.navigate("/me"))["absolute_deadline"] == stage.clock() + 1_170


def test_what_is_over_at_the_providers_end(stage: Stage) -> None:
    """Where the provider's end has passed and it says gone, or does not know it any more, ours ends by age (L2, L16)."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    stage.clock.advance(580)
    desk.stays["stay-1"].over = True
    problem(browser.fetch("/me"), "lifetime")


@pytest.mark.parametrize("write", ["save", "touch"])
def test_an_end_while_the_passed_end_is_moved(stage: Stage, write: str) -> None:
    """Whoever ends the session while its later end is written has ended it for this request, too (L13)."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=900)
    id = served(browser.navigate("/me"))["id"]
    stage.clock.advance(580)
    desk.stays["stay-1"].ends_at = stage.clock() + 5_000
    stage.store.interrupt(write, stage.ends_meanwhile(id))
    assert served(browser.navigate("/me"))["id"] != id  # that end left no mark, so the stay begins another session


def operator(stage: Stage) -> Engine:
    """Return the engine of another process on the same store, from which sessions are ended."""
    return Engine(Settings(secret_keys=[KEY]), stage.store, clock=stage.clock)


def steps_up(browser: Browser) -> Callable[[], Any]:
    """Return what goes on under another id between the list of an end and the end itself."""

    def meanwhile() -> Any:
        assert browser.submit("/step-up").status == 200
        yield from ()

    return meanwhile


def test_a_ban_beside_a_step_up(stage: Stage) -> None:
    """A session that goes on under another id while all of its user's are ended is one of them (ASVS 7.4.2)."""
    browser = stage.signed_in()
    other = stage.signed_in("bob", browser.driver)
    served(browser.navigate("/me"))
    stage.store.interrupt("end", steps_up(browser))
    sessions = Sessions(operator(stage))
    assert sessions.end_all("alice") == 1
    assert sessions.list("alice") == []
    assert browser.fetch("/me").status == 401
    served(other.navigate("/me"))


def test_a_providers_word_beside_a_step_up(stage: Stage) -> None:
    """So it is where the provider ends it (L24)."""
    browser = stage.visitor()
    provider = {"id": "sid-1", "authenticated_at": stage.clock(), "authority": "local"}
    assert login(browser, "alice", provider=json.dumps(provider)).status == 200
    served(browser.navigate("/me"))
    stage.store.interrupt("end", steps_up(browser))
    ending = operator(stage).end_by_provider("provider_logout", stage.clock(), provider_sessions=("sid-1",))
    assert run_sync(ending) == 1
    assert browser.fetch("/me").status == 401


def test_silence_that_passed_before_the_providers_end(stage: Stage) -> None:
    """Both have passed: nobody is asked, the earlier one names the reason (L16)."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 5_000)
    served(browser.navigate("/me"))
    stage.clock.advance(5_000)
    asked = desk.calls.count("verify")
    problem(browser.fetch("/me"), "inactivity")
    assert desk.calls.count("verify") == asked


def test_an_absolute_end_that_is_our_own(stage: Stage) -> None:
    """A ceiling that has not passed is no reason to ask when our own longest lifetime has."""
    desk = Desk(interval=None)
    options = {"inactivity_timeout": None, "absolute_lifetime": 600}
    browser = guest(stage, desk, ends_at=stage.clock() + 610, **options)
    served(browser.navigate("/me"))
    stage.clock.advance(605)
    problem(browser.fetch("/me"), "lifetime")


def test_a_provider_session_of_another_authority(stage: Stage) -> None:
    """A session that the app's own callback made on another provider is not asked about at this one."""
    desk = Desk()
    browser = stage.visitor(stage.app(authority=desk, inactivity_timeout=None))
    other = {"id": "sid", "authenticated_at": stage.clock(), "ends_at": stage.clock() + 600, "authority": "other"}
    served(login(browser, "alice", provider=other))
    served(browser.navigate("/me"))
    assert browser.fetch("/session/continue", "POST").status == 200
    stage.clock.advance(580)
    problem(browser.fetch("/me"), "lifetime")
    assert desk.calls == []


def test_an_answer_about_a_session_that_is_the_apps_own(stage: Stage) -> None:
    """A credential shown beside a session of the app's own login changes nothing about it."""

    class Talkative(Desk):
        """Says whose credential it is, whatever the record."""

        async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
            return Vouch(Alive.ALIVE, ProviderLogin("bob", ProviderSession("stay-9", now, authority=self.name)))

    browser = stage.signed_in("carol", stage.app(authority=Talkative()))
    show(browser, "stay-9")
    assert served(browser.navigate("/me"))["subject"] == "carol"


def test_an_extension_that_is_not_wanted(stage: Stage) -> None:
    """The provider may say no, or not say until when: the session goes on as it is."""
    desk = Desk()
    desk.extends_by = 600
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    stage.clock.advance(60)
    desk.extension = NotExtended()
    assert served(browser.navigate("/me"))["absolute_deadline"] == stage.clock() + 510


def test_continue_while_the_provider_is_down(stage: Stage) -> None:
    """Ours goes as far as the provider's end is known to be (L17)."""
    desk = Desk(interval=3_600)
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=900)
    served(browser.navigate("/me"))
    desk.fault = RuntimeError("down")
    answer = browser.fetch("/session/continue", "POST")
    assert (answer.status, answer.json["absolute_left"]) == (200, 570)


def test_claims_that_do_not_fit(stage: Stage) -> None:
    """What the authority puts into listed claims must fit the cookie; that is the operator's to mend, and is loud (L19)."""

    class Wordy(Desk):
        """Gives more claims than a cookie holds."""

        async def adopt(self, shown: Shown, now: float) -> Vouch:
            provider = ProviderSession("stay-1", now, authority=self.name)
            return Vouch(Alive.ALIVE, ProviderLogin("alice", provider, claims={"room": "x" * 5_000}))

    browser = guest(stage, Wordy(), jwt_claims=("room",))
    assert browser.fetch("/me").status == 500
    assert stage.store.calls["create"] == 0


def test_what_is_said_twice_in_one_breath(stage: Stage) -> None:
    """A session found by two of its handles is ended, and counted, once."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    desk.end = End("provider", ("stay-1", "stay-1"), handles=(handle_of("desk", "alice"),))
    assert told(browser).status == 200
    assert stage.event_names().count("session_ended") == 1


def test_a_mark_that_could_not_be_stored(stage: Stage) -> None:
    """The provider is asked to say it again, since a login that is on its way could not be refused (L24)."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    desk.end = End("provider", ("stay-77",))
    stage.store.go_down(reads=False)
    assert told(browser).status == 503


def test_stale_among_writers_without_end(stage: Stage) -> None:
    """It gives up with 503, and the provider says it again."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    desk.end = End("credential-change", ("stay-1",), stale=True)

    def writer() -> Any:
        yield "save", only(stage).evolve(claims={"n": only(stage).revision})

    for n in range(25):
        stage.store.interrupt("save", writer, skip=n)
    assert told(browser).status == 503


def ask_later(stage: Stage, driver: Driver) -> None:
    """Let so much time pass that the next request tries again, and make it."""
    stage.clock.advance(6)
    stage.visitor(driver).fetch("/me")


@pytest.mark.parametrize("fails", [False, True], ids=["", "and this one fails"])
def test_an_end_that_another_request_has_told_meanwhile(fails: bool) -> None:
    """Two requests make up for the same ends while the provider is slow; who comes second has nothing to tell (L17)."""
    meanwhile: list[Callable[[], object]] = []

    class Slow(Desk):
        """Something else happens while it ends a stay."""

        async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
            if meanwhile:
                meanwhile.pop()()
                if fails:
                    raise RuntimeError("it took too long")
            return await super().end(record, shown, reason, now)

    for stage in stage_of("wsgi_mode"):
        desk = Slow()
        driver = stage.app(authority=desk)
        guests = [guest(stage, desk, f"stay-{n}", f"guest-{n}", driver=driver) for n in range(3)]
        for browser in guests:
            served(browser.navigate("/me"))
        desk.fault = RuntimeError("down")
        for browser in guests[:2]:
            assert browser.submit("/sign-out").status == 200
        desk.fault = None
        stage.clock.advance(6)
        meanwhile.append(partial(ask_later, stage, driver))
        served(guests[2].navigate("/me"))
        assert [stay.over for stay in desk.stays.values()] == [True, True, False]
        desk.calls.clear()
        ask_later(stage, driver)
        assert desk.calls == [], "nothing is owed any more"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers, refusals and ends that are owed fill no memory: the older half goes, the oldest end is dropped."""
    monkeypatch.setattr(vouching, "REMEMBERED", 4)
    monkeypatch.setattr(vouching, "OWED", 2)
    for stage in stage_of("wsgi_mode"):
        desk = Desk(interval=60)
        driver = stage.app(authority=desk)
        guests = [guest(stage, desk, f"stay-{n}", f"guest-{n}", driver=driver) for n in range(6)]
        for browser in guests:
            served(browser.navigate("/me"))
        place: dict[int, int] = {}
        for n in range(100):
            vouching._remember(place, n, n)
        assert 2 <= len(place) <= 4
        assert 99 in place
        desk.fault = RuntimeError("down")
        for browser in guests[:4]:
            assert browser.submit("/sign-out").status == 200
        desk.fault = None
        stage.clock.advance(6)
        served(guests[5].navigate("/me"))
        assert sum(stay.over for stay in desk.stays.values()) == 2


def test_an_error_that_is_none_of_ours(stage: Stage) -> None:
    """An error of `login` that is not about the provider's session reaches the app's error handling."""

    class Refusing(Desk):
        """Names a user that is none."""

        async def adopt(self, shown: Shown, now: float) -> Vouch:
            return Vouch(Alive.ALIVE, ProviderLogin("", ProviderSession("stay-1", now, authority=self.name)))

    assert guest(stage, Refusing()).fetch("/me").status == 500


def test_a_store_that_cannot_write(stage: Stage) -> None:
    """Reads work and the new session cannot be written: 503, and no cookie (L17)."""
    desk = Desk()
    browser = guest(stage, desk)
    stage.store.go_down(reads=False)
    answer = browser.fetch("/me")
    assert (answer.status, answer.set_cookies) == (503, [])


def test_an_end_that_has_passed_and_not_moved(stage: Stage) -> None:
    """The provider still says the same end, 30 s ahead of us: ours is over (L2)."""
    desk = Desk()
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    stage.clock.advance(580)
    problem(browser.fetch("/me"), "lifetime")


def test_a_credential_that_is_gone_when_freshness_matters(stage: Stage) -> None:
    """An answer that still holds covers the request, but without the credential nobody becomes fresh."""
    desk = Desk(interval=60)
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    stage.clock.advance(600)
    served(browser.navigate("/me"))
    stage.clock.advance(5)
    desk.ask_for = (("aal", "aal2"),)
    assert browser.fetch("/fresh").json["reason"] == "fresh_login"


def test_an_extension_without_an_instant(stage: Stage) -> None:
    """A provider that extends and does not say until when leaves our ceiling as it is."""
    desk = Desk()
    desk.extension = Extended(None)
    browser = guest(stage, desk, ends_at=stage.clock() + 600)
    served(browser.navigate("/me"))
    assert browser.fetch("/session/continue", "POST").json["absolute_left"] == 570


def test_two_processes_hear_of_an_end(stage: Stage) -> None:
    """Who comes second finds it ended, and counts nothing."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    id = served(browser.fetch("/me"))["id"]
    desk.end = End("provider", handles=(handle_of("desk", "alice"),))
    stage.store.interrupt("end", stage.ends_meanwhile(id))
    assert told(browser).status == 200
    assert "session_ended" not in stage.event_names()


def test_a_callback_whose_claims_do_not_fit(stage: Stage) -> None:
    """An error that is none of the provider's session reaches the app's error handling (L19)."""
    desk = FrontDesk()
    desk.guest = ""
    browser = stage.visitor(stage.app(authority=desk))
    browser.navigate("/session/login")
    assert browser.navigate("/session/callback?state=state-0001").status == 500


def test_a_page_without_a_script(stage: Stage) -> None:
    """A page of an authority's has the policy of our own, and nothing more than it asks for."""
    desk = FrontDesk()

    async def plain(ask: Ask) -> Page:
        return Page("<p>plain</p>")

    desk.endpoints = (Endpoint("GET", "plain", plain),)
    policy = stage.visitor(stage.app(authority=desk)).navigate("/session/plain").header("Content-Security-Policy") or ""
    assert "script-src" not in policy
    assert "form-action 'self';" in policy + ";"


def test_a_store_that_cannot_take_note_of_a_state() -> None:
    """Without `add_once` a state could serve twice, so nobody signs in: an error that names the store (L20)."""
    for stage in stage_of("wsgi_mode"):
        inner = stage.store.store

        class Plain:
            """A store with the plain methods only."""

            create, load, touch, save = inner.create, inner.load, inner.touch, inner.save
            renew, end, list = inner.renew, inner.end, inner.list

        desk = FrontDesk()
        stage.store = Plain()  # type: ignore[assignment]
        browser = stage.visitor(stage.app(authority=desk))
        browser.navigate("/session/login")
        assert browser.navigate("/session/callback?state=state-0001").status == 500


def test_freshness_and_age_of_the_apps_own_login(stage: Stage) -> None:
    """Nobody is asked about a session that stands on no provider session, whatever it lacks (L8)."""
    desk = Desk()
    browser = stage.signed_in("carol", stage.app(authority=desk, inactivity_timeout=None, absolute_lifetime=1_000))
    stage.clock.advance(600)
    assert browser.fetch("/fresh").json["reason"] == "fresh_login"
    stage.clock.advance(400)
    problem(browser.fetch("/me"), "lifetime")
    assert desk.calls == []


def test_stale_by_two_handles(stage: Stage) -> None:
    """A session found twice is made stale once."""
    desk = FrontDesk()
    browser = signed_in(stage, desk)
    desk.end = End("credential-change", ("stay-1", "stay-1"), handles=(handle_of("desk", "alice"),), stale=True)
    assert told(browser).status == 200
    assert stage.store.calls["save"] == 1


def test_an_extension_that_fails_is_not_tried_at_every_request(stage: Stage) -> None:
    """Also where every request is looked at closely: the next attempt comes seconds later (L17)."""

    class NotExtending(Desk):
        """Vouches, and cannot extend."""

        async def extend(self, record: SessionRecord, shown: Shown, now: float, minutes: float | None) -> Any:
            self.calls.append("extend")
            raise RuntimeError("down")

    desk = NotExtending()
    desk.extends_by = 600
    browser = guest(stage, desk, ends_at=stage.clock() + 600, inactivity_timeout=None)
    served(browser.navigate("/me"))
    stage.clock.advance(60)
    for _ in range(3):
        served(browser.navigate("/me"))
        stage.clock.advance(1)
    assert desk.calls.count("extend") == 1
    stage.clock.advance(3)
    served(browser.navigate("/me"))
    assert desk.calls.count("extend") == 2


def test_who_read_the_session_before_it_was_extended_does_not_extend_it_again() -> None:
    """Of requests at one moment one extends; a slow thread among them asks the provider for nothing."""
    desk, now = Desk(), 1_000.0
    desk.extends_by, desk.extension = 600, Extended(now + 660)
    engine = Engine(Settings(secret_keys=[KEY]), MemoryStore(), authority=desk, clock=lambda: now)
    x = engine.begin(WSGIFacts({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}))
    provider = ProviderSession("stay-1", now, now + 600, desk.name)
    run_sync(engine.login(x, "alice", provider=provider))
    asks, before = engine.vouching, x.record
    assert before is not None
    assert asks.extension_due(before, now + 60)
    assert isinstance(run_sync(asks.extend(before, Shown({}, {}), now + 60)), Extended)
    assert not asks.extension_due(before, now + 60)
    assert asks.extension_due(before, now + 60 + vouching.RETRY_INTERVAL)


@pytest.mark.parametrize("ended", [False, True], ids=["joined", "ended at once"])
def test_begun_elsewhere_between_two_looks(stage: Stage, ended: bool) -> None:
    """What another process begins between our looks is joined; where it has ended already, a session of its own begins."""
    desk = Desk()
    browser = guest(stage, desk)
    record = made_elsewhere(stage, desk)

    def made() -> Any:
        yield "create", record

    stage.store.interrupt("load", made, skip=1)
    if ended:
        stage.store.interrupt("load", stage.ends_meanwhile(record.public_id), skip=2)
    seen = served(browser.navigate("/me"))
    assert (seen["id"] == record.public_id) is not ended
