"""What stands in PostgreSQL's rows: damaged, of a later version, any text, what an end leaves, how large it is."""

from __future__ import annotations

import itertools
import json
from hashlib import sha256

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import BODY_VERSION
from session_middleware.errors import RecordUnreadable
from session_middleware.stores.packing import unpacked
from session_middleware.stores.postgres import PostgresStore
from session_middleware.testing.reference_record import reference_record

pytestmark = pytest.mark.server

RECORD = reference_record(0)
KEY = RECORD.key


@pytest.fixture
def store(url):
    with PostgresStore.from_url(url) as store:
        yield store


DAMAGE = [b"", b"\x01", b"\x01\xff\xff", b"{}", b"[]", b'{"v":99}', b"\x00\xff", b"\x01" + b"\x00" * 9]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_body_is_unreadable_and_stays(store, sql, damage):
    """Bytes that are no record raise RecordUnreadable from load and every write, and are left as they are."""
    store.create(RECORD)
    sql("UPDATE sessions SET body = %s", (damage,))
    for call in (
        lambda: store.load(KEY),
        lambda: store.touch(KEY, Touch(1e9, None, 2e9)),
        lambda: store.save(RECORD),
        lambda: store.renew(KEY, 0, 1, 1.0),
        lambda: store.end(KEY, "logout", 1.0, 9e9),
    ):
        with pytest.raises(RecordUnreadable):
            call()
    row = sql("SELECT body, revision, generation, ended_at FROM sessions").fetchone()
    assert row == (damage, 0, 0, None)


def test_a_body_of_a_later_version_is_unreadable_and_stays(store, sql):
    """What a later release has written, sealed as it would, is not replaced by this one."""
    store.create(RECORD)
    later = json.dumps({"v": BODY_VERSION + 1, "i": "new"}).encode()
    seal = sha256(bytes([BODY_VERSION + 1]) + later).digest()[:4]
    sql("UPDATE sessions SET body = %s, kept = '', seal = %s", (later, seal))
    for call in (
        lambda: store.load(KEY),
        lambda: store.save(RECORD),
        lambda: store.renew(KEY, 0, 1, 1.0),
        lambda: store.end(KEY, "logout", 1.0, 9e9),
    ):
        with pytest.raises(RecordUnreadable):
            call()
    assert sql("SELECT body, seal FROM sessions").fetchone() == (later, seal)


def test_a_row_that_was_read_before_and_is_damaged_now_is_unreadable(store, sql):
    """What the process remembers of a row is not believed once the row is another."""
    store.create(RECORD)
    assert store.load(KEY) == RECORD
    sql("UPDATE sessions SET body = 'x'")
    with pytest.raises(RecordUnreadable):
        store.load(KEY)


def test_a_row_that_comes_again_as_it_was_is_not_parsed_again(store):
    """The same bytes are the same record; after any write it is another."""
    store.create(RECORD)
    first = store.load(KEY)
    assert store.load(KEY) is first
    store.touch(KEY, Touch(RECORD.last_seen_at + 60, None, 2e9))
    assert store.load(KEY) == first.evolve(last_seen_at=RECORD.last_seen_at + 60, keep_until=2e9)


def test_what_is_remembered_is_bounded(store, monkeypatch):
    """A process that reads many sessions does not remember them all."""
    monkeypatch.setattr("session_middleware.stores.postgres.rows._KNOWN", 5)
    for n in range(12):
        store.create(reference_record(n))
        assert store.load(reference_record(n).key) == reference_record(n)
        assert len(store._calls._read._known) <= 5
    assert store.load(b"nobody") is None


def test_a_damaged_pulse_is_unreadable(store, sql):
    """A time that is no number raises RecordUnreadable."""
    store.create(RECORD)
    sql("UPDATE sessions SET last_seen_at = 'NaN'")
    with pytest.raises(RecordUnreadable):
        store.load(KEY)


HANDLES = [
    "handles || '\\xff'::bytea",
    "handles || NULL::bytea",
    "NULL::bytea || handles",
    "ARRAY[handles, handles]",
    "ARRAY[ARRAY[handles[1]], ARRAY[''::bytea]]",
]


@pytest.mark.parametrize("column", [*(f"handles = {handles}" for handles in HANDLES), "end_reason = '\\xff'"])
def test_a_damaged_text_is_unreadable(store, sql, column):
    """Handles and reasons that are no text raise RecordUnreadable, and handles that are no list of texts."""
    store.create(RECORD)
    sql(f"UPDATE sessions SET {column}")
    with pytest.raises(RecordUnreadable):
        store.load(KEY)


def test_a_damaged_row_hides_no_other_from_a_list_and_is_pruned(store, sql):
    """One unreadable row does not keep a user from ending the others, and goes when its time comes."""
    for n in range(2):
        store.create(reference_record(n).evolve(handles=("h",)))
    sql("UPDATE sessions SET body = 'x' WHERE key = %s", (KEY,))
    assert [record.key for record in store.list("h", 0.0)] == [reference_record(1).key]
    assert store.prune(9e9) == 2


@pytest.mark.parametrize("handles", HANDLES)
def test_damaged_handles_hide_no_other_from_a_list_and_let_the_user_in(store, sql, handles):
    """A row whose handles are damaged is left out of the user's list; it keeps nobody from signing in or ending."""
    for n in range(2):
        store.create(reference_record(n).evolve(handles=("h",)))
    sql(f"UPDATE sessions SET handles = {handles} WHERE key = %s", (KEY,))
    assert [record.key for record in store.list("h", 0.0)] == [reference_record(1).key]
    new = reference_record(2).evolve(handles=("h",))
    evicted = store.create_capped(new, "h", 1, True, RECORD.created_at, 9e9)
    assert [record.key for record in evicted] == [reference_record(1).key]
    assert store.load(new.key) == new
    assert store.end(KEY, "logout", 1e9, 9e9)


@pytest.mark.parametrize("evict", [True, False])
def test_a_session_that_cannot_be_ended_keeps_nobody_from_signing_in(store, sql, evict):
    """A row that is read but was sealed by nobody we know counts as damaged where a login has to make room."""
    store.create(RECORD.evolve(handles=("h",)))
    sql("UPDATE sessions SET seal = ''")
    new = reference_record(2).evolve(handles=("h",))
    assert store.create_capped(new, "h", 1, evict, RECORD.created_at, 9e9) == []
    assert store.load(new.key) == new
    assert store.load(KEY).ended_at is None


@pytest.mark.parametrize("text", ["\x00", "\ud800", "é\x00\udfff\"'\\", "", "{a,b}"])
def test_any_text_is_a_handle_a_reason_and_a_value_to_add_once(store, text):
    """NUL, half a surrogate pair and what means something in SQL come back as they went in, and are found."""
    record = RECORD.evolve(handles=(text, "other"), subject=text)
    store.create(record)
    assert list(store.list(text, 0.0)) == [record]
    assert store.end(KEY, text, 1e9, 9e9)
    assert store.load(KEY) == record.ended(text, 1e9, 9e9)
    assert store.add_once(text, 2e9, 1e9)
    assert not store.add_once(text, 2e9, 1e9)


def test_an_end_leaves_nothing_of_the_person_in_the_row(store, sql):
    """After an end the row holds the rest that L16 names, and what it held is not remembered either."""
    store.create(RECORD)
    full = store.load(KEY)
    store.end(KEY, "logout", 1e9, 9e9)
    kept, body = sql("SELECT kept, body FROM sessions").fetchone()
    assert kept == b""
    assert unpacked(body) == full.ended("", 0.0, 0.0).evolve(handles=()).encode_body()
    assert KEY not in store._calls._read._known


def test_rubbish_that_somebody_locks_does_not_hold_up_a_sweep(store, sql):
    """Pruning passes over a row that is locked, deletes the others, and takes it the next time."""
    for n in range(3):
        store.create(reference_record(n))
    sql("BEGIN")
    sql("SELECT FROM sessions WHERE key = %s FOR UPDATE", (KEY,))
    assert store.prune(9e9) == 2
    sql("COMMIT")
    assert store.prune(9e9) == 1


def test_pruning_takes_much_rubbish_in_batches(store, sql, monkeypatch):
    """No statement of `prune` locks more than a few hundred rows, however many there are to go."""
    store.create(RECORD)
    sql(
        "INSERT INTO sessions SELECT decode(lpad(n::text, 32, '0'), 'hex'), authenticated_at, last_seen_at, "
        "inactivity_deadline, keep_until, renewed_at, presented_at, ended_at, sweep_at, generation, revision, end_reason, "
        "seal, handles, kept, body FROM sessions, generate_series(1, 1800) n"
    )
    left, ask = [], store._calls.links.ask

    async def counting(*arguments, **options):
        left.append(sql("SELECT count(*) FROM sessions").fetchone()[0])
        return await ask(*arguments, **options)

    monkeypatch.setattr(store._calls.links, "ask", counting)
    assert store.prune(9e9, 10_000) == 1801
    assert 0 < max(before - after for before, after in itertools.pairwise(left)) <= 500
    assert sql("SELECT count(*) FROM sessions").fetchone() == (0,)


@pytest.mark.parametrize("sweep", [lambda store: store.add_once("new", 9e9, 1e9), lambda store: store.prune(1e9) == 0])
def test_a_used_value_that_somebody_locks_holds_up_nobody(url, sql, sweep):
    """What `add_once` and pruning forget besides is passed over where it is locked."""
    with PostgresStore.from_url(url + "&timeout=2") as store:
        assert store.add_once("old", 5.0, 1.0)
        sql("BEGIN")
        sql("SELECT FROM once FOR UPDATE")
        assert sweep(store)
        assert sql("SELECT count(*) FROM once WHERE until = 5").fetchone() == (1,)
        sql("COMMIT")
        sweep(store)
        assert sql("SELECT count(*) FROM once WHERE until = 5").fetchone() == (0,)


def test_a_large_record_comes_back(store):
    """A record of several pages is kept, though PostgreSQL puts it elsewhere."""
    record = RECORD.evolve(data={"noise": "".join(map(chr, range(0x4E00, 0x4E00 + 9000)))})
    store.create(record)
    assert store.load(KEY) == record


def test_the_reference_record_takes_about_six_hundred_and_seventy_bytes(store, sql):
    """A thousand reference records and their indexes are no larger than the docs say."""
    for n in range(1000):
        store.create(reference_record(n))
    sql("VACUUM FULL sessions")
    size = sql("SELECT pg_total_relation_size('sessions')").fetchone()[0]
    assert size < 1000 * 720


def test_a_walk_finds_every_key_damaged_ones_too(store, sql):
    """Batches by key find all that is held, alive, ended or unreadable, and say when there is no more."""
    held = [reference_record(n) for n in range(10)]
    for record in held:
        store.create(record)
    store.end(held[3].key, "logout", 1e9, 9e9)
    sql("UPDATE sessions SET body = 'x' WHERE key = %s", (held[5].key,))
    keys, after = store.walk(None, 4)
    more, after = store.walk(after, 4)
    rest, end = store.walk(after, 4)
    assert [*keys, *more, *rest] == sorted(record.key for record in held)
    assert end is None
    assert store.walk(None, 10) == (sorted(record.key for record in held), max(record.key for record in held))
    assert store.walk(max(record.key for record in held), 10) == ([], None)
