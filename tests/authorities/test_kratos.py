"""KratosAuthority keeps the promises of an authority, and sessions at Kratos begin, go on and end with ours."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware.authorities.base import NOTHING_SHOWN, Advises, Alive, Shown, Vouch
from session_middleware.authorities.kratos import KratosAuthority
from session_middleware.commands.check import describe
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.settings import Settings
from session_middleware.testing import AuthorityContract
from session_middleware.testing.authority_contract import ask
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stage import KEY
from tests.authorities.kratos_operations import check_calls
from tests.authorities.kratos_town import COOKIE, FEW, Town, town
from tests.authorities.kratos_world import World, world


class TestKratosAuthority(AuthorityContract):
    """With admin rights, over loopback."""

    @pytest.fixture
    def here(self) -> Iterator[World]:
        with world() as made:
            yield made
            check_calls(made.kratos.calls)

    @pytest.fixture
    def authority(self, here: World) -> KratosAuthority:
        return KratosAuthority(here.public_url, admin_url=here.admin_url, app_url="https://app.example")

    @pytest.fixture
    def alive(self, here: World) -> SessionRecord:
        return self._record(here, 0)

    @pytest.fixture
    def gone(self, here: World) -> SessionRecord:
        record = self._record(here, 1)
        assert record.provider_session is not None
        here.kratos.revoke(record.provider_session)
        return record

    @pytest.fixture
    def shows(self, here: World) -> Any:
        def shown(record: SessionRecord) -> Shown:
            assert record.provider_session is not None
            name, _, value = here.kratos.credential(record.provider_session).cookie.partition("=")
            return Shown({name: value})

        return shown

    @pytest.fixture
    def cut_off(self, here: World) -> KratosAuthority:
        here.kratos.faults.lose_database()
        return KratosAuthority(here.public_url, admin_url=here.admin_url, app_url="https://app.example")

    def _record(self, here: World, n: int) -> SessionRecord:
        held = here.kratos.begin_session(here.kratos.add_identity(f"user-{n}", "x"))
        made = reference_record(n)
        return made.evolve(
            subject=held.identity,
            authority="kratos",
            provider_session=held.id,
            created_at=here.clock(),
            ceiling=here.clock() + 86_400,
        )

    def test_a_record_of_another_authority_is_not_asked_about(self, here: World, authority: KratosAuthority) -> None:
        """The app's own login is none of Kratos' business."""
        assert ask(authority, reference_record(0), NOTHING_SHOWN) == Vouch(Alive.ALIVE)
        assert here.kratos.calls == []


@pytest.fixture(params=FEW)
def place(request: pytest.FixtureRequest) -> Iterator[Town]:
    with town(request.param) as made:
        yield made


# --- beginning and going on ----------------------------------------------------------------------------------------


def test_kratos_session_begins_ours(place: Town) -> None:
    """One whoami adopts the cookie: subject, times and factors are Kratos'; the claims are what the app makes of them."""
    alice = place.alice()
    place.clock.advance(60)
    authority = place.authority(claims=lambda session: {"email": session["identity"]["traits"]["email"]})
    browser = place.browser(alice, authority=authority)
    seen = served(browser.navigate("/me"))
    assert (seen["subject"], seen["claims"]) == (alice.identity, {"email": "alice"})
    assert seen["authenticated_at"] == place.clock() - 60
    record = place.record(alice.identity)
    assert record is not None
    assert (record.provider_session, record.ceiling) == (alice.id, place.clock() + 3540)
    assert record.factors == ({"type": "password", "aal": "aal1", "at": "2027-01-15T08:00:00.000000Z"},)
    assert place.paths() == ["GET /sessions/whoami"]


def test_whoami_is_asked_once_an_interval(place: Town) -> None:
    """Between two answers of whoami nothing is asked, and after the interval one call is made (L8)."""
    browser = place.browser(place.alice())
    for _ in range(3):
        served(browser.navigate("/me"))
        served(browser.fetch("/me"))
        place.clock.advance(9.9)
        served(browser.fetch("/me"))
        place.clock.advance(0.2)
    assert place.kratos.count("/sessions/whoami") == 3


def test_an_api_client_shows_its_token(place: Town) -> None:
    """With `api_clients` a request may show X-Session-Token instead; without, the header is not looked at."""
    alice = place.alice()
    token = [("X-Session-Token", alice.token)]
    blind = place.browser()
    problem(blind.fetch("/me", headers=token), None)
    client = place.browser(authority=place.authority(api_clients=True))
    seen = served(client.fetch("/me", headers=token))
    assert seen["subject"] == alice.identity
    assert served(client.fetch("/me", headers=token))["id"] == seen["id"]
    assert "X-Session-Token" in (client.answers[-1].header("Vary") or "")
    problem(client.fetch("/me"), "signed_out")  # ours alone is half of a proof (L24)
    assert place.kratos.calls[0].headers["x-session-token"] == alice.token


def test_a_token_is_never_sent_beside_a_cookie(place: Town) -> None:
    """Kratos answers 500 to a good token beside a cookie that it cannot read, so the token goes alone."""
    alice = place.alice()
    client = place.browser(authority=place.authority(api_clients=True))
    client.jar.take([f"{COOKIE}=stale; Path=/"], client.origin, "/")
    served(client.fetch("/me", headers=[("X-Session-Token", alice.token)]))
    assert "cookie" not in place.kratos.calls[0].headers


def test_a_dead_cookie_begins_nothing(place: Town) -> None:
    """A cookie of a session that is over leads to the login page; it is asked about twice, and then left alone a while."""
    alice = place.alice()
    place.kratos.revoke(alice.id)
    browser = place.browser(alice)
    for _ in range(5):
        problem(browser.fetch("/me"), None)
    assert place.paths() == ["GET /sessions/whoami"] * 2


def test_what_ends_at_kratos_ends_here(place: Town) -> None:
    """A session revoked at Kratos is over here within the interval, for good, and proven by the admin listener."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    place.kratos.revoke(alice.id)
    place.clock.advance(10)
    since = len(place.kratos.calls)
    problem(browser.fetch("/me"), "signed_out")
    assert place.paths(since)[:3] == ["GET /sessions/whoami"] * 2 + ["GET /admin/sessions/{id}"]
    assert place.record(alice.identity) is None


def test_who_is_disabled_is_out(place: Town) -> None:
    """A person disabled at Kratos is out within the interval; the row of their session alone would not say so."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    place.kratos.disable(alice.identity)
    place.clock.advance(10)
    problem(browser.fetch("/me"), "signed_out")
    assert place.record(alice.identity) is None


def test_another_user_at_kratos_is_another_session_here(place: Town) -> None:
    """Where another person signs in at a refresh, the old session ends and theirs begins, with nothing of the other's."""
    bob = place.kratos.add_identity("bob", "battery staple")
    alice = place.alice()
    browser = place.browser(alice)
    first = served(browser.navigate("/me"))
    served(browser.submit('/claims?set={"cart":1}'))
    place.clock.advance(600)
    answer = browser.navigate("/session/login?refresh=true&return_to=/me")
    seen = served(place.at_kratos(browser, answer, identifier="bob", password="battery staple"))
    assert (seen["subject"], seen["claims"]) == (bob, {})
    assert seen["id"] != first["id"]
    assert place.record(alice.identity) is None


# --- settings ------------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"public_url": "http://127.0.0.1:4433", "app_url": "https://app.example"}


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("public_url", {"public_url": "kratos:4433"}),
        ("public_url", {"public_url": "http://kratos.example"}),
        ("admin_url", {"admin_url": "http://10.0.0.7:4434"}),
        ("app_url", {"app_url": "app.example"}),
        ("app_url", {"app_url": None}),
        ("browser_url", {"browser_url": "https://id.example/?x=1"}),
        ("admin_token", {"admin_token": "ory_pat_x"}),
        ("admin_token", {"admin_url": "http://127.0.0.1:4434", "admin_token": "secret two\nlines"}),
        ("cookie_name", {"cookie_name": "a=b"}),
        ("lifespan", {"lifespan": 60}),
        ("extend_when_left", {"extend_when_left": 10}),
        ("extend_when_left", {"lifespan": 3600, "extend_when_left": 7200}),
        ("verify_interval", {"verify_interval": -1}),
        ("timeout", {"timeout": 0}),
        ("app_url", {"app_url": "https://me:secret@app.example"}),
        ("shared", {"shared": "false"}),
        ("api_clients", {"api_clients": 1}),
        ("insecure_dev", {"insecure_dev": "no"}),
        ("claims", {"claims": "email"}),
    ],
)
def test_settings_that_make_no_sense(field: str, changes: dict[str, Any]) -> None:
    """A wrong setting is refused by its own name, and a secret is not repeated."""
    with pytest.raises(SettingsError) as refused:
        KratosAuthority(**{**GOOD, **changes})
    assert refused.value.field == field
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("admin", "limits", "warned"),
    [
        (True, {"inactivity_timeout": 1770}, None),
        (True, {"inactivity_timeout": 1771}, "inactivity_timeout is beyond 1770 s"),
        (True, {"inactivity_timeout": None}, "inactivity_timeout is beyond 1770 s"),
        (False, {"absolute_lifetime": 3570}, None),
        (False, {"absolute_lifetime": 3571}, "absolute_lifetime is beyond 3600 s"),
    ],
)
def test_advice_where_kratos_ends_first(admin: bool, limits: dict[str, Any], warned: str | None) -> None:
    """`check` says where a session at Kratos may end before ours would."""
    authority = KratosAuthority(**GOOD, lifespan=3600, admin_url="http://127.0.0.1:4434" if admin else None)
    assert isinstance(authority, Advises)
    settings = Settings(secret_keys=[KEY], **{"inactivity_timeout": 600, "absolute_lifetime": 3570, **limits})
    said = describe(settings, authority).warnings
    found = [text for text in said if "Kratos" in text]
    assert len(found) == (warned is not None)
    assert warned is None or found[0].startswith(warned)


def test_it_shows_no_secret() -> None:
    """The admin token is not in a repr."""
    authority = KratosAuthority(**GOOD, admin_url="http://127.0.0.1:4434", admin_token="ory_pat_secret")
    assert "ory_pat" not in f"{authority!r} {authority._kratos!r} {vars(authority._kratos)!r}"


def test_every_argument_is_documented() -> None:
    """docs/kratos.md has a row for each argument, with the default that it has."""
    text = (Path(__file__).parent.parent.parent / "docs" / "kratos.md").read_text("utf-8")
    table = text.partition("| `KratosAuthority` |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|([^|]*)\|", table, re.MULTILINE)
    said = {name.strip("` "): default.strip() for names, default in rows for name in names.split(",")}
    known = {
        parameter.name: parameter.default
        for parameter in list(inspect.signature(KratosAuthority.__init__).parameters.values())[1:]
    }
    assert set(said) == set(known)
    assert (known["lifespan"], known["verify_interval"], known["timeout"]) == (86_400.0, 10.0, 3.0)
    assert (said["lifespan"], said["verify_interval"], said["timeout"]) == ("24 hours", "10 s", "3 s")
    assert {name for name, default in known.items() if default is False} == {
        name for name, default in said.items() if default == "no"
    }
