"""`session-middleware sessions move`: takes all sessions from one store to another while the app uses both."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from types import FrameType
from typing import TypeVar
from urllib.parse import unquote

from session_middleware.errors import SessionError, SettingsError, StoreUnavailable
from session_middleware.stores import masked, store_from_url, without_near_cache
from session_middleware.stores.base import AddsOnce
from session_middleware.stores.moving import Moved, MovingStore

__all__ = ["run"]

T = TypeVar("T")

#: Records looked at between two looks at whether it is time to say how far we are.
_BATCH = 200

#: Seconds between two lines of progress.
_SAY_EVERY = 5.0

#: Rounds after which live sessions that still turn up are no stragglers: somebody goes on making them.
_ROUNDS = 4

#: Failures shown in full.
_SHOWN = 10

#: What asks the command to stop.
_STOPS = (signal.SIGINT, signal.SIGTERM)


class _Stopped(Exception):
    """Somebody has asked the command to stop, and it stands between two batches.

    Attributes:
        status: what a shell gives a process that such a signal has ended.
    """

    def __init__(self, number: int) -> None:
        self.status = 128 + number


class _Wish:
    """Whether somebody wants the command to stop."""

    signal: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Be the handler of a signal; the next one ends the process at once."""
        self.signal = number
        for each in _STOPS:
            signal.signal(each, signal.SIG_DFL)

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen for Ctrl-C and SIGTERM meanwhile.

        An exception in the middle of a driver's call may leave its locks held, and the process would wait for them for ever
        at its end.
        """
        if threading.current_thread() is not threading.main_thread():  # which alone may listen
            yield
            return
        standing = {each: signal.signal(each, self.note) for each in _STOPS}
        try:
            yield
        finally:
            for each, handler in standing.items():
                signal.signal(each, handler)

    def grant(self) -> None:
        """Stop here if somebody wants that.

        Raises:
            _Stopped: somebody does.
        """
        if self.signal is not None:
            raise _Stopped(self.signal)


def run(source: str, target: str) -> int:
    """Move until a whole round finds nothing to move; return the exit status, 1 where something stayed behind.

    Ctrl-C and SIGTERM stop it after the batch at hand, with the status that a shell gives such an end: 130 or 143.

    Args:
        source: the URL of the store that sessions leave.
        target: the URL of the one they go to.

    Raises:
        SettingsError: a URL names no store that can be used.
        StoreUnavailable: a store failed; the command may be given again.
    """
    if source.startswith("sqlite:///") and not Path(unquote(source.removeprefix("sqlite:///"))).is_file():
        raise SettingsError("FROM", masked(source), "is not there.", "Give the file that the app writes to.")
    if source == target:
        raise SettingsError("TO", masked(target), "is the same as FROM.", "Name the store that the sessions go to.")
    store = MovingStore(_opened("FROM", source), _opened("TO", target), create_in_new=True)
    wish = _Wish()
    try:
        with wish.heard():
            if _answered(store, lambda: _is_one(store)):
                raise SettingsError(
                    "TO",
                    masked(target),
                    "is the store of FROM by another name.",
                    "Name the one that the sessions go to.",
                )
            for number in range(1, _ROUNDS + 1):
                moved, failed = _round(store, number, wish)
                if failed:
                    return _left_behind(failed)
                if not moved:
                    print(
                        "All live sessions of FROM are in TO. The app can go on with TO alone (docs/moving.md, step 3)."
                    )
                    return 0
    except _Stopped as stopped:
        print("Stopped. What was moved stays moved, and nobody is signed out; give the command again to go on.")
        return stopped.status
    finally:
        store.close()
    print(
        f"After {_ROUNDS} rounds there are still new live sessions in FROM: some worker makes logins there. Deploy step 2 "
        "to all workers (docs/moving.md), then run this again."
    )
    return 1


def _opened(name: str, url: str) -> object:
    if url == "memory://":
        raise SettingsError(name, url, "lives inside the app's process.", "Name a store that the app shares.")
    try:
        store = store_from_url(without_near_cache(url)[0])
        check = getattr(store, "check", None)
        if check is not None:
            check()
    except SettingsError as problem:
        if problem.field != "SESSION_STORE_URL":
            raise
        raise SettingsError(name, masked(url), "names no store that can be used.", problem.fix) from problem
    return store


def _round(store: MovingStore, number: int, wish: _Wish) -> tuple[int, list[str]]:
    """Look at every record once; return how many live sessions were moved, and what could not be."""
    moved = ended = before = 0
    failed: list[str] = []
    after: bytes | None = None
    said = time.monotonic()
    while True:
        wish.grant()
        batch = _batch(store, after)
        moved, ended, before = moved + batch.moved, ended + batch.ended, before + batch.before
        failed += batch.failed
        after = batch.next
        if after is None or time.monotonic() - said >= _SAY_EVERY:
            said = time.monotonic()
            print(
                f"round {number}{'' if after is None else ' ...'}: {moved} moved, {ended} ended ones copied, "
                f"{before} were there, {len(failed)} failed",
                flush=True,
            )
        if after is None:
            return moved, failed


def _is_one(store: MovingStore) -> bool:
    """Say whether both are one store, by its contents: then what the old one has noted the new one has noted already.

    Else each mark of an end at a provider would go from the store to itself, and be ended there as moved (L24).
    """
    now = time.time()
    return isinstance(store, AddsOnce) and not store.add_once(f"move {token_hex(16)}", now + 60, now)


def _batch(store: MovingStore, after: bytes | None) -> Moved:
    return _answered(store, lambda: store.move_some(after, _BATCH, time.time()))


def _answered(store: MovingStore, call: Callable[[], T]) -> T:
    try:
        return call()
    except SessionError:
        raise
    except Exception as fault:  # whatever a driver raises
        raise StoreUnavailable(
            f"A store failed ({type(fault).__name__}: the old one is {store.old!r}, the new one {store.new!r}). What was "
            "moved stays moved, and nobody is signed out; run the command again when both answer."
        ) from fault


def _left_behind(failed: list[str]) -> int:
    for line in failed[:_SHOWN]:
        print(f"not moved: {line}")
    if len(failed) > _SHOWN:
        print(f"... and {len(failed) - _SHOWN} more.")
    print("These stay in FROM, as they are. Without them nobody else is signed out: the rest has been moved.")
    return 1
