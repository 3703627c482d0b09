"""`session-middleware sessions`: who is signed in, why was I logged out, and an end to it, for operators."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from session_middleware.commands.settings_source import described_by
from session_middleware.core import lifetime
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import key_of
from session_middleware.engine import Engine
from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.runtime import LoopRuntime, is_awaited
from session_middleware.sessions import AsyncSessions, Sessions
from session_middleware.settings import Limits, Settings
from session_middleware.stores import masked, store_from_url, without_near_cache
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.moving_environment import moving_as_configured

__all__ = ["run"]

#: Seconds that no app gives a session to live: without its settings, what a record itself says is all that is known.
_NO_CUT = 100 * 366 * 86_400.0

_SHARED = "Name the store the app writes to, one that other processes reach."


@dataclass(frozen=True)
class _Place:
    """Where a command looks.

    Attributes:
        settings: the app's, or some that cut no session shorter than its own login did.
        store: the app's, or another process's hands on the same.
        name: of the store, as an operator may read it.
        authority: the app's; None where none is named.
    """

    settings: Settings
    store: Any  # Store | AsyncStore
    name: str
    authority: Any = None  # Any: an Authority


def run(options: argparse.Namespace) -> int:
    """Do what `sessions VERB` asks; return the exit status, 1 where there was nothing to show or end."""
    if options.verb == "create-schema":
        return _create_schema(options.store or _default_url())
    if options.verb in ("list", "end-all"):
        options.subject = _subject(options.subject)
    place = _place(options)
    if options.verb == "end":
        ended = _ask(place, lambda sessions: sessions.end(options.id), tells=True)
        print("Ended." if ended else f"There is no live session with this id in {place.name}.")
        return 0 if ended else 1
    if options.verb == "end-all":
        count = _ask(place, lambda sessions: sessions.end_all(options.subject), tells=True)
        print(f"Ended: {count}." if count else f"Ended: 0. {options.subject!r} had no session in {place.name}.")
        return 0
    if options.verb == "list":
        return _list(place, options.subject)
    if options.verb == "show":
        return _show(place, options.id)
    instant = _instant(options.instant)
    _ask(place, lambda sessions: sessions.end_before(instant))
    print(f"Every session whose login was before {_shown(instant.timestamp())} has ended.")
    return 0


def _ask(
    place: _Place, what: Callable[[Any], Any], *, tells: bool = False
) -> Any:  # Any: Sessions or AsyncSessions, and what a verb of theirs returns
    """Ask for something of the sessions of an app, and tell the provider behind it, where there is one to be told."""
    authority: Any = place.authority if tells else None
    if is_awaited(place.store):
        return asyncio.run(_awaited(place, authority, what))
    try:
        engine = Engine(place.settings, place.store, authority=authority)
    except SettingsError as fault:
        if fault.field not in ("authority", "client"):
            raise
        return asyncio.run(_awaited(place, authority, what))  # it asks its provider as an asynchronous app does
    try:
        return what(Sessions(engine))
    finally:
        _say_what_is_owed(engine)
        if hasattr(authority, "close"):
            authority.close()


async def _awaited(place: _Place, authority: Any, what: Callable[[Any], Any]) -> Any:  # as above
    engine = Engine(place.settings, place.store, authority=authority, runtime=LoopRuntime())
    try:
        return await what(AsyncSessions(engine))
    finally:
        _say_what_is_owed(engine)
        for used, close in ((authority, "aclose"), (place.store if is_awaited(place.store) else None, "close")):
            if hasattr(used, close):
                await getattr(used, close)()


def _say_what_is_owed(engine: Engine) -> None:
    """Say that a provider was not told of an end: an app would tell it again, a command is over."""
    for record, _, _ in engine.vouching.owes.values():
        session = f"{record.provider_session} at {record.authority}"
        print(f"The provider did not answer and has not been told: end the session {session} there.", file=sys.stderr)


def _place(options: argparse.Namespace) -> _Place:
    """Find settings and store: the app's own, where one is named and no other store."""
    found = None if options.settings is None else described_by(options.settings)
    authority = None if found is None else found.authority
    if options.store is None and found is not None and found.store is not None:
        store: Any = found.store()
        if hasattr(store, "reload"):  # a near cache's: one command reads nothing twice
            store = getattr(store, "store", store)  # else a cache of the app's own, which is asked as it is
        name = f"{store!r}, the store of {options.settings}"
        if isinstance(store, MemoryStore):
            raise SettingsError("--settings", options.settings, "keeps its sessions in its own process.", _SHARED)
        return _Place(_with_a_key(found.settings), store, name, authority)
    url = options.store or _default_url()
    ages = Limits(None, _NO_CUT)
    settings = Settings(
        inactivity_timeout=None,
        absolute_lifetime=ages.absolute_lifetime,
        persistent_limits=ages,
    )
    return _Place(
        _with_a_key(settings if found is None else found.settings), _existing_store(url), masked(url), authority
    )


def _default_url() -> str:
    return os.environ.get("SESSION_STORE_URL", "sqlite:///sessions.db")


def _with_a_key(settings: Settings) -> Settings:
    """Return settings with a key, which signs nothing here."""
    return settings if settings.secret_keys else settings.replace(secret_keys=[secrets.token_bytes(32)])


def _existing_store(url: str) -> object:
    """Open a store that is there: a mistyped path must not make an empty file and say that nobody is signed in."""
    if url == "memory://":
        raise SettingsError("--store", url, "lives inside the app's process.", _SHARED)
    path = Path(unquote(url.removeprefix("sqlite:///")))
    if url.startswith("sqlite:///") and not path.is_file():
        raise SettingsError("--store", masked(url), "is not there.", "Give the file that the app writes to.")
    store = store_from_url(without_near_cache(url)[0])  # one command reads nothing twice
    check = getattr(store, "check", None)
    if check is not None:  # a server's: else a mistake in the URL would read as "the store failed on load"
        check()
    if url == _default_url():  # the app's own: then also while its sessions move
        return moving_as_configured(store, asynchronous=False, url=url)
    return store


def _create_schema(url: str) -> int:
    """Make the tables of a store that needs some."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError(
            "--store",
            masked(url),
            "needs no tables made.",
            "Only a postgresql:// store does; the others are ready.",
        )
    from session_middleware.stores.postgres import create_schema

    print(f"The schema {create_schema(without_near_cache(url)[0])} is ready.")
    return 0


def _list(place: _Place, subject: str) -> int:
    rows = _ask(place, lambda sessions: sessions.list(subject))
    if not rows:  # in which store: it may be another than the app's
        print(f"{subject!r} has no live session in {place.name}.")
        return 1
    for row in rows:
        print(
            f"{row.id}  login {_shown(row.authenticated_at.timestamp())}  seen {_shown(row.last_seen_at.timestamp())}"
            f"  {_plain(row.attributes.get('address', '-'))}  {row.attributes.get('user_agent', '-')!r}"
        )
    return 0


def _show(place: _Place, public_id: str) -> int:
    # Past an engine, which would say of an ended one only that it is not live.
    try:
        if is_awaited(place.store):
            record = asyncio.run(_loaded(place.store, key_of(public_id)))
        else:
            record = place.store.load(key_of(public_id))
    except Exception as fault:  # whatever a driver raises
        raise StoreUnavailable(f"The session store failed on load ({type(fault).__name__}).") from fault
    if record is None:
        print(
            f"Nothing is known of this id in {place.name}: it is wrong, the session ended too long ago, or the app "
            "uses another store."
        )
        return 1
    print(f"subject:    {_plain(record.subject)}")
    print(f"login:      {_shown(record.authenticated_at)}")
    print(f"last seen:  {_shown(record.last_seen_at)} (written at most once per touch_interval)")
    if record.ended_at is not None:
        print(f"ended:      {_shown(record.ended_at)}, reason: {record.end_reason}")
        return 0
    # What is in force, as `list` has it: the settings may have cut it since (L2), and a provider's end caps it.
    says = Engine(place.settings, MemoryStore()).limits_for
    configured = says(record.subject, record.claims, record.persistent, fallback=record.limits)
    force = lifetime.deadlines(record, configured, place.settings.timing)
    over = time.time() >= force.ends_at
    print(f"by silence: {'no limit' if force.inactivity is None else _shown(force.inactivity)}")
    print(f"by age:     {_shown(force.absolute)}")
    print("state:      over; it is written down as ended when it is next used" if over else "state:      live")
    return 0


async def _loaded(store: Any, key: bytes) -> SessionRecord | None:  # Any: AsyncStore
    try:
        found: SessionRecord | None = await store.load(key)
    finally:
        if hasattr(store, "close"):
            await store.close()
    return found


def _subject(text: str) -> str:
    """Return a user's id as it was typed: in a locale of another encoding its UTF-8 would be read as another user's.

    Raises:
        SettingsError: it is no text, or there are two ways to read it.
    """
    try:
        typed = os.fsencode(text).decode()
    except UnicodeError:
        typed = text  # in the locale's own encoding, where that has such letters
    if any("\ud800" <= letter <= "\udfff" for letter in typed):
        raise SettingsError("subject", text, "is no text of Unicode.", "Write it in UTF-8.")
    if typed != text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        raise SettingsError(
            "subject",
            text,
            f"is {typed!r} if your terminal writes UTF-8.",
            "Set PYTHONUTF8=1, or the terminal's locale.",
        )
    return typed


def _instant(text: str) -> datetime:
    if text == "now":
        return datetime.now(UTC)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError("instant", text, "is no date and time.", "Write 2026-01-31T12:00:00Z, or now.") from None
    if instant.tzinfo is None:
        at_zulu = text if ":" in text else f"{text}T00:00"
        raise SettingsError("instant", text, "has no time zone.", f"Write {at_zulu}Z, or +01:00 in place of the Z.")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise SettingsError(
            "instant", text, "is before or after all time.", "Write 2026-01-31T12:00:00Z, or now."
        ) from None


def _plain(text: str) -> str:
    """Return a text that somebody else chose so that it stays on its line and gives no orders to a terminal."""
    return text if text.isprintable() else repr(text)


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
