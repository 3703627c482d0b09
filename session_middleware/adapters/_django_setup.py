"""What `settings.py` of a Django project says, as engines: one for blocking code, one for the event loop, made when needed.

Every middleware instance of a process (each test client makes one) shares them, because a store in memory or a file
must be one for all.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any, TypeVar

from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings as conf
from django.core.signals import setting_changed
from django.shortcuts import resolve_url
from django.utils.functional import Promise
from django.utils.module_loading import import_string

from session_middleware.adapters._django_testing import TEST_STORE, is_test_run
from session_middleware.adapters.attach import attach, default_store, store_url
from session_middleware.authorities.base import Authority
from session_middleware.core.exchange import RequestFacts
from session_middleware.endpoints import Endpoints
from session_middleware.engine import Engine
from session_middleware.errors import SettingsError
from session_middleware.runtime import LoopRuntime, ThreadRuntime, run_sync
from session_middleware.settings import Settings
from session_middleware.stores import store_from_url
from session_middleware.watch import Watching

__all__ = ["OURS", "Side", "Setup", "current", "is_bridged", "positions"]

T = TypeVar("T")

#: Keys of SESSION_LIFETIME that are no option of `Settings`.
ARGUMENTS = ("settings", "store", "authority", "on_event", "clock")

#: Options that are functions, so that text can only be the dotted path of one.
FUNCTIONS = frozenset({"limits", "refusal", "client_address"})

OURS = "session_middleware.adapters.django.SessionLifetimeMiddleware"


class Side:
    """An engine with what serves it, on one side of Django: blocking code, or the event loop.

    Attributes:
        run: how blocking code runs one of the engine's coroutines.
        prefix: of the paths that are ours to answer.
        clock: the engine's.
        recogniser: the engine's.
        vary: the Vary header, in the form in which Django keeps headers.
    """

    __slots__ = ("clock", "endpoints", "engine", "prefix", "recogniser", "run", "vary", "watching")

    def __init__(self, engine: Engine, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.engine = engine
        self.endpoints = Endpoints(engine)
        self.watching = Watching(engine)
        self.run = run
        self.prefix = self.endpoints.prefix
        self.clock = engine.clock
        self.recogniser = engine.recogniser
        self.vary = ("Vary", engine.vary_on)


async def _awaited(waiting: Awaitable[T]) -> T:
    return await waiting


def _on_the_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop that serves this request, from the worker thread of a plain view."""
    return async_to_sync(_awaited)(coroutine)


class Setup:
    """One reading of SESSION_LIFETIME.

    Attributes:
        settings: the checked settings.
        authority: as given, attached to nothing; each engine has a copy.
        bridged: whether contrib.auth's middleware stands before ours (L23).

    Raises:
        SettingsError: something in it makes no sense.
    """

    def __init__(self) -> None:
        self.bridged = is_bridged()
        given = getattr(conf, "SESSION_LIFETIME", None)
        arguments, options = _split({} if given is None else given)
        self.settings = _settings(arguments.get("settings"), options)
        self.authority: Authority | None = _loaded(arguments.get("authority"), call=True)
        self._clock: Callable[[], float] = _loaded(arguments.get("clock"), call=False) or time.time
        self._on_event = _hooks(arguments.get("on_event", ()))
        self._given_store = arguments.get("store")
        self._store_url = store_url(getattr(conf, "SESSION_STORE_URL", None))
        self._in_tests = self._given_store is None and is_test_run()

    @cached_property
    def store(self) -> Any:  # Store | AsyncStore
        given = self._given_store
        if given is None:
            if self._in_tests:
                return TEST_STORE
            return default_store(getattr(conf, "BASE_DIR", None), url=self._store_url)
        if isinstance(given, str) and ":" in given:
            return store_from_url(given)
        return _loaded(given, call=True)

    @property
    def is_current(self) -> bool:
        """Whether the store is still the right one: tests may have begun, or ended, since the settings were read."""
        return self._given_store is not None or self._in_tests is is_test_run()

    @property
    def is_asynchronous(self) -> bool:
        """Whether the store can only be awaited."""
        return inspect.iscoroutinefunction(getattr(self.store, "load", None))

    @cached_property
    def blocking(self) -> Side:
        """For WSGI, and for blocking code outside a request."""
        return Side(self._engine(ThreadRuntime()), run_sync)

    @cached_property
    def looping(self) -> Side:
        """For ASGI, and for asynchronous code outside a request."""
        return Side(self._engine(LoopRuntime()), _on_the_loop)

    def any_side(self) -> Side:
        """Return the side that blocking code outside a request can use with this store."""
        return self.looping if self.is_asynchronous else self.blocking

    def now(self) -> float:
        """Read the clock that the engines read."""
        return self._clock()

    def _engine(self, runtime: Any) -> Engine:  # Any: ThreadRuntime | LoopRuntime
        return attach(
            self.settings,
            self.store,
            runtime=runtime,
            authority=copy.copy(self.authority),  # each engine tells its authority where it runs
            clock=self._clock,
            on_event=self._on_event,
            default_policy="optional" if self.bridged else "required",
            resolve_login=_resolve_login,
            return_param="next",  # what LoginView and the admin read
        )


#: Django settings of which a setup is made.
_READ = frozenset(
    {
        *("SESSION_LIFETIME", "SESSION_STORE_URL", "BASE_DIR"),
        *("SECRET_KEY", "SECRET_KEY_FALLBACKS", "LOGIN_URL", "MIDDLEWARE"),
    }
)

_current: Setup | None = None


def current() -> Setup:
    """Return the setup of this process, read once, and once more when tests begin."""
    global _current
    if _current is None or not _current.is_current:
        _current = Setup()
    return _current


def _forget(*, setting: str, **_: object) -> None:
    if setting in _READ:
        global _current
        _current = None


setting_changed.connect(_forget, dispatch_uid="session_middleware.setup")


def positions() -> tuple[list[int], list[int]]:
    """Return where in MIDDLEWARE contrib.auth's AuthenticationMiddleware and ours stand, subclasses included."""
    from session_middleware.adapters.django import SessionLifetimeMiddleware

    authentication: tuple[type, ...] = ()
    if apps.is_installed("django.contrib.auth"):  # importing it loads models, which fails where it is not installed
        from django.contrib.auth.middleware import AuthenticationMiddleware

        authentication = (AuthenticationMiddleware,)
    theirs: list[int] = []
    ours: list[int] = []
    for position, path in enumerate(conf.MIDDLEWARE):
        middleware = import_string(path)
        if isinstance(middleware, type):
            if issubclass(middleware, authentication):
                theirs.append(position)
            if issubclass(middleware, SessionLifetimeMiddleware):
                ours.append(position)
    return theirs, ours


def is_bridged() -> bool:
    """Say whether contrib.auth's users pass through our hands."""
    theirs, ours = positions()
    return bool(theirs and ours)


def _split(given: object) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(given, Mapping):
        raise SettingsError(
            "SESSION_LIFETIME", type(given).__name__, "is not a dict.", 'Write SESSION_LIFETIME = {"store": ...}.'
        )
    options = {field.name for field in fields(Settings) if field.init}
    arguments: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in given.items():
        name = key.lower() if isinstance(key, str) else key
        if name in ARGUMENTS:
            arguments[name] = value
        elif name in options:
            rest[name] = value
        else:
            near = difflib.get_close_matches(str(name), [*options, *ARGUMENTS], n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "See the settings page for the names."
            raise SettingsError(f"SESSION_LIFETIME[{key!r}]", "...", "is not a setting.", hint)
    return arguments, rest


def _settings(given: object, options: dict[str, Any]) -> Settings:
    """Return the settings with what Django knows filled in: its keys and its login page."""
    changes: dict[str, Any] = {}
    if isinstance(given, Settings):
        if options:
            raise SettingsError(
                "SESSION_LIFETIME",
                sorted(options),
                "stands beside finished settings.",
                "Put it into Settings(...), or write every option here and leave 'settings' out.",
            )
        if not given.secret_keys:
            changes["secret_keys"] = _secret_keys()
        if given.login_url == _DEFAULT_LOGIN_URL and conf.is_overridden("LOGIN_URL"):
            changes["login_url"] = _django_login_url
        return given.replace(**changes) if changes else given
    if isinstance(given, Mapping):
        options = {**_split(given)[1], **options}
    elif given is not None:
        raise SettingsError(
            "SESSION_LIFETIME['settings']", type(given).__name__, "is neither Settings nor a dict.", "Give one of them."
        )
    if not options.get("secret_keys"):
        options["secret_keys"] = _secret_keys()
    options.setdefault("login_url", _django_login_url)
    for name in FUNCTIONS & options.keys():
        options[name] = _loaded(options[name], call=False)
    return Settings.from_mapping(options, prefix="")


_DEFAULT_LOGIN_URL = next(field.default for field in fields(Settings) if field.name == "login_url")


def _secret_keys() -> list[str]:
    keys = dict.fromkeys(str(key) for key in (conf.SECRET_KEY, *conf.SECRET_KEY_FALLBACKS))
    try:
        Settings(secret_keys=list(keys))
    except SettingsError as problem:
        raise SettingsError(
            "SECRET_KEY",
            "***",
            f"cannot sign sessions: {problem}",
            "Or keep it for Django and give SESSION_LIFETIME['secret_keys'].",
        ) from None
    return list(keys)


def _django_login_url(facts: RequestFacts) -> str:
    url: object = conf.LOGIN_URL
    if not isinstance(url, str | Promise):
        raise SettingsError("LOGIN_URL", url, "is not text.", "Give a path, a URL or the name of a route.")
    return _resolved(url)


def _resolve_login(facts: RequestFacts, url: str) -> str:
    """Turn `login_url` into a URL: a path lies below the mount; anything without a slash is the name of a route."""
    if url.startswith("/"):
        return facts.mount + url
    return _resolved(url)


def _resolved(url: str | Promise) -> str:
    text = str(url)  # LOGIN_URL may be reverse_lazy(...)
    return text if text.startswith("/") or "://" in text else resolve_url(text)


def _loaded(given: Any, *, call: bool) -> Any:  # Any: what a setting may name
    """Return what a setting gives, or what stands at its dotted path; a class or a factory there is called."""
    if not isinstance(given, str):
        return given
    try:
        found = import_string(given)
    except ImportError as problem:
        raise SettingsError("SESSION_LIFETIME", given, f"cannot be imported ({problem}).", "Check the path.") from None
    return found() if call and callable(found) else found


def _hooks(given: object) -> list[Any]:
    several: Iterable[object] = (
        given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)  # one, or several
    )
    return [_loaded(hook, call=False) for hook in several]
