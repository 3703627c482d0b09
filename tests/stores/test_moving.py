"""MovingStore keeps every promise of a store in each step of a move, and so do workers of two neighbouring steps."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.core.provider import provider_mark
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.moving import AsyncMovingStore, MovingStore
from session_middleware.stores.nearcache import NearCache
from session_middleware.testing.reference_store import ReferenceStore
from session_middleware.testing.store_contract import StoreContract
from session_middleware.testing.store_promises.records import BEGAN, FULL, LONG_AFTER, a_record, a_touch

KEY = a_record().key
HANDLE = a_record().handles[0]
NOW = BEGAN + 30


# --- one worker -----------------------------------------------------------------------------------------------------


class TestBeforeTheMove(StoreContract):
    """Step 1: all is in the old store."""

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: MovingStore(MemoryStore(), MemoryStore())


class TestDuringTheMove(StoreContract):
    """Step 2: logins are made in the new store."""

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: MovingStore(MemoryStore(), MemoryStore(), create_in_new=True)


class MovedAtOnce(MovingStore):
    """A store whose every session is made in the old store and moved before it is used."""

    def create(self, record: SessionRecord) -> None:
        super().create(record)
        self._move_all()

    def _move_all(self) -> None:
        after = None
        while (batch := self.move_some(after, 100, float("-inf"))).next is not None:
            after = batch.next
        assert batch.failed == ()


class TestAfterTheMove(StoreContract):
    """Step 2, when all has moved: the old store knows of each session only that it is elsewhere."""

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: MovedAtOnce(MemoryStore(), MemoryStore())

    test_pruning_takes_rubbish_only = None  # one session is a row in each of the stores
    test_what_was_pruned_is_unknown = None
    test_pruning_is_not_held_up_by_what_was_touched = None
    test_random_histories_agree_with_the_reference = None
    test_logins_sweep = None


class TestAsynchronously(StoreContract):
    """The awaited form, over stores of which one blocks."""

    histories = 10

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: AsyncMovingStore(MemoryStore(), Slow(), create_in_new=True)

    test_logins_sweep = None  # the reference does not sweep


# --- orders of the steps ---------------------------------------------------------------------------------------------


class Turn:
    """Lets others go on; whoever drives the coroutine decides whom."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Slow:
    """A store whose calls are awaited, each of which gives others a turn before it acts."""

    short_calls: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.store = ReferenceStore()


def _awaited(name: str) -> Callable[..., Awaitable[Any]]:
    async def call(self: Slow, *arguments: Any) -> Any:
        await Turn() if not _on_asyncio() else None
        return getattr(self.store, name)(*arguments)

    return call


def _on_asyncio() -> bool:
    import asyncio

    return asyncio._get_running_loop() is not None


for _name in (
    *("create", "load", "touch", "save", "renew", "end", "list"),
    *("create_capped", "end_before", "add_once", "prune", "walk"),
):
    setattr(Slow, _name, _awaited(_name))


class Forgetful(ReferenceStore):
    """A store that drops what is rubbish at once, as every store may."""

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        ended = super().end(key, reason, at, keep_until)
        if at >= keep_until:
            self.rows.pop(key, None)
        return ended


class World:
    """Two stores with a session in the old one, and workers of both steps."""

    def __init__(self) -> None:
        self.old, self.new = Slow(), Slow()
        self.new.store = Forgetful()
        self.old.store.create(a_record(**FULL | {"handles": (HANDLE,)}))
        self.first = AsyncMovingStore(self.old, self.new)
        self.second = AsyncMovingStore(self.old, self.new, create_in_new=True)
        self.before = self.old.store.rows[KEY]

    def now_held(self) -> SessionRecord | None:
        """Return what all workers agree on when nothing is under way, also those of step 3 after the command's last pass."""
        seen = [run(worker.load(KEY)) for worker in (self.first, self.second)]
        listed = [run(worker.list(HANDLE, NOW)) for worker in (self.first, self.second)]
        run(whole_move(self.second))
        seen += [run(self.second.load(KEY)), self.new.store.load(KEY)]
        listed += [run(self.second.list(HANDLE, NOW)), self.new.store.list(HANDLE, NOW)]
        assert all(_plain(one) == _plain(seen[0]) for one in seen)
        alive = [] if seen[0] is None or seen[0].ended_at is not None else [KEY]
        assert all([record.key for record in rows] == alive for rows in listed)
        assert not [key for key in self.new.store.rows if key != KEY and self.new.store.alive(key)]
        return seen[-1]


def _plain(record: SessionRecord | None) -> SessionRecord | None:
    """Return a record without what a move has to write to it: a mark, at a revision of its own."""
    return record and record.evolve(extra=FULL["extra"] if record.ended_at is None else {}, revision=0)


async def whole_move(worker: AsyncMovingStore) -> None:
    after = None
    while True:
        batch = await worker.move_some(after, 100, NOW)
        assert batch.failed == ()
        if batch.next is None:
            return
        after = batch.next


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Do all of it."""
    while True:
        try:
            work.send(None)
        except StopIteration as done:
            return done.value


def interleaved(works: list[Coroutine[Any, Any, Any]], order: Iterator[int]) -> list[Any]:
    """Let works take turns as `order` says; -1 drops the first, as a crash does. Returns their answers."""
    answers: list[Any] = [None] * len(works)
    left = dict(enumerate(works))
    while left:
        who = next(order, None)
        if who == -1:
            crashed = left.pop(0, None)
            if crashed is not None:
                crashed.close()
            continue
        who = who if who in left else min(left)
        try:
            left[who].send(None)
        except StopIteration as done:
            answers[who] = done.value
            del left[who]
    return answers


def orders(mover_turns: int = 14, other_turns: int = 9) -> Iterator[list[int]]:
    """Yield whose turn it is: another's first turns at any two places among the mover's, crashes at any place."""
    for places in itertools.combinations_with_replacement(range(mover_turns), 2):
        for last in (0, other_turns):
            # The other takes a turn at each of these places and the rest of its turns after the last of them.
            order: list[int] = []
            for turn in range(mover_turns + 1):
                order += [1] * places.count(turn)
                if last and turn == places[-1]:
                    order += [1] * other_turns
                order.append(0)
            yield order
    for crash in range(mover_turns):
        for place in range(crash + 1):
            for some in (0, 1, 2, 3, other_turns):
                yield [0] * place + [1] * some + [0] * (crash - place) + [-1]


Other = Callable[[AsyncMovingStore], Coroutine[Any, Any, Any]]


def played(other: Other) -> Iterator[tuple[World, Any]]:
    """Play a move beside what another worker does, in each of `orders`, for a worker of either step; yield what came of it."""
    for order in orders():
        for step in ("first", "second"):
            world = World()
            answers = interleaved([whole_move(world.second), other(getattr(world, step))], iter(order))
            yield world, answers[1]


def test_a_move_changes_nothing_but_the_place() -> None:
    """A session that has moved is the same to the last field, and is gone from the old store."""
    world = World()
    run(whole_move(world.second))
    moved = world.new.store.load(KEY)
    assert moved == world.before
    left = world.old.store.load(KEY)
    assert (left.ended_at is not None, left.end_reason, dict(left.claims)) == (True, "moved", {})
    assert world.now_held() == moved


def test_a_move_may_stop_anywhere_and_be_done_again() -> None:
    """After a crash at any step the session lives on, and the next run finishes the work."""
    for turns in range(14):
        world = World()
        interleaved([whole_move(world.second)], iter([0] * turns + [-1]))
        assert _plain(world.now_held()) == _plain(world.before)


def test_a_move_that_was_given_up_and_begun_again_takes_the_newest_claims() -> None:
    """What the old store alone was told between two attempts is not overwritten by the first one's copy (L14)."""
    for first, second in itertools.product(range(14), repeat=2):
        world = World()
        interleaved([whole_move(world.second)], iter([0] * first + [-1]))
        held = world.old.store.load(KEY)
        if held.ended_at is not None:
            continue  # it had moved
        assert world.old.store.save(held.evolve(claims={"since": 1})) is not None
        interleaved([whole_move(world.second)], iter([0] * second + [-1]))
        run(whole_move(world.second))
        assert world.new.store.load(KEY).claims == {"since": 1}


def test_a_logout_wins_in_orders() -> None:
    """Who has logged out stays out, whatever the mover was about to do, and the reason is kept (L13, L16)."""
    for world, answer in played(lambda worker: worker.end(KEY, "logout", NOW, LONG_AFTER)):
        held = world.now_held()
        assert (answer, held.end_reason, held.ended_at) == (True, "logout", NOW)


def test_everybody_elses_end_finds_a_session_on_its_way() -> None:
    """Ending all sessions of a user misses none that is between the stores (L13)."""

    async def end_all(worker: AsyncMovingStore) -> int:
        found = await worker.list(HANDLE, NOW)
        return sum([await worker.end(record.key, "revoked", NOW, LONG_AFTER) for record in found])

    for world, answer in played(end_all):
        assert (answer, world.now_held().end_reason) == (1, "revoked")


def test_an_epoch_ends_a_session_on_its_way() -> None:
    """end_before ends what began before it in either store and between them (L13)."""
    for world, _ in played(lambda worker: worker.end_before(BEGAN + 1, NOW)):  # type: ignore[attr-defined]
        held = world.now_held()
        assert held is None or held.end_reason == "revoked"


def test_no_touch_is_lost() -> None:
    """A touch is in the record in the end, and the session never ends earlier than it says (L5)."""
    for touch in (a_touch(60), a_touch(60, inactivity_deadline=BEGAN + 99, exact=True)):
        for world, answer in played(lambda worker, touch=touch: worker.touch(KEY, touch)):
            due = touch.applied(world.before)
            assert _plain(answer) == _plain(due.evolve(presented_at=answer.presented_at))
            held = world.now_held()
            assert (held.last_seen_at, held.inactivity_deadline) == (due.last_seen_at, due.inactivity_deadline)
            assert held.ended_at is None


def test_no_renewal_is_lost() -> None:
    """A renewal that was answered stands (L11)."""
    for world, answer in played(lambda worker: worker.renew(KEY, 3, 4, NOW)):
        held = world.now_held()
        assert (answer.generation, held.generation, held.renewed_at, held.presented_at) == (4, 4, NOW, None)


def test_one_renewal_wins() -> None:
    """Of two renewals from one generation, one at each kind of worker, one succeeds (L11)."""
    for order in orders():
        world = World()
        one, other = world.first.renew(KEY, 3, 4, NOW), world.second.renew(KEY, 3, 4, NOW + 1)

        async def both(one: Any = one, other: Any = other) -> list[Any]:
            return [await one, await other]

        _, answers = interleaved([whole_move(world.second), both()], iter(order))
        winners = [answer for answer in answers if answer is not None]
        assert [winner.renewed_at for winner in winners] == [world.now_held().renewed_at]


async def save_as_the_engine_does(worker: AsyncMovingStore, name: str) -> bool:
    """Write a claim by compare-and-swap, keeping those of others (L14)."""
    for _ in range(4):
        record = await worker.load(KEY)
        if record is None or record.ended_at is not None:
            return False
        if await worker.save(record.evolve(claims={**record.claims, name: 1})) is not None:
            return True
    raise AssertionError("never written")


def test_no_claim_is_lost() -> None:
    """Claims written at any moment of a move are there in the end, beside those from before (L14)."""
    for world, answer in played(lambda worker: save_as_the_engine_does(worker, "new")):
        assert answer
        assert world.now_held().claims == {**world.before.claims, "new": 1}


def test_no_claim_is_lost_that_is_written_to_what_a_touch_returned() -> None:
    """A record that was read between the mark and the end can be written, and the write arrives (L14)."""

    async def touch_and_save(worker: AsyncMovingStore) -> bool:
        touched = await worker.touch(KEY, a_touch(60))
        assert touched is not None
        if await worker.save(touched.evolve(claims={**touched.claims, "new": 1})) is not None:
            return True
        return await save_as_the_engine_does(worker, "new")

    for world, answer in played(touch_and_save):
        held = world.now_held()
        assert (answer, held.claims) == (True, {**world.before.claims, "new": 1})
        assert held.last_seen_at == BEGAN + 60


def test_two_movers_leave_nothing_behind() -> None:
    """Of two who move one session at the same time the slower takes away the copy that it has parked."""
    for order in orders():
        if -1 not in order:
            world = World()
            interleaved([whole_move(world.second), whole_move(world.second)], iter(order))
            assert [key for key in world.new.store.rows if world.new.store.alive(key)] == [KEY]


def test_a_mover_that_comes_too_late_leaves_nothing_of_the_person() -> None:
    """Where a logout was faster, the mover takes away the copy it has parked, at once (L16)."""
    for order in orders():
        if -1 not in order:
            world = World()
            interleaved(
                [whole_move(world.second), world.first.end(KEY, "logout", NOW, LONG_AFTER)],
                iter(order),
            )
            assert not any(map(world.new.store.alive, world.new.store.rows))


def test_many_at_once_agree() -> None:
    """Two movers, two writers, and sometimes a logout, in random orders with crashes: all writes stand, dead wins."""
    chance = random.Random(7)
    for _ in range(1500):
        world, leaves = World(), chance.random() < 0.5
        works = [
            whole_move(world.second),
            whole_move(world.second),
            save_as_the_engine_does(world.first, "one"),
            save_as_the_engine_does(world.second, "two"),
            world.first.touch(KEY, a_touch(60)),
            *([world.first.end(KEY, "logout", NOW, LONG_AFTER)] if leaves else []),
        ]
        order = [chance.randrange(len(works)) for _ in range(120)]
        if chance.random() < 0.5:
            order.insert(chance.randrange(60), -1)
        answers = interleaved(works, iter(order))
        held = world.now_held()
        if leaves:
            assert (answers[5], held.end_reason) == (True, "logout")
        else:
            assert held.claims == {**world.before.claims, "one": 1, "two": 1}
            assert held.last_seen_at == BEGAN + 60


def test_a_cap_holds_while_sessions_move() -> None:
    """A login under a cap counts sessions in both stores and between them, and ends the oldest, wherever it is."""
    new = a_record(1, handles=(HANDLE,), authenticated_at=BEGAN + 5)

    def login(worker: AsyncMovingStore) -> Coroutine[Any, Any, Any]:
        return worker.create_capped(new, HANDLE, 1, True, NOW, LONG_AFTER)  # type: ignore[attr-defined]

    for order in orders():
        world = World()
        _, evicted = interleaved([whole_move(world.second), login(world.second)], iter(order))
        assert [record.key for record in evicted] == [KEY]
        assert [record.key for record in run(world.second.list(HANDLE, NOW))] == [new.key]
        assert run(world.first.load(KEY)).end_reason == "revoked"


# --- workers of two neighbouring steps ------------------------------------------------------------------------------


Store = Any  # MemoryStore | MovingStore


@pytest.fixture(params=["0 and 1", "1 and 2", "2 and 3"])
def pair(request: pytest.FixtureRequest) -> tuple[Store, Store, MemoryStore, MemoryStore]:
    """Workers of two neighbouring steps, and their stores."""
    old, new = MemoryStore(), MemoryStore()
    workers = [old, MovingStore(old, new), MovingStore(old, new, create_in_new=True), new]
    one, other = map(int, request.param.split(" and "))
    return workers[one], workers[other], old, new


@pytest.mark.parametrize("turned", [False, True])
def test_workers_of_two_steps_are_one_store(pair: tuple[Store, Store, Any, Any], turned: bool) -> None:
    """Whatever one worker writes the other sees: login, activity, claims, renewal, logout, epoch, jti."""
    one, other = pair[1::-1] if turned else pair[:2]
    one.create(a_record())
    assert other.load(KEY) == a_record()
    touched = other.touch(KEY, a_touch(60))
    assert one.load(KEY) == touched
    saved = one.save(touched.evolve(claims={"role": "admin"}))
    assert other.save(touched.evolve(claims={"late": 1})) is None
    assert other.load(KEY) == saved
    assert other.renew(KEY, 0, 1, NOW) == one.load(KEY)
    assert one.renew(KEY, 0, 1, NOW) is None
    assert [record.key for record in other.list(HANDLE, NOW)] == [KEY]
    assert other.end(KEY, "logout", NOW, LONG_AFTER)
    assert (one.load(KEY).end_reason, one.touch(KEY, a_touch(90)), one.list(HANDLE, NOW)) == ("logout", None, [])
    other.create(a_record(1))
    one.end_before(LONG_AFTER, NOW)
    assert other.load(a_record(1).key).end_reason == "revoked"
    assert (one.add_once("jti", LONG_AFTER, NOW), other.add_once("jti", LONG_AFTER, NOW)) == (True, False)


def test_a_worker_of_step_1_follows_what_was_moved() -> None:
    """While workers of steps 1 and 2 stand side by side, those of step 1 use what the command has moved."""
    old, new = MemoryStore(), MemoryStore()
    first, second = MovingStore(old, new), MovingStore(old, new, create_in_new=True)
    first.create(a_record())
    assert second.move_some(None, 10, NOW).moved == 1
    assert first.touch(KEY, a_touch(60)) == second.load(KEY)
    assert first.renew(KEY, 0, 1, NOW).generation == 1
    assert first.save(first.load(KEY).evolve(claims={})).claims == {}
    assert first.end(KEY, "logout", NOW, LONG_AFTER)
    assert second.load(KEY).end_reason == new.load(KEY).end_reason == "logout"


# --- what the command needs -----------------------------------------------------------------------------------------


def test_reasons_move_too() -> None:
    """Why a session ended is known in the new store, also where an epoch of the old one has ended it (L16)."""
    old, new = MemoryStore(), MemoryStore()
    for n in range(2):
        old.create(a_record(n, authenticated_at=BEGAN + n))
    old.end(a_record(1).key, "logout", NOW, LONG_AFTER)
    old.end_before(BEGAN + 1, NOW)
    done = MovingStore(old, new).move_some(None, 10, NOW)
    assert (done.moved, done.ended, done.before, done.failed, done.next) == (0, 2, 0, (), None)
    assert [new.load(a_record(n).key) for n in range(2)] == [old.load(a_record(n).key) for n in range(2)]
    again = MovingStore(old, new).move_some(None, 10, NOW)
    assert (again.moved, again.ended, again.before) == (0, 0, 2)


def test_rubbish_stays_behind() -> None:
    """What nobody needs any more is not copied."""
    old, new = MemoryStore(), MemoryStore()
    old.create(a_record())
    assert MovingStore(old, new).move_some(None, 10, LONG_AFTER).moved == 0
    assert len(new) == 0


def test_nothing_is_lost_by_moving_back_into_a_store_that_was_moved_out_of() -> None:
    """A session whose key the new store holds already stays where it is, alive, and is named."""
    old, new = MemoryStore(), MemoryStore()
    old.create(a_record())
    MovingStore(old, new).move_some(None, 10, NOW)
    back = MovingStore(new, old)
    done = back.move_some(None, 10, NOW)
    assert done.moved == 0
    assert len(done.failed) == 1
    assert a_record().public_id in done.failed[0]
    assert "empty store" in done.failed[0]
    assert back.load(KEY).ended_at is None


def a_mark(at: float) -> SessionRecord:
    return provider_mark("idp", "their-session", at, LONG_AFTER)


def test_a_mark_that_workers_of_two_steps_wrote_at_once_is_one_mark() -> None:
    """Where both stores hold a mark, every worker sees the later end, and moving leaves one mark and no fault (L24)."""
    for in_old, in_new in ((NOW, NOW + 9), (NOW + 9, NOW)):
        world = World()
        world.old.store.create(a_mark(in_old))
        world.new.store.create(a_mark(in_new))
        key = a_mark(NOW).key
        for worker in (world.first, world.second):
            assert run(worker.load(key)).last_seen_at == NOW + 9
        run(whole_move(world.second))
        for held in (world.new.store.load(key), run(world.first.load(key)), run(world.second.load(key))):
            assert (held.last_seen_at, held.ended_at) == (NOW + 9, None)


def test_no_mark_is_lost_or_made_earlier_in_orders() -> None:
    """Ends at the provider that two workers mark while their mark moves: everybody reads the later one (L24)."""

    async def marked(worker: AsyncMovingStore, mark: SessionRecord) -> None:
        touch = Touch(mark.last_seen_at, None, mark.keep_until)
        if await worker.touch(mark.key, touch) is None:
            try:
                await worker.create(mark)
            except KeyError:
                assert await worker.touch(mark.key, touch) is not None

    chance = random.Random(24)
    for number in range(4000):
        world = World()
        if number % 2:
            world.old.store.create(a_mark(NOW))
        workers = [chance.choice((world.first, world.second)) for _ in range(2)]
        works = [marked(worker, a_mark(at)) for worker, at in zip(workers, (NOW + 60, NOW + 50), strict=True)]
        order = [chance.randrange(3) for _ in range(30)] + [0] * 30
        interleaved([whole_move(world.second), *works][:: chance.choice((1, -1))], iter(order))
        seen = [run(worker.load(a_mark(NOW).key)) for worker in (world.first, world.second)]
        run(whole_move(world.second))
        for held in (*seen, world.new.store.load(a_mark(NOW).key)):
            assert (held.last_seen_at, held.ended_at, held.keep_until) == (NOW + 60, None, LONG_AFTER)


def test_a_mark_stays_where_the_new_store_was_moved_out_of() -> None:
    """A mark is no more moved into a store that sessions have left than a session is: it stays, and is named."""
    store, back = MemoryStore(), MemoryStore()
    for held in (store, back):
        held.create(a_mark(NOW))
    back.end(a_mark(NOW).key, "moved", NOW, LONG_AFTER)
    done = MovingStore(store, back).move_some(None, 10, NOW)
    assert (done.moved, len(done.failed)) == (0, 1)
    held_still = store.load(a_mark(NOW).key)
    assert held_still is not None
    assert held_still.ended_at is None


def test_a_fault_of_the_new_store_moves_nothing() -> None:
    """A new store that cannot be written to is a fault, and the session stays as it was."""

    class Full(MemoryStore):
        def create(self, record: SessionRecord) -> None:
            raise OSError("disk full")

    old = MemoryStore()
    old.create(a_record())
    with pytest.raises(OSError, match="disk full"):
        MovingStore(old, Full()).move_some(None, 10, NOW)
    assert old.touch(KEY, a_touch(60)) is not None
    assert MovingStore(old, MemoryStore()).load(KEY).ended_at is None


def test_stores_that_cannot_be_moved_between_are_refused() -> None:
    """One store twice, a near cache, an awaited store in a synchronous app, a store that cannot be walked."""
    store = MemoryStore()
    with pytest.raises(SettingsError, match="is the old store"):
        MovingStore(store, store)
    with pytest.raises(SettingsError, match="without its near cache"):
        MovingStore(store, _near_cache())
    with pytest.raises(SettingsError, match="asynchronous"):
        MovingStore(store, Slow())
    without = _Bare()
    with pytest.raises(SettingsError, match="walk"):
        MovingStore(without, store).move_some(None, 10, NOW)
    assert not hasattr(MovingStore(without, store), "end_before")


class _Bare(ReferenceStore):
    """A store of one's own that has no powers."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("walk", "end_before", "add_once", "prune", "create_capped"):
            raise AttributeError(name)
        return super().__getattribute__(name)


def _near_cache() -> NearCache:
    class Announcing(MemoryStore):
        def announcements(self) -> Any:
            raise OSError("nobody listens here")

    return NearCache(Announcing())
