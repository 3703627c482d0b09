"""`session-middleware sessions end` and `end-all` of an app whose sessions live at a provider: they end there too."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from session_middleware import Settings
from session_middleware.__main__ import main
from session_middleware.adapters.asgi import SessionLifetimeMiddleware as ASGIMiddleware
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware as WSGIMiddleware
from session_middleware.adapters.wsgi import session_from
from session_middleware.authorities.kratos import KratosAuthority
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import FakeClock
from session_middleware.testing.stage import KEY
from session_middleware.testing.stand_ins.kratos import KratosCredential
from tests.authorities.kratos_world import World, world

SETTINGS = Settings(secret_keys=[KEY], insecure_dev=True)


@pytest.fixture
def here() -> Iterator[World]:
    with world(lifespan=3600, clock=FakeClock(time.time())) as made:  # the command has the real time
        yield made


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 's.db'}"


@pytest.fixture
def opened(here: World, url: str) -> Iterator[Callable[[KratosCredential], str]]:
    """A page of the app: it begins a session on Kratos' cookie and returns its id."""
    store = SQLiteStore(url.removeprefix("sqlite:///"))
    authority = KratosAuthority(here.public_url, app_url="https://app.example", timeout=20)

    def page(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [(session_from(environ).id or "").encode()]

    app = WSGIMiddleware(page, SETTINGS, store, authority=authority)

    def open_page(held: KratosCredential) -> str:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_COOKIE": held.cookie, "wsgi.url_scheme": "https"}
        return b"".join(app(environ, lambda *_: lambda data: None)).decode()

    yield open_page
    authority.close()
    store.close()


@pytest.fixture(params=[WSGIMiddleware, ASGIMiddleware], ids=["blocking", "asynchronous"])
def named(request: pytest.FixtureRequest, here: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """The app as `--settings` names it."""
    authority = KratosAuthority(here.public_url, admin_url=here.admin_url, app_url="https://app.example", timeout=20)
    module: Any = ModuleType("operated_app")
    module.app = request.param(None, SETTINGS, "memory://", authority=authority)
    monkeypatch.setitem(sys.modules, "operated_app", module)
    return "operated_app:app"


def lives(here: World, held: KratosCredential) -> bool:
    """Say whether a session goes on at Kratos."""
    session = here.kratos.session(held.id)
    return session is not None and session["active"]


def test_an_operator_bans_a_user(
    here: World, opened: Callable[[KratosCredential], str], url: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`end-all --settings` ends what stands in the store, and at Kratos also what never came here."""
    alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
    unseen = here.kratos.begin_session(alice.identity)
    opened(alice)
    assert main(["sessions", "end-all", alice.identity, "--store", url, "--settings", named]) == 0
    assert "Ended: 1." in capsys.readouterr().out
    assert [lives(here, held) for held in (alice, unseen)] == [False, False]


def test_an_operator_ends_one(here: World, opened: Callable[[KratosCredential], str], url: str, named: str) -> None:
    """`end --settings` ends one session, at Kratos too, and no other."""
    alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
    other = here.kratos.begin_session(alice.identity)
    id = opened(alice)
    assert main(["sessions", "end", id, "--store", url, "--settings", named]) == 0
    assert main(["sessions", "end", id, "--store", url, "--settings", named]) == 1
    assert [lives(here, held) for held in (alice, other)] == [False, True]


def test_while_the_provider_is_down(
    here: World,
    opened: Callable[[KratosCredential], str],
    url: str,
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ours end all the same, and the operator is told to do it again."""
    alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
    opened(alice)
    here.kratos.faults.be_down()
    assert main(["sessions", "end-all", alice.identity, "--store", url, "--settings", named]) != 0
    assert "have ended here" in capsys.readouterr().err
    here.kratos.faults.clear()
    assert main(["sessions", "end-all", alice.identity, "--store", url, "--settings", named]) == 0
    assert not lives(here, alice)


def test_one_that_the_provider_was_not_told_of(
    here: World,
    opened: Callable[[KratosCredential], str],
    url: str,
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A command is over before it could tell the provider again, so it says that its session lives."""
    alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
    id = opened(alice)
    here.kratos.faults.be_down()
    assert main(["sessions", "end", id, "--store", url, "--settings", named]) == 0
    said = capsys.readouterr()
    assert "Ended." in said.out
    assert "has not been told" in said.err
    assert lives(here, alice)
