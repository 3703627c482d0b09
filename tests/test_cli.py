"""The command line: what an operator types, what comes back, and the demo as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from session_middleware import Limits, Settings
from session_middleware.__main__ import main
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, session_from
from session_middleware.commands.check import describe
from session_middleware.core.record import handle_of
from session_middleware.core.tokens import key_of
from session_middleware.demo import Demo, demo_settings
from session_middleware.demo.visitors import Visitor
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.clock import FakeClock
from session_middleware.testing.reference_record import reference_record

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
KEY_2 = "9f8e7d6c5b4a30214365870a9b8c7d6e5f"


# --- check -------------------------------------------------------------------------------------------------------


def test_check_names_the_limits_and_the_level_of_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """Without settings the defaults are described: 1 h, 24 h, AAL2, no warning (L22)."""
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "Silence ends a session after 1 h (seen within 1 min), its age after 24 h: within NIST AAL2." in out
    assert "warning" not in out


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"aal": "aal3"}, "within NIST AAL3"),
        ({"aal": "aal2"}, "within NIST AAL2"),
        ({"aal": "aal1"}, "within NIST AAL1"),
        ({"inactivity_timeout": None, "absolute_lifetime": timedelta(days=31)}, "beyond every NIST level"),
    ],
)
def test_the_level_satisfied_is_named(given: dict[str, object], level: str) -> None:
    """The highest assurance level that both limits satisfy is named (ASVS 7.1.1)."""
    assert level in describe(Settings.from_mapping({}, **given)).statements[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"aal": "aal2", "absolute_lifetime": 90_000}, "absolute_lifetime is 25 h, AAL2"),
        ({"inactivity_timeout": 7_200}, "inactivity_timeout is 2 h, AAL2"),
        ({"inactivity_timeout": None}, "there is no inactivity_timeout, AAL2"),
        ({"aal": "aal2", "inactivity_timeout": 3_600}, "together are 61 min"),
        ({"persistent_limits": Limits(None, 40 * 86_400)}, "persistent_limits reach 40 d"),
        ({"insecure_dev": True}, "Never in production"),
        ({"cookie_domain": "example.org"}, "every host below example.org"),
        ({"csrf_without_headers": "allow"}, "csrf_without_headers"),
        ({"on_replay": "refuse"}, "lives on"),
    ],
)
def test_what_is_doubtful_is_warned_of(given: dict[str, object], said: str) -> None:
    """Each setting that weakens a rule or passes a level's figure has its warning."""
    warnings = describe(Settings.from_mapping({}, **given)).warnings
    assert any(said in line for line in warnings), warnings


def test_keys_are_counted_and_never_shown() -> None:
    """The inventory tells keys apart by four characters and says where a new one goes first (L10)."""
    text = describe(Settings(secret_keys=[KEY, KEY_2])).text
    assert re.search(r"Keys: 2 .*marks: [0-9a-f]{4}, [0-9a-f]{4}\.", text)
    assert "END of the list" in text
    assert KEY not in text
    assert KEY_2 not in text


def test_a_change_of_keys_that_would_rename_everybody_is_announced() -> None:
    """While pairwise subjects hang on the first key, `check` says how to keep them (L9)."""
    hint = "set jwt_subject_key"
    assert hint in describe(Settings(secret_keys=[KEY])).text
    assert hint not in describe(Settings(secret_keys=[KEY], jwt_subject="plain")).text
    kept = describe(Settings(secret_keys=[KEY], jwt_subject_key=KEY_2)).text
    assert hint not in kept
    assert KEY_2 not in kept


def test_settings_are_found_by_module_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--settings takes Settings, or a middleware of ours, in a module of the working directory."""
    (tmp_path / "checked_app.py").write_text(
        "from session_middleware import Settings\n"
        "from session_middleware.adapters.wsgi import SessionLifetimeMiddleware\n"
        f"settings = Settings(secret_keys=['{KEY}'], inactivity_timeout=600)\n"
        "app = SessionLifetimeMiddleware(lambda environ, start: [], settings, 'memory://')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for name in ("settings", "app"):
        assert main(["check", "--settings", f"checked_app:{name}"]) == 0
        assert "after 10 min" in capsys.readouterr().out


def test_settings_of_a_flask_app_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--settings takes a Flask app that SessionLifetime wraps."""
    pytest.importorskip("flask")
    (tmp_path / "checked_flask.py").write_text(
        "from flask import Flask\n"
        "from session_middleware.adapters.flask import SessionLifetime\n"
        "app = Flask('checked')\n"
        f"app.config.update(SECRET_KEY='{KEY}', SESSION_LIFETIME_INACTIVITY_TIMEOUT=660)\n"
        "SessionLifetime(app, store='memory://')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert main(["check", "--settings", "checked_flask:app"]) == 0
    assert "after 11 min" in capsys.readouterr().out


def test_settings_of_a_django_project_are_found(tmp_path: Path) -> None:
    """--settings django reads SESSION_LIFETIME of the project; without a project it is an error, not a traceback."""
    pytest.importorskip("django")
    (tmp_path / "checked_project.py").write_text(
        f"SECRET_KEY = '{KEY}'\nINSTALLED_APPS = []\nSESSION_LIFETIME = {{'inactivity_timeout': 720}}\n"
    )
    command = [sys.executable, "-m", "session_middleware", "check", "--settings", "django"]
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    without = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert without.returncode == 1
    assert "Set DJANGO_SETTINGS_MODULE" in without.stderr
    assert "Traceback" not in without.stderr
    environment["DJANGO_SETTINGS_MODULE"] = "checked_project"
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "after 12 min" in done.stdout
    command[3:4] = ["sessions", "list", "alice"]
    looked = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (
        looked.stdout
        == f"'alice' has no live session in <SQLiteStore {tmp_path / 'sessions.db'}>, the store of django.\n"
    )


@pytest.mark.parametrize("source", ["", "json", "json:", ":x", "no_such_module_here:x", "json:nothing", "json:dumps"])
def test_settings_that_are_not_there_are_refused(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A --settings that leads nowhere is an error with its value and a form that works."""
    assert main(["check", "--settings", source]) == 1
    error = capsys.readouterr().err
    assert "--settings" in error
    assert "module:name" in error


def test_an_app_that_cannot_be_built_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an app raises while it is imported is an error of the command, not a traceback of ours."""
    (tmp_path / "unbuilt_app.py").write_text("import os\nname = os.environ['NOT_SET_HERE']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert main(["check", "--settings", "unbuilt_app:name"]) == 1
    assert "cannot be imported (KeyError: 'NOT_SET_HERE')" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    """`session-middleware check | head -0` leaves no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "session_middleware", "check"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""


def _as_a_process(*arguments: str | bytes, locale: str = "C", **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a locale of another encoding than UTF-8."""
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": locale}
    environment.pop("PYTHONIOENCODING", None)
    command = [sys.executable, "-m", "session_middleware", *arguments]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, check=False, **options)


def test_a_full_disk_is_said_to_be() -> None:
    """What cannot be written is an error in one line, and no traceback."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no disk that is always full")
    with Path("/dev/full").open("wb") as full:
        done = _as_a_process("check", stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the output could not be written")
    assert done.stderr.count(b"\n") == 1


def test_an_output_that_is_closed_is_no_fault() -> None:
    """`session-middleware check >&-` does what it does, for its exit status."""
    done = _as_a_process("check", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, b"")


def test_nonsense_in_the_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Settings refuse, check refuses with status 1: here aal3 with more than 12 hours (L22)."""
    monkeypatch.setenv("SESSION_LIFETIME_AAL", "aal3")
    monkeypatch.setenv("SESSION_LIFETIME_ABSOLUTE_LIFETIME", "50000")
    assert main(["check"]) == 1
    assert "12 hours" in capsys.readouterr().err


# --- sessions ----------------------------------------------------------------------------------------------------


class _Operated:
    """An app with a store in a file, its visitors, and the command line beside it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'sessions.db'}"
        self.store = SQLiteStore(folder / "sessions.db")

        def app(environ, start_response):  # type: ignore[no-untyped-def]
            session = session_from(environ)
            if environ["PATH_INFO"] == "/login":
                session.login(environ["QUERY_STRING"])
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"id": session.id}).encode()]

        settings = Settings(secret_keys=[KEY], exempt_paths=[], inactivity_timeout=8 * 3_600)
        self.app = SessionLifetimeMiddleware(app, settings, self.store)

    def visitor(self, subject: str) -> tuple[Visitor, str]:
        visitor = Visitor(self.app, f"{subject}'s browser")
        return visitor, str(visitor.ask("POST", f"/login?{subject}")["id"])


@pytest.fixture
def operated(tmp_path: Path) -> Iterator[_Operated]:
    made = _Operated(tmp_path)
    yield made
    made.store.close()


def test_an_operator_lists_and_ends_sessions(operated: _Operated, capsys: pytest.CaptureFixture[str]) -> None:
    """list shows a user's sessions, end ends one of them at once, and the app refuses it on its next request."""
    alice, first = operated.visitor("alice")
    _, second = operated.visitor("alice")
    operated.visitor("bob")

    assert main(["sessions", "list", "alice", "--store", operated.url]) == 0
    listed = capsys.readouterr().out
    assert {line.split()[0] for line in listed.splitlines()} == {first, second}
    assert "alice's browser" in listed

    assert main(["sessions", "end", first, "--store", operated.url]) == 0
    assert alice.ask("GET", "/")["status"] == 401
    assert main(["sessions", "end", first, "--store", operated.url]) == 1
    assert main(["sessions", "list", "alice", "--store", operated.url]) == 0
    assert first not in capsys.readouterr().out.splitlines()[-1]


def test_an_operator_learns_why_a_session_ended(operated: _Operated, capsys: pytest.CaptureFixture[str]) -> None:
    """show names the reason of an ended session, and both ends of a live one (L16)."""
    _, one = operated.visitor("alice")
    assert main(["sessions", "show", one, "--store", operated.url]) == 0
    assert "state:      live" in capsys.readouterr().out
    main(["sessions", "end", one, "--store", operated.url])
    assert main(["sessions", "show", one, "--store", operated.url]) == 0
    assert "reason: revoked" in capsys.readouterr().out
    assert main(["sessions", "show", "nobody", "--store", operated.url]) == 1


@pytest.mark.parametrize("cut", ["by the settings", "by its provider"])
def test_what_is_shown_of_a_session_is_what_is_in_force(
    operated: _Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cut: str
) -> None:
    """L2: of one that a shorter limit or the provider's end has cut, show says over, as list does, and not live."""
    now, public_id = time.time(), reference_record(0).public_id
    record = reference_record(0).evolve(key=key_of(public_id), limits=Limits(3_600, 86_400), keep_until=9e9)
    record = record.evolve(authenticated_at=now - 1_000, last_seen_at=now - 1_000, inactivity_deadline=now + 2_600)
    operated.store.create(record.evolve(ceiling=now + 25) if cut == "by its provider" else record)
    text = "from session_middleware import Settings\nsettings = Settings(inactivity_timeout={})\n"
    (tmp_path / "cutting.py").write_text(text.format(300 if cut == "by the settings" else 3_600))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "cutting", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = ["--store", operated.url, "--settings", "cutting:settings"]
    assert main(["sessions", "list", record.subject, *asked]) == 1
    assert main(["sessions", "show", public_id, *asked]) == 0
    assert "state:      over" in capsys.readouterr().out


def test_what_others_chose_gives_no_orders_to_a_terminal(
    operated: _Operated, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name or an address with line breaks and escapes in it stays on its line, and forges no other (ASVS 16.4.1)."""
    hostile = "alice\x1b[2J\nended:      long ago"
    record = reference_record(0).evolve(subject=hostile, attributes={"address": hostile}, keep_until=9e9)
    record = record.evolve(handles=(handle_of("subject", hostile),), authenticated_at=8e9, inactivity_deadline=8.9e9)
    operated.store.create(record.evolve(key=key_of(record.public_id)))
    for verb in (["list", hostile], ["show", record.public_id]):
        assert main(["sessions", *verb, "--store", operated.url]) == 0
        said = capsys.readouterr().out
        assert repr(hostile) in said
        assert "\x1b" not in said
        assert "\nended" not in said


@pytest.mark.parametrize("verb", ["list", "show", "end", "end-all"])
def test_who_finds_nothing_reads_where_it_was_looked_for(
    operated: _Operated, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator who looked in another store than the app's must not believe that a user is out."""
    main(["sessions", verb, "nobody", "--store", operated.url])
    assert f" in {operated.url}" in capsys.readouterr().out


def test_without_settings_no_session_is_too_long(operated: _Operated, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one that lasts for years show and list say what the app says, in its second year too."""
    now, public_id = time.time(), reference_record(0).public_id
    record = reference_record(0).evolve(key=key_of(public_id), limits=Limits(None, 900 * 86_400), keep_until=9e9)
    operated.store.create(record.evolve(authenticated_at=now - 500 * 86_400, inactivity_deadline=None))
    assert main(["sessions", "show", public_id, "--store", operated.url]) == 0
    assert "state:      live" in capsys.readouterr().out
    assert main(["sessions", "list", record.subject, "--store", operated.url]) == 0


def test_without_settings_only_a_login_limits_itself(
    operated: _Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A session of a month is listed on its tenth day; --settings cuts it, also settings that leave the key to Flask (L2)."""
    now = time.time()
    record = reference_record(0).evolve(subject="carol", handles=(handle_of("subject", "carol"),), keep_until=9e9)
    month = Limits(None, 30 * 86_400)
    operated.store.create(record.evolve(authenticated_at=now - 864_000, inactivity_deadline=None, limits=month))
    command = ["sessions", "list", "carol", "--store", operated.url]
    assert main(command) == 0
    assert record.public_id in capsys.readouterr().out

    (tmp_path / "keyless.py").write_text("from session_middleware import Settings\nsettings = Settings()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert main([*command, "--settings", "keyless:settings"]) == 1
    assert capsys.readouterr().out == f"'carol' has no live session in {operated.url}.\n"


#: An app with a store of its own, given by `{store}`; what keeps the sessions is `{path}`.
_APP = """
from session_middleware import Settings
from session_middleware.adapters.asgi import SessionLifetimeMiddleware
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.nearcache import NearCache
from session_middleware.stores.sqlite import SQLiteStore
from tests.stores.announcing_store import AwaitedStore

class Announcing(SQLiteStore):
    def announcements(self):
        raise AssertionError("a command listens to nothing")

class Remembering(SQLiteStore):
    def reload(self, key):
        return self.load(key)

async def page(scope, receive, send): ...

app = SessionLifetimeMiddleware(page, Settings(secret_keys=["{key}"], exempt_paths=[]), {store})
"""


@pytest.mark.parametrize(
    "store",
    [
        "SQLiteStore('{path}')",
        "AwaitedStore(SQLiteStore('{path}'))",
        "NearCache(Announcing('{path}'))",
        "Remembering('{path}')",
    ],
    ids=["blocking", "awaited", "near cache", "a cache of its own"],
)
def test_an_app_that_is_named_is_asked_in_its_own_store(
    operated: _Operated, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever names the app need not know where it keeps its sessions; an URL that is given as well wins."""
    path = operated.url.removeprefix("sqlite:///")
    (tmp_path / "shop_app.py").write_text(_APP.format(store=store.format(path=path), key=KEY))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shop_app", raising=False)
    monkeypatch.setenv("SESSION_STORE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    alice, first = operated.visitor("alice")
    operated.visitor("alice")
    named = ["--settings", "shop_app:app"]

    assert main(["sessions", "list", "alice", *named]) == 0
    assert first in capsys.readouterr().out
    assert main(["sessions", "end", first, *named]) == 0
    assert alice.ask("GET", "/")["status"] == 401
    assert main(["sessions", "show", first, *named]) == 0
    assert "reason: revoked" in capsys.readouterr().out
    assert main(["sessions", "end-all", "alice", *named]) == 0
    assert "Ended: 1." in capsys.readouterr().out
    assert main(["sessions", "end-before", "2020-01-01T00:00:00Z", *named]) == 0
    assert main(["sessions", "list", "alice", *named]) == 1
    assert "the store of shop_app:app" in capsys.readouterr().out
    assert main(["sessions", "list", "alice", *named, "--store", f"sqlite:///{tmp_path / 'none.db'}"]) == 1
    assert "none.db" in capsys.readouterr().err


def test_an_app_of_starlette_is_asked_in_the_store_of_its_middleware(
    operated: _Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Starlette makes its middlewares at the first request, which a command never sends; others may stand around them."""
    pytest.importorskip("starlette")
    (tmp_path / "star_app.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.middleware import Middleware\n"
        "from starlette.middleware.gzip import GZipMiddleware\n"
        "from session_middleware import Settings\n"
        "from session_middleware.adapters.starlette import SessionLifetimeMiddleware\n"
        f"ours = Middleware(SessionLifetimeMiddleware, settings=Settings(secret_keys=['{KEY}']), store='{operated.url}')\n"
        "app = Starlette(middleware=[Middleware(GZipMiddleware), ours])\n"
        "bare = Starlette()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SESSION_STORE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    _, first = operated.visitor("alice")
    assert main(["sessions", "list", "alice", "--settings", "star_app:app"]) == 0
    assert first in capsys.readouterr().out
    assert main(["sessions", "list", "alice", "--settings", "star_app:bare"]) == 1
    assert "is Starlette, which holds no Settings" in capsys.readouterr().err


def test_an_app_that_keeps_sessions_in_its_memory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process finds nothing there, and an operator must not believe that nobody is signed in."""
    (tmp_path / "small_app.py").write_text(_APP.format(store="MemoryStore()", key=KEY))
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["sessions", "list", "alice", "--settings", "small_app:app"]) == 1
    assert "keeps its sessions in its own process" in capsys.readouterr().err


@pytest.mark.parametrize("public_id", ["-lYNNG9m5v0j1qlOHLT31o", "--YNNG9m5v0j1qlOHLT31o"])
def test_an_id_may_begin_with_a_dash(operated: _Operated, public_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A public id is base64url, so it may look like an option; it is read as the id all the same."""
    store = ["--store", operated.url]
    for arguments in ([public_id, *store], [*store, public_id], [*store, "--", public_id]):
        assert main(["sessions", "show", *arguments]) == 1
        assert "Nothing is known of this id" in capsys.readouterr().out


def test_an_operator_ends_all_of_a_user(operated: _Operated, capsys: pytest.CaptureFixture[str]) -> None:
    """end-all ends one user's sessions and nobody else's."""
    alice, _ = operated.visitor("alice")
    bob, _ = operated.visitor("bob")
    assert main(["sessions", "end-all", "alice", "--store", operated.url]) == 0
    assert "Ended: 1." in capsys.readouterr().out
    assert alice.ask("GET", "/")["status"] == 401
    assert bob.ask("GET", "/")["status"] == 200
    assert main(["sessions", "list", "alice", "--store", operated.url]) == 1


def test_a_user_is_who_was_typed_in_any_locale(operated: _Operated) -> None:
    """In an ASCII locale a name in UTF-8 is itself, and what its terminal cannot show is written another way."""
    operated.visitor("J\u00fcrgen")
    for verb, said in (("list", b"  login "), ("end-all", b"Ended: 1."), ("list", b"'J\\xfcrgen' has no live session")):
        done = _as_a_process("sessions", verb, "J\u00fcrgen".encode(), "--store", operated.url, stdout=subprocess.PIPE)
        assert (said in done.stdout, done.stderr) == (True, b"")
    done = _as_a_process("sessions", "list", b"J\xfcrgen", "--store", operated.url, stdout=subprocess.PIPE)
    assert (done.returncode, b"no text of Unicode" in done.stderr) == (1, True)


def test_a_user_who_may_be_two_is_asked_for_again(
    operated: _Operated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Latin-1 locale reads the UTF-8 of one name as another name, whose sessions must not end in its place."""
    monkeypatch.setattr(os, "fsencode", lambda text: str(text).encode("latin-1"))
    alice, _ = operated.visitor("J\u00c3\u00bcrgen")
    assert main(["sessions", "end-all", "J\u00c3\u00bcrgen", "--store", operated.url]) == 1
    assert "is 'J\u00fcrgen' if your terminal writes UTF-8" in capsys.readouterr().err
    assert main(["sessions", "end-all", "J\u00fcrgen", "--store", operated.url]) == 0  # in Latin-1, as the locale says
    assert alice.ask("GET", "/")["status"] == 200


def test_an_operator_ends_everything_before_an_instant(operated: _Operated) -> None:
    """end-before ends what was begun earlier; later logins stay."""
    early, _ = operated.visitor("alice")
    assert main(["sessions", "end-before", "2020-01-01T00:00:00Z", "--store", operated.url]) == 0
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert main(["sessions", "end-before", tomorrow, "--store", operated.url]) == 1  # no login until then could stand
    assert early.ask("GET", "/")["status"] == 200
    now = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()  # after the login, which may be of this very second
    assert main(["sessions", "end-before", now, "--store", operated.url]) == 0
    assert early.ask("GET", "/")["status"] == 401


@pytest.mark.parametrize(
    "instant", ["2026-01-31T12:00:00", "yesterday", "", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
def test_an_instant_without_a_zone_is_refused(
    operated: _Operated, instant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An instant that could mean several, or none, is refused, and nobody is logged out."""
    alice, _ = operated.visitor("alice")
    assert main(["sessions", "end-before", instant, "--store", operated.url]) == 1
    assert "instant" in capsys.readouterr().err
    assert main(["sessions", "end-before", "2026-01-31", "--store", operated.url]) == 1
    assert "Write 2026-01-31T00:00Z," in capsys.readouterr().err
    assert main(["sessions", "end-before", "2026-01-31T00:00Z", "--store", operated.url]) == 0
    assert alice.ask("GET", "/")["status"] == 200


def test_a_mistyped_store_is_refused_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path where no store is gives an error, not an empty file and "nobody is signed in"."""
    path = tmp_path / "sesions.db"
    assert main(["sessions", "list", "alice", "--store", f"sqlite:///{path}"]) == 1
    assert "is not there" in capsys.readouterr().err
    assert not path.exists()
    assert main(["sessions", "list", "alice", "--store", "memory://"]) == 1


# --- demo --------------------------------------------------------------------------------------------------------


class _DemoStage:
    """The demo with a fake clock, and a browser on it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.demo = Demo(demo_settings(), MemoryStore(), clock=self.clock)
        self.me = Visitor(self.demo, "me")

    def steal(self) -> None:
        kept = "; ".join(f"{name}={value}" for name, value in self.me.cookies.items())
        assert self.me.ask("POST", "/thief?do=steal", kept)["stolen"]

    def names(self) -> list[str]:
        return [event.name for _, event in self.demo.events]


def test_the_demo_ends_by_silence_and_by_age() -> None:
    """A minute of silence ends the session, and five minutes do in any case."""
    stage = _DemoStage()
    assert stage.me.ask("POST", "/login?subject=alice")["subject"] == "alice"
    stage.clock.advance(seconds=59)
    assert stage.me.ask("GET", "/poll")["status"] == 200
    stage.clock.advance(seconds=1)
    assert stage.me.ask("GET", "/page")["reason"] == "inactivity"

    stage.me.ask("POST", "/login?subject=bob")
    for _ in range(9):
        stage.clock.advance(seconds=30)
        assert stage.me.ask("GET", "/page")["status"] == 200
    stage.clock.advance(seconds=30)
    assert stage.me.ask("GET", "/page")["reason"] == "lifetime"


def test_the_demo_catches_a_late_thief() -> None:
    """The stolen copy works at once and in the grace; after renewal and grace it ends the session (L11)."""
    stage = _DemoStage()
    stage.me.ask("POST", "/login?subject=alice")
    stage.steal()
    assert stage.me.ask("POST", "/thief?do=replay")["subject"] == "alice"
    stage.me.ask("POST", "/extend")
    stage.clock.advance(seconds=61)
    stage.me.ask("GET", "/page")
    stage.me.ask("GET", "/page")
    assert stage.me.ask("POST", "/thief?do=replay")["subject"] == "alice"
    stage.clock.advance(seconds=11)
    assert stage.me.ask("POST", "/thief?do=replay")["status"] == 401
    assert "session_replayed" in stage.names()
    assert stage.me.ask("GET", "/page")["reason"] == "signed_out"
    assert stage.names().count("session_replayed") == 1


def test_the_demo_refuses_a_forged_token_and_an_old_login() -> None:
    """A forged token is tampered with; a sensitive page wants a login within 30 seconds."""
    stage = _DemoStage()
    assert stage.me.ask("POST", "/thief?do=forge")["status"] == 401
    assert stage.names() == ["session_tampered", "session_refused"]
    stage.me.ask("POST", "/login?subject=alice")
    assert stage.me.ask("GET", "/fresh")["status"] == 200
    stage.clock.advance(seconds=30)
    assert stage.me.ask("GET", "/fresh")["reason"] == "fresh_login"


def test_the_demo_ends_the_other_browser() -> None:
    """The second browser signs in, and ending all others signs it out."""
    stage = _DemoStage()
    stage.me.ask("POST", "/login?subject=alice")
    assert stage.me.ask("POST", "/other?do=login&subject=alice")["subject"] == "alice"
    assert stage.me.ask("POST", "/end-others")["ended"] == 1
    assert stage.me.ask("POST", "/other?do=page")["status"] == 401
    assert stage.me.ask("GET", "/page")["status"] == 200


@pytest.mark.parametrize("path", ["/extend", "/end-others", "/other?do=page", "/thief?do=steal"])
def test_the_demo_changes_nothing_on_get(path: str) -> None:
    """Opening an address changes nothing."""
    stage = _DemoStage()
    stage.me.ask("POST", "/login?subject=alice")
    assert stage.me.ask("GET", path)["status"] == 405


@pytest.mark.parametrize(("option", "cookie"), [((), "__Host-session_demo"), (("--insecure-dev",), "session_demo")])
def test_the_demo_runs_as_a_command_and_stops(option: tuple[str, ...], cookie: str) -> None:
    """The command prints an address that answers, serves the page, and leaves quietly when it is stopped."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "session_middleware", "demo", "--port", "0", *option],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # What a shell starts in the background ignores this signal, and so would everything started from there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    guard = threading.Timer(30, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://localhost:\d+", line)
        assert found, line
        address = found[0].replace("localhost", "127.0.0.1")
        with urlopen(f"{address}/") as page:
            text = page.read().decode()
            assert "nonce-" in page.headers["Content-Security-Policy"]
        assert not re.search(r"\[(silence|age|touch|renewal|grace|jwt|fresh|cookie|nonce)\]", text)
        with urlopen(Request(f"{address}/login?subject=alice", method="POST")) as answer:
            assert any(line.startswith(f"{cookie}=v1.") for line in answer.headers.get_all("Set-Cookie"))
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        guard.cancel()
    assert process.returncode == 0, err
    assert "Stopped." in out
    assert err == ""


def test_the_demo_says_that_a_port_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that cannot be had is an error with a way out."""
    assert main(["demo", "--port", "70000"]) == 1
    assert "--port 0" in capsys.readouterr().err


def test_a_mistake_on_the_command_line_is_status_2() -> None:
    """Unknown commands are refused by the parser."""
    with pytest.raises(SystemExit) as stopped:
        main(["sessions"])
    assert stopped.value.code == 2


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops a command knows that; the status is what a shell gives a process that the signal has ended."""

    def stopped(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("session_middleware.__main__._check", stopped)
    assert main(["check"]) == 130
    assert capsys.readouterr().err == "Stopped.\n"
