"""`sessions move` and the variables of a move: what an operator types, what comes back, what mistakes are told apart."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from session_middleware.__main__ import main
from session_middleware.adapters.attach import default_store
from session_middleware.core.provider import provider_mark
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.stores.moving import AsyncMovingStore, Moved, MovingStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.reference_record import reference_record

OLD, NEW = "sqlite:///old.db", "sqlite:///new.db"


def alive(n: int) -> SessionRecord:
    """Return a record that is no rubbish by the real clock, which the command goes by."""
    now = time.time()
    return reference_record(n).evolve(
        created_at=now,
        authenticated_at=now,
        last_seen_at=now,
        renewed_at=now,
        keep_until=now + 9_000,
        inactivity_deadline=now + 3_600,
    )


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SQLiteStore:
    """A store with three sessions, of which one has ended, in the working directory."""
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("old.db")
    for n in range(3):
        store.create(alive(n))
    store.end(alive(2).key, "logout", time.time(), time.time() + 9_000)
    return store


def test_all_is_moved_and_counted(old: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """The command moves the living, copies why others ended, looks again, and says when the app may go on alone."""
    assert main(["sessions", "move", OLD, NEW]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [
        "round 1: 2 moved, 1 ended ones copied, 0 were there, 0 failed",
        "round 2: 0 moved, 0 ended ones copied, 3 were there, 0 failed",
    ]
    assert said[2].startswith("All live sessions of FROM are in TO.")
    with SQLiteStore("new.db") as new:
        ends = [new.load(alive(n).key) for n in range(3)]
    assert [end and end.end_reason for end in ends] == [None, None, "logout"]
    old.close()


def test_a_record_that_cannot_be_read_stays_and_is_named(old: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest is moved, the status is 1, and the message shows of the record no more than the start of its key."""
    with sqlite3.connect("old.db") as connection:
        connection.execute("UPDATE sessions SET body = x'7b22' WHERE key = ?", (alive(0).key,))
    connection.close()
    assert main(["sessions", "move", OLD, NEW]) == 1
    said = capsys.readouterr().out
    assert "1 moved, 1 ended ones copied, 0 were there, 1 failed" in said
    assert f"not moved: The record {alive(0).key[:4].hex()}" in said
    assert alive(0).key.hex() not in said
    old.close()


def test_one_store_by_two_names_is_told(old: SQLiteStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """FROM and TO are compared by what they hold; else each mark of an end at a provider would be ended as moved (L24)."""
    mark = provider_mark("kratos", "a session there", time.time(), time.time() + 9_000)
    old.create(mark)
    assert main(["sessions", "move", OLD, f"sqlite:///{tmp_path}/old.db"]) == 1
    assert "is the store of FROM by another name." in capsys.readouterr().err
    assert old.load(mark.key) == mark
    assert old.load(alive(0).key) is not None
    old.close()


def test_logins_that_go_on_in_the_old_store_are_noticed(
    old: SQLiteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each round finds sessions made since, the command gives up and says what to deploy."""
    some, numbers = MovingStore.move_some, iter(range(100, 200))

    def beside_a_login(store: MovingStore, after: bytes | None, limit: int, now: float) -> Moved:
        old.create(alive(next(numbers)))
        return some(store, after, limit, now)

    monkeypatch.setattr(MovingStore, "move_some", beside_a_login)
    assert main(["sessions", "move", OLD, NEW]) == 1
    assert "some worker makes logins there" in capsys.readouterr().out
    old.close()


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_stops_the_command_stops_it_between_two_batches(
    old: SQLiteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: int, status: int
) -> None:
    """In the middle of a driver's call an exception may leave locks held, for which the process would wait at its end."""
    some, standing, batches = MovingStore.move_some, signal.getsignal(how), []

    def beside_a_signal(store: MovingStore, after: bytes | None, limit: int, now: float) -> Moved:
        os.kill(os.getpid(), how)
        assert signal.getsignal(how) == signal.SIG_DFL, "a second one does not wait"
        batches.append(some(store, after, limit, now))
        return batches[-1]

    with monkeypatch.context() as patch:
        patch.setattr(MovingStore, "move_some", beside_a_signal)
        assert main(["sessions", "move", OLD, NEW]) == status
    assert signal.getsignal(how) == standing
    assert [batch.moved for batch in batches] == [2]
    assert "give the command again to go on" in capsys.readouterr().out
    assert main(["sessions", "move", OLD, NEW]) == 0
    old.close()


def test_the_command_may_be_given_where_no_signal_can_be_heard(old: SQLiteStore) -> None:
    """A program may run it in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["sessions", "move", OLD, NEW]).result(30) == 0
    old.close()


def test_a_store_that_fails_is_said_to(old: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A fault of a store stops the command with a message that says what became of the sessions."""
    with SQLiteStore("new.db") as new:
        new.load(b"")
    with sqlite3.connect("new.db") as connection:
        connection.execute("ALTER TABLE handles RENAME COLUMN handle TO another")
    connection.close()
    assert main(["sessions", "move", OLD, NEW]) == 1
    said = capsys.readouterr().err
    assert "A store failed (OperationalError" in said
    assert "run the command again" in said
    old.close()


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (("sqlite:///missing.db", NEW), "FROM='sqlite:///missing.db': is not there."),
        (("memory://", NEW), "FROM='memory://': lives inside the app's process."),
        ((OLD, "memory://"), "TO='memory://': lives inside the app's process."),
        ((OLD, OLD), "TO='sqlite:///old.db': is the same as FROM."),
        ((OLD, "mysql://me:hunter2@db/app"), "TO='***': names no store that can be used."),
    ],
)
def test_mistakes_are_told_apart(
    old: SQLiteStore, capsys: pytest.CaptureFixture[str], urls: tuple[str, str], said: str
) -> None:
    """A URL that makes no sense is named with its place, without its password, and nothing is moved or made."""
    assert main(["sessions", "move", *urls]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "hunter2" not in told
    assert sorted(path.name for path in Path().glob("*.db")) == ["old.db"]
    old.close()


# --- the variables --------------------------------------------------------------------------------------------------


def test_each_step_is_a_change_of_the_environment(old: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """MOVE_TO reads both and logs in to the old store; MOVE_FROM beside the new URL logs in to the new one."""
    monkeypatch.setenv("SESSION_STORE_URL", OLD)
    monkeypatch.setenv("SESSION_STORE_MOVE_TO", NEW)
    first = default_store()
    monkeypatch.delenv("SESSION_STORE_MOVE_TO")
    monkeypatch.setenv("SESSION_STORE_URL", NEW)
    monkeypatch.setenv("SESSION_STORE_MOVE_FROM", OLD)
    second = default_store()
    first.create(alive(7))
    second.create(alive(8))
    assert [old.load(alive(n).key) is not None for n in (7, 8)] == [True, False]
    assert first.load(alive(8).key) is not None
    assert second.load(alive(7).key) is not None
    for store in (first, second, old):
        store.close()


def test_a_store_that_the_frameworks_configuration_names_can_be_moved_out_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is the store already is known wherever SESSION_STORE_URL was set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SESSION_STORE_URL", raising=False)
    monkeypatch.setenv("SESSION_STORE_MOVE_TO", NEW)
    store = default_store(url="sqlite:///configured.db")
    assert isinstance(store, MovingStore)
    store.close()
    with pytest.raises(SettingsError, match="is the store of SESSION_STORE_URL"):
        default_store(url=NEW)


def test_the_default_file_can_be_moved_out_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that never named a store moves from its file sessions.db; on a loop a store across a network is awaited."""
    pytest.importorskip("redis")
    monkeypatch.delenv("SESSION_STORE_URL", raising=False)
    monkeypatch.setenv("SESSION_STORE_MOVE_TO", "redis://localhost:1/0")
    store = default_store(tmp_path, asynchronous=True)
    assert isinstance(store, AsyncMovingStore)
    assert isinstance(store.old, SQLiteStore)
    store.old.close()
    store = default_store(tmp_path)
    assert isinstance(store, MovingStore)
    store.close()


def test_operators_act_on_both_stores_while_sessions_move(
    old: SQLiteStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the app's environment `sessions` lists and ends what is in either store (L13)."""
    monkeypatch.setenv("SESSION_STORE_URL", NEW)
    monkeypatch.setenv("SESSION_STORE_MOVE_FROM", OLD)
    with SQLiteStore("new.db") as new:
        new.create(alive(8).evolve(subject="user-0000000", handles=alive(0).handles))
        assert main(["sessions", "end-all", "user-0000000"]) == 0
        assert capsys.readouterr().out == "Ended: 2.\n"
        ends = [old.load(alive(0).key), new.load(alive(8).key)]
    assert [end and end.end_reason for end in ends] == ["revoked", "revoked"]
    old.close()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MOVE_TO": "sqlite:///b.db", "MOVE_FROM": "sqlite:///c.db"}, "stands beside SESSION_STORE_MOVE_TO"),
        ({"MOVE_TO": "sqlite:///a.db"}, "is the store of SESSION_STORE_URL"),
        ({"MOVE_FROM": "memory://"}, "another store in each process"),
        ({"MOVE_TO": "mysql://me:hunter2@db/app"}, "SESSION_STORE_MOVE_TO='***': names no store"),
    ],
)
def test_variables_that_make_no_sense_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    """Both at once, one store twice, a store that is not shared, no store: refused at start, without a password."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSION_STORE_URL", "sqlite:///a.db")
    for name, value in variables.items():
        monkeypatch.setenv(f"SESSION_STORE_{name}", value)
    with pytest.raises(SettingsError, match="SESSION_STORE_MOVE") as refused:
        default_store()
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)
