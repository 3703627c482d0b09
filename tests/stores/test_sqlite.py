"""SQLiteStore keeps every promise, also with several processes, after forks and kills, and on damaged files."""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.errors import RecordUnreadable, SettingsError, StoreUnavailable
from session_middleware.stores import _sqlite_file
from session_middleware.stores.packing import COMMON
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.store_contract import StoreContract

KEY = reference_record(0).key


class TestSQLiteStore(StoreContract):
    histories = 25

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], object]:
        numbers = itertools.count()
        return lambda: SQLiteStore(tmp_path / f"{next(numbers)}.db")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path):
    with SQLiteStore(path) as store:
        yield store


def altered(path, statement, *arguments):
    """Write to the file as something else would."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, arguments)
    connection.close()


def test_what_was_loaded_is_recognised(store):
    """A record just loaded, touched, saved or renewed is recognised, else the power would be of no use."""
    store.create(reference_record(0))
    assert store.holds(store.load(KEY))
    assert store.holds(store.touch(KEY, Touch(1e9, None, 2e9)))
    assert store.holds(store.save(reference_record(0).evolve(claims={})))
    assert store.holds(store.renew(KEY, 0, 1, 1e9))
    assert store.holds(store.list(reference_record(0).handles[0], 0)[0])


def test_sessions_outlive_the_store(store, path):
    """A file opened again holds what it held."""
    store.create(reference_record(0))
    store.close()
    with SQLiteStore(path) as again:
        assert again.load(KEY) == reference_record(0)


# --- several processes ------------------------------------------------------------------------------------------------


def _renewals(path, out):
    with SQLiteStore(path, busy_timeout=60) as store:
        out.put(sum(store.renew(KEY, n, n + 1, 1.0) is not None for n in range(200)))


def _open_and_create(path, n):
    with SQLiteStore(path, busy_timeout=60) as store:
        store.create(reference_record(n))


def _run(target, *argument_lists):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=arguments) for arguments in argument_lists]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_processes_share_compare_and_swap(store, path):
    """Each generation is renewed to by one of two processes only (L11)."""
    store.create(reference_record(0))
    out = multiprocessing.get_context("spawn").SimpleQueue()
    _run(_renewals, (path, out), (path, out))
    assert out.get() + out.get() == store.load(KEY).generation


def test_processes_may_make_the_file_at_once(path):
    """Several processes that start together on no file all get to use it."""
    _run(_open_and_create, *((path, n) for n in range(4)))
    with SQLiteStore(path) as store:
        assert all(store.load(reference_record(n).key) for n in range(4))


def test_another_stores_writes_are_seen_at_once(store, path):
    """What another connection to the file ended, or ended by an epoch, is not recognised and loads as ended."""
    with SQLiteStore(path) as other:
        for n in range(2):
            store.create(reference_record(n))
        ended, revoked = (store.load(reference_record(n).key) for n in range(2))
        other.end(ended.key, "logout", 1.0, 9e9)
        assert not store.holds(ended)
        assert store.holds(revoked)
        other.end_before(9e9, 2.0)
        assert not store.holds(revoked)
        assert store.load(revoked.key).end_reason == "revoked"


# --- threads and forks ------------------------------------------------------------------------------------------------


def test_threads_come_and_go_without_leaving_connections(store):
    """A thread per request opens no file per request."""
    store.create(reference_record(0))
    for _ in range(20):
        thread = threading.Thread(target=store.load, args=(KEY,))
        thread.start()
        thread.join()
    assert len(store._file._opened) == 1


def test_every_way_of_reading_gives_its_connection_back(store):
    """However long a list is read or a store is walked, no file more is open than threads read at once."""
    store.create(reference_record(0))
    for _ in range(5):
        store.load(KEY)
        store.list(reference_record(0).handles[0], 0.0)
        store.walk(None, 10)
    assert len(store._file._opened) == 1


def test_a_writer_that_waits_too_long_is_a_fault(path):
    """When another process keeps the file locked a write fails and reads go on."""
    with SQLiteStore(path, busy_timeout=0.01) as store:
        store.create(reference_record(0))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.end(KEY, "logout", 1.0, 9e9)
        assert store.load(KEY) == reference_record(0)
        other.close()
        assert store.end(KEY, "logout", 1.0, 9e9)


def test_a_thread_that_waits_too_long_is_a_fault(path):
    """When another thread is in a long write the error says so, as a fault of the store."""
    with (
        SQLiteStore(path, busy_timeout=0.01) as store,
        ThreadPoolExecutor(1) as pool,
        store._file.transaction(durable=False),
        pytest.raises(StoreUnavailable),
    ):
        pool.submit(store.end, KEY, "logout", 1.0, 9e9).result()


def test_what_must_be_durable_survives_a_power_cut(store, monkeypatch):
    """L13: create, end, end_before and add_once are committed with synchronous=FULL, which a touch does without."""
    levels = []
    transaction = store._file.transaction

    @contextlib.contextmanager
    def watched(*, durable):
        with transaction(durable=durable) as connection:
            yield connection
            levels.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    monkeypatch.setattr(type(store._file), "transaction", staticmethod(watched))
    full, normal = 2, 1
    record, other = reference_record(0), reference_record(1)
    for call, level in (
        (lambda: store.create(record), full),
        (lambda: store.touch(KEY, Touch(record.last_seen_at + 60, None, 3e9)), normal),
        (lambda: store.save(store.load(KEY).evolve(claims={"a": 1})), normal),
        (lambda: store.renew(KEY, 0, 1, 1e9), normal),
        (lambda: store.create_capped(other, other.handles[0], 2, True, 1e9, 2e9), full),
        (lambda: store.end(KEY, "logout", 1e9, 9e9), full),
        (lambda: store.end_before(1e9, 1e9), full),
        (lambda: store.add_once("jti", 2e9, 1e9), full),
    ):
        store.close()  # each on a connection that was just opened
        levels.clear()
        call()
        assert levels == [level]


def _in_child(check):
    """Run a check in a forked child; return whether it was true."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@fork
def test_a_fork_inherits_no_open_connection(store):
    """SQLite forbids to use a connection across a fork, so none is open while the process forks."""
    store.create(reference_record(0))
    assert _in_child(lambda: store._file._opened == [] and store.load(KEY) == reference_record(0))
    assert store.load(KEY) == reference_record(0)


@fork
def test_a_child_writes_and_the_parent_sees_it(store):
    """Parent and child use the file side by side."""
    store.create(reference_record(0))
    assert _in_child(lambda: store.end(KEY, "logout", 1.0, 9e9))
    assert store.load(KEY).end_reason == "logout"
    store.create(reference_record(1))


@fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # that is the test
def test_a_fork_amid_other_threads_calls_leaves_a_working_store(store):
    """Children forked while other threads read and write can read and write."""
    store.create(reference_record(0))
    stop = threading.Event()

    def work():
        while not stop.is_set():
            store.load(KEY)
            store.touch(KEY, Touch(1e9, None, 2e9))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        forks = [_in_child(lambda: store.touch(KEY, Touch(1e9, None, 2e9)) is not None) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert forks == [True] * 10


@fork
def test_a_fork_that_nobody_announced_is_noticed(store):
    """A server that forks in C runs no hook before it; the child still opens its own connection."""
    store.create(reference_record(0))
    inherited = store._file._opened[0]
    store._file._pid = -1
    assert store.load(KEY) == reference_record(0)
    assert inherited not in store._file._opened
    inherited.close()


# --- kills ------------------------------------------------------------------------------------------------------------

_WRITER = """
import sys
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.reference_record import reference_record
store = SQLiteStore(sys.argv[1])
for n in range(int(sys.argv[2]), 10**9):
    record = reference_record(n)
    store.create(record)
    if n % 3 == 0:
        store.end(record.key, "logout", 1.0, 9e9)
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


def test_what_was_acknowledged_survives_kill_9(path):
    """After kill -9 in the middle of writing every acknowledged create and end is there, and the file is sound."""
    first = 0
    for acknowledged in (5, 17, 40):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, path, str(first)], stdout=subprocess.PIPE, text=True)
        for line in itertools.islice(writer.stdout, acknowledged):
            last = int(line)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().splitlines(keepends=True)
        writer.stdout.close()
        writer.wait()
        last = max([last, *(int(line) for line in rest if line.endswith("\n"))])
        with SQLiteStore(path) as store:
            for n in range(last + 1):
                held = store.load(reference_record(n).key)
                assert held is not None
                assert (held.end_reason == "logout") == (n % 3 == 0)
            assert store._read("PRAGMA integrity_check", ()) == ("ok",)
        first = last + 2  # the one in between may or may not have been written
        with SQLiteStore(path) as store:
            for n in range(last + 1, first):
                if store.load(reference_record(n).key) is None:
                    store.create(reference_record(n))
                store.end(reference_record(n).key, "logout", 1.0, 9e9) if n % 3 == 0 else None


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage", [b"", b"\x01", b"\x01\xff\xff", b"{}", b"[]", b'{"v":99}', b"\x00\xff", "text", 7, b"\x01" + b"\x00" * 9]
)
def test_a_damaged_body_is_unreadable_and_stays(store, path, damage):
    """Bytes that are no record raise RecordUnreadable from load and every write, and are left as they are."""
    store.create(reference_record(0))
    altered(path, "UPDATE sessions SET body = ?", damage)
    for call in (
        lambda: store.load(KEY),
        lambda: store.touch(KEY, Touch(1e9, None, 2e9)),
        lambda: store.save(reference_record(0)),
        lambda: store.renew(KEY, 0, 1, 1.0),
        lambda: store.end(KEY, "logout", 1.0, 9e9),
    ):
        with pytest.raises(RecordUnreadable):
            call()
    assert store._read("SELECT body, version FROM sessions", ()) == (damage, 0)


def bomb(size):
    deflater = zlib.compressobj(9, zlib.DEFLATED, -12, 9, zlib.Z_DEFAULT_STRATEGY, COMMON)
    return b"\x01" + deflater.compress(b" " * size) + deflater.flush()


def test_a_body_that_would_fill_the_memory_is_unreadable(store, path):
    """A few bytes that would unpack to a hundred megabytes are refused before they do."""
    store.create(reference_record(0))
    altered(path, "UPDATE sessions SET body = ?", bomb(100_000_000))
    tracemalloc.start()
    with pytest.raises(RecordUnreadable):
        store.load(KEY)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("size", [1_000_000, 1_100_000, 3_000_000])
def test_a_large_body_comes_back(store, size):
    """Whatever an app keeps in its data is read again, however large."""
    record = reference_record(0).evolve(data={"large": "x" * size})
    store.create(record)
    assert store.load(KEY) == record


def test_a_damaged_pulse_is_unreadable(store, path):
    """A time that is no number raises RecordUnreadable."""
    store.create(reference_record(0))
    altered(path, "UPDATE sessions SET last_seen_at = 'yesterday'")
    with pytest.raises(RecordUnreadable):
        store.load(KEY)


def test_a_damaged_row_hides_no_other_from_a_list_and_is_pruned(store, path):
    """One unreadable row does not keep a user from listing and ending the others, and goes when its time comes."""
    for n in range(2):
        store.create(reference_record(n).evolve(handles=("h",)))
    altered(path, "UPDATE sessions SET body = x'00' WHERE key = ?", KEY)
    assert [record.key for record in store.list("h", 0.0)] == [reference_record(1).key]
    assert store.prune(9e9) == 2


def test_a_body_of_plain_json_is_read(store, path):
    """A body as `encode_body` writes it is read without being packed."""
    store.create(reference_record(0))
    altered(path, "UPDATE sessions SET body = ?", reference_record(0).encode_body())
    assert store.load(KEY) == reference_record(0)


def test_an_end_takes_the_session_out_of_the_handle_index(store):
    """The index of handles holds live sessions only, so that the lists of a busy subject stay short."""
    store.create(reference_record(0))
    store.end(KEY, "logout", 1.0, 9e9)
    assert store._read("SELECT count(*) FROM handles", ()) == (0,)


def test_what_ended_leaves_nothing_in_the_file(store, path):
    """After an end no byte of the claims is left in the file, not even in free space (L16)."""
    incompressible = "".join(map(chr, range(0x4E00, 0x4E00 + 200)))
    store.create(reference_record(0).evolve(claims={"private": incompressible}))
    stored = store._read("SELECT body FROM sessions", ())[0]
    store.close()
    piece = stored[len(stored) // 2 :][:32]
    assert piece in path.read_bytes()
    store.end(KEY, "logout", 1.0, 9e9)
    store.close()  # the last connection writes the log back
    assert piece not in path.read_bytes()


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_only_the_owner_may_read_the_file(store, path):
    """The file, its log and its shared memory have mode 0600 whatever the umask."""
    store.create(reference_record(0))
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["sessions.db", "sessions.db-shm", "sessions.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_the_file_is_never_for_others_to_read(path, monkeypatch):
    """It is made with mode 0600, whatever the umask, not made and closed to others a moment later."""
    monkeypatch.setattr(_sqlite_file, "_tighten", lambda path: None)
    umask = os.umask(0)
    try:
        SQLiteStore(path).close()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


_OTHER = """
import sys
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.reference_record import reference_record
with SQLiteStore(sys.argv[1]) as store:
    store.create(reference_record(1))
"""


def test_a_second_store_on_the_file_gives_up_no_lock_of_the_first(store, path):
    """What is acknowledged stays although another process, closing last as it believes, puts the log away (POSIX locks)."""
    store.create(reference_record(0))
    SQLiteStore(path)
    subprocess.run([sys.executable, "-c", _OTHER, path], check=True)
    store.create(reference_record(2))
    with SQLiteStore(path) as another:
        store.close()
        assert [another.load(reference_record(n).key) for n in range(3)] == [reference_record(n) for n in range(3)]


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.parametrize(
    ("mode", "becomes"), [(0o666, 0o600), (0o644, 0o600), (0o604, 0o600), (0o660, 0o660), (0o640, 0o640)]
)
def test_a_file_that_everybody_may_read_is_tightened(store, path, mode, becomes):
    """An existing file of ours that others can read is closed to them, its log too; a group was somebody's choice."""
    store.create(reference_record(0))
    files = sorted(path.parent.iterdir())
    assert len(files) == 3
    for file in files:
        file.chmod(mode)
    with SQLiteStore(path):
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {becomes}


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_somebody_elses_file_that_everybody_may_read_is_refused(store, path, monkeypatch):
    """Where we may not tighten it, the file is refused, with its mode and the command for its owner."""
    store.create(reference_record(0))
    path.chmod(0o666)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SettingsError, match=r"0666.*chmod 600"):
        SQLiteStore(path)
    path.chmod(0o660)
    SQLiteStore(path).close()


@pytest.mark.parametrize("version", [0, 1, 2])
def test_another_applications_file_is_left_as_it_is(path, version):
    """A database that is not ours is refused, whatever version it says it has, and not a byte or right of it is changed."""
    altered(path, "CREATE TABLE auth_user (id)")
    altered(path, f"PRAGMA user_version = {version}")
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="later version" if version == 2 else "something else"):
        SQLiteStore(path)
    assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["a\0b.db", "a\nb.db", "\x7f.db"])
def test_control_characters_in_the_name_are_refused(tmp_path, name):
    """No file is called so on purpose; the error shows the name and creates nothing."""
    with pytest.raises(SettingsError, match="control character"):
        SQLiteStore(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_link_to_a_file_that_is_not_there_yet_makes_it(tmp_path, path):
    """The file is made where the link points, with mode 0600."""
    path.symlink_to(tmp_path / "real.db")
    with SQLiteStore(path) as store:
        store.create(reference_record(0))
    assert stat.S_IMODE((tmp_path / "real.db").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_a_write_through_another_name_is_seen_through_a_link(tmp_path, path, monkeypatch):
    """L13: an end in another process closes what is open here, whichever name of the file either of them was given."""
    monkeypatch.setattr(_sqlite_file, "_SAME_TIME", 0)
    data = tmp_path / "data"
    data.mkdir()
    path.symlink_to(data / "first.db")
    with SQLiteStore(path) as store:
        for name in ("first.db", "second.db"):
            with SQLiteStore(data / name) as another:
                path.unlink()
                path.symlink_to(data / name)
                store.create(reference_record(0))  # follows the link, where it leads elsewhere now
                before = store.version()
                assert store.version() == before
                another.end(KEY, "revoked", 1.0, 9e9)
                assert store.version() != before


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_the_folder_of_a_link_may_be_read_only(tmp_path, path, monkeypatch):
    """SQLite keeps its log where the link leads, so that folder must be writable, and the other need not be."""
    data = tmp_path / "data"
    data.mkdir()
    path.symlink_to(data / "real.db")
    may = os.access
    monkeypatch.setattr(os, "access", lambda where, mode: Path(where) != tmp_path and may(where, mode))
    SQLiteStore(path).close()
    monkeypatch.setattr(os, "access", lambda where, mode: Path(where) != data and may(where, mode))
    with pytest.raises(SettingsError, match="folder is not writable"):
        SQLiteStore(path)


def test_a_missing_folder_is_an_error_at_construction(tmp_path):
    """A folder that is not there is reported at once, with the setting to change."""
    with pytest.raises(SettingsError, match="SESSION_STORE_URL"):
        SQLiteStore(tmp_path / "missing" / "sessions.db")


def test_a_read_only_folder_is_an_error_at_construction(tmp_path, monkeypatch):
    """A folder that may not be written to is reported at once, also where the file itself is there already."""
    SQLiteStore(tmp_path / "sessions.db").close()
    tmp_path.chmod(0o500)
    real = os.access
    if os.geteuid() == 0:  # root may write anywhere, so let the answer be what a user would get
        monkeypatch.setattr(os, "access", lambda where, mode: real(where, mode) and not mode & os.W_OK)
    try:
        with pytest.raises(SettingsError, match="SESSION_STORE_URL"):
            SQLiteStore(tmp_path / "sessions.db")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.write_bytes(b"no database, and longer than the hundred bytes of a header" * 3), "not a database"),
        (lambda path: altered(path, "CREATE TABLE auth_user (id)"), "something else"),
        (lambda path: altered(path, "PRAGMA user_version = 99"), "later version"),
    ],
)  # fmt: skip
def test_a_file_of_something_else_is_refused_and_left(path, prepare, says):
    """A folder, another kind of file, another application's database and a later version's are refused, unchanged."""
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SettingsError, match=says):
        SQLiteStore(path)
    if before is not None:
        assert path.read_bytes() == before


def test_a_store_that_is_dropped_closes_its_connections(path):
    """A store that goes out of use leaves no open connection behind, and no warning."""
    store = SQLiteStore(path)
    store.create(reference_record(0))
    connection = store._file._opened[0]
    del store
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


_EXITING = """
import atexit, os, sys
path, lent = sys.argv[1], []

def look():  # registered first, so the last to run
    print(lent[0].execute("SELECT 1").fetchone() if lent else os.path.exists(path + "-wal"))

atexit.register(look)
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.reference_record import reference_record
store = SQLiteStore(path)
store.create(reference_record(0))
assert os.path.exists(path + "-wal")
if sys.argv[2] == "at work":
    lent.append(store._file.take())
"""


@pytest.mark.parametrize(("threads", "says"), [("at work", "(1,)"), ("at rest", "False")])
def test_the_end_of_a_program_closes_no_connection_that_is_at_work(path, threads, says):
    """A daemon thread may be in it until the very end, and the whole interpreter crashes; the others put the log away."""
    script = [sys.executable, "-c", _EXITING, str(path), threads]
    assert subprocess.run(script, check=True, capture_output=True, text=True).stdout.strip() == says


# --- a file that is taken away ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finds", [False, True])
def test_a_file_that_was_replaced_is_followed(store, path, finds):
    """After the file was deleted and made anew by another process a write goes where the others read, and reads follow.

    Else a logout there would not count here, nor one here there (L13).
    """
    store.create(reference_record(0))
    for file in path.parent.glob("sessions.db*"):
        file.unlink()
    with SQLiteStore(path) as other:
        other.create(reference_record(1))
        assert (
            store.load(KEY) is not None
        )  # read from the old file, until there is something to write, or not to be found
        if finds:
            assert store.load(reference_record(1).key) is not None
        store.create(reference_record(2))
        assert other.load(reference_record(2).key) is not None
        assert store.load(KEY) is None
        other.end(reference_record(1).key, "logout", 1.0, 9e9)
        assert store.load(reference_record(1).key).end_reason == "logout"


def test_a_file_that_is_gone_is_a_fault_and_is_not_made_anew(store, path, caplog):
    """It may be on a disk that is not mounted: an empty one in its place would sign everybody out (L17)."""
    store.create(reference_record(0))
    aside = path.rename(path.with_name("aside.db"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="gone"):
            store.end(KEY, "logout", 1.0, 9e9)
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            store.load(KEY)
    assert not path.exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is gone. Put it back, or start the app anew with an empty one.",
        f"{path}: unable to open database file. Put the file back, or start the app anew with an empty one; check who may "
        "read and write it.",
    ]
    aside.rename(path)
    assert store.end(KEY, "logout", 1.0, 9e9)


def test_no_read_of_the_old_file_outlives_a_switch(store, path, monkeypatch):
    """A read that is still going on in a file that was replaced keeps writes from the new one, for as long as it lasts."""
    monkeypatch.setattr(_sqlite_file, "_PATIENCE", 0.0)
    store.create(reference_record(0))
    reading = store._file.take()
    path.unlink()
    SQLiteStore(path).close()
    with pytest.raises(StoreUnavailable, match="replaced"):
        store.create(reference_record(1))
    store._file.give(reading)
    store.create(reference_record(1))
    assert store.load(KEY) is None


def test_nobody_reads_the_new_file_before_it_has_its_tables(store, path, monkeypatch):
    """It may be an empty one; whoever reads meanwhile waits for a moment, and is not told of a fault."""
    store.create(reference_record(0))
    path.unlink()
    path.touch(0o600)
    prepare, reading = store._file._prepare, []

    def slowly():
        reading.append(pool.submit(store.load, KEY))
        with pytest.raises(TimeoutError):
            reading[0].result(0.05)
        prepare()

    monkeypatch.setattr(store._file, "_prepare", slowly)
    with ThreadPoolExecutor(1) as pool:
        store.create(reference_record(1))
        assert reading[0].result() is None


def test_a_fork_gives_back_no_lock_of_others(store, monkeypatch):
    """A thread that makes connections for long, of a slow disk, does so on after a fork that did not wait for it."""
    monkeypatch.setattr(_sqlite_file, "_PATIENCE", 0.0)
    with store._file._gate:
        store._file._before_fork()
        store._file._after_fork_in_parent()
        assert store._file._gate.locked()
    store._file._before_fork()
    assert store._file._gate.locked()
    store._file._after_fork_in_parent()
    assert not store._file._gate.locked()


def test_a_switch_waits_for_a_write_to_the_old_file(path):
    """A session that is not found is looked for in the new file once no write to the old one is under way."""
    with SQLiteStore(path, busy_timeout=0.01) as store, ThreadPoolExecutor(1) as pool:
        store.create(reference_record(0))
        with store._file.transaction(durable=False):
            path.unlink()
            SQLiteStore(path).close()
            with pytest.raises(StoreUnavailable, match="locked"):
                pool.submit(store.load, reference_record(1).key).result()
        assert store.load(reference_record(1).key) is None


def test_a_fault_is_explained_once_in_the_log(path, caplog):
    """An operator reads what is wrong with which file and what to do, once, and again when it comes back."""
    says = f"{path}: database is locked. Find the process that keeps it locked: a shell with an open transaction, a backup, a VACUUM."
    with SQLiteStore(path, busy_timeout=0.01) as store:
        store.create(reference_record(0))
        for _ in range(2):
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                for _ in range(3):
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        store.end_before(1.0, 1.0)
            store.end_before(1.0, 1.0)
    assert [record.getMessage() for record in caplog.records] == [says, says]


def test_what_to_do_about_a_damaged_file_names_its_log(store, path, caplog):
    """SQLite would write a log that is left beside a backup into it, and damage it as well."""
    store.create(reference_record(0))
    store.close()
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        store.load(KEY)
    [said] = [record.getMessage() for record in caplog.records]
    assert said == (
        f"{path}: file is not a database. Stop the app, move the file away together with the -wal and -shm beside it, put a backup "
        "in its place or none, and start anew."
    )


def test_what_the_tables_refuse_is_no_fault_of_the_file(store, caplog):
    """Of two processes that make one record, such as a mark of an end at a provider, one is told so: nothing to put right."""
    store.create(reference_record(0))
    with pytest.raises(sqlite3.IntegrityError):
        store.create(reference_record(0))
    assert not caplog.records
