"""Flask: `SessionLifetime(app)`, and `session_from()` in a view.

app.config["SECRET_KEY"] = ...
lifetime = SessionLifetime(app)

@app.post("/login")
@session_optional
def login():
    session_from().login(subject)
    return redirect(safe_return_to())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flask import Flask, Request, current_app, has_app_context

from session_middleware.adapters._flask_gate import Gate, current_request
from session_middleware.adapters._wsgi_exchange import KEY, WSGIExchange, WSGIFacts
from session_middleware.adapters.attach import attach, store_url
from session_middleware.authorities.base import Authority
from session_middleware.client import ScriptTag, script_tag
from session_middleware.core.exchange import RequestFacts
from session_middleware.core.origin import return_path
from session_middleware.engine import Engine
from session_middleware.errors import SessionNotAttached, SettingsError
from session_middleware.events import Hook
from session_middleware.runtime import ThreadRuntime
from session_middleware.session import Session, session_of
from session_middleware.sessions import Sessions
from session_middleware.settings import Settings

__all__ = ["SessionLifetime", "safe_return_to", "session_client", "session_from"]

EXTENSION = "session_lifetime"

STORE_URL = "SESSION_STORE_URL"


class SessionLifetime:
    """Gives a Flask app signed-in sessions that end when they should.

    Args:
        app: the app; without it, call `init_app` later.
        settings: by default the keys of `app.config` that begin with SESSION_LIFETIME_. Without `secret_keys`, Flask's
            SECRET_KEY signs and its SECRET_KEY_FALLBACKS verify.
        store: a blocking store, or its URL; by default SESSION_STORE_URL of `app.config` or of the environment, else
            `sessions.db` in `app.instance_path`.
        authority: who vouches for a session; the app itself by default.
        clock: a callable returning seconds since the epoch.
        on_event: a callable, or several, that get each `SessionEvent`.

    If the app uses Flask-Login, its logins begin and end our sessions with no change in the app, `current_user` is
    signed in only while our session lives (L23), and the default policy is "optional": the app's own
    `@login_required` decides who may come in.

    Raises:
        SettingsError: something given makes no sense, or SECRET_KEY is missing or too weak.

    Example:
        >>> from session_middleware.stores.memory import MemoryStore
        >>> app = Flask("shop")
        >>> app.config["SECRET_KEY"] = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
        >>> app.config["SESSION_LIFETIME_INACTIVITY_TIMEOUT"] = 900
        >>> lifetime = SessionLifetime(app, store=MemoryStore())
        >>> @app.get("/")
        ... def page():
        ...     return f"Hello {session_from().subject}"
        >>> app.test_client().get("/").status_code
        401
        >>> lifetime.sessions.list("alice")
        []
    """

    def __init__(
        self,
        app: Flask | None = None,
        settings: Settings | None = None,
        store: Any = None,  # Store | str | None
        *,
        authority: Authority | None = None,
        clock: Callable[[], float] | None = None,
        on_event: Hook | Iterable[Hook] = (),
    ) -> None:
        self._settings = settings
        self._store = store
        self._authority = authority
        self._clock = clock
        self._on_event = on_event
        self._gates: list[Gate] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, *, store: Any = None, clock: Callable[[], float] | None = None) -> None:
        """Wrap an app; its configuration must be complete by now, its routes and Flask-Login may follow.

        Args:
            app: the app.
            store: as in the constructor, for this app; by default the constructor's.
            clock: as in the constructor, for this app; by default the constructor's.

        Raises:
            SettingsError: something given makes no sense, or the app is wrapped already.
        """
        if EXTENSION in app.extensions:
            raise SettingsError("app", app.name, "has a SessionLifetime already.", "Wrap an app once.")
        settings = _settings_of(app, self._settings)
        store = self._store if store is None else store

        def resolve_login(facts: RequestFacts, url: str) -> str:
            return gate.login_url(facts, url)

        engine = attach(
            settings,
            store,
            runtime=ThreadRuntime(),
            authority=self._authority,
            clock=self._clock if clock is None else clock,
            on_event=self._on_event,
            folder=_folder(app, store),
            url=app.config.get(STORE_URL),
            resolve_login=resolve_login,
        )
        gate = Gate(app, engine)
        app.extensions[EXTENSION] = gate
        app.context_processor(lambda: {"session_client": session_client})
        self._gates.append(gate)

    @property
    def engine(self) -> Engine:
        """The engine behind the current app, or behind the only one."""
        return self._gate.engine

    @property
    def sessions(self) -> Sessions:
        """All sessions in the store: for a password reset, a ban, a shell; usable outside a request."""
        return self._gate.sessions

    @property
    def _gate(self) -> Gate:
        if has_app_context():
            gate: Gate | None = current_app.extensions.get(EXTENSION)
            if gate in self._gates:
                return gate
        if len(self._gates) != 1:
            raise SessionNotAttached(
                f"This SessionLifetime wraps {len(self._gates)} apps, so which one is meant must be said: "
                "call init_app(app) first, or use it inside `with app.app_context()`."
            )
        return self._gates[0]


def _settings_of(app: Flask, settings: Settings | None) -> Settings:
    if settings is None:
        needed = "SESSION_LIFETIME_SECRET_KEYS" not in app.config
        given: dict[str, Any] = {"secret_keys": _flask_keys(app)} if needed else {}
        settings = Settings.from_mapping(app.config, **given)
    elif isinstance(settings, Settings) and not settings.secret_keys:
        settings = settings.replace(secret_keys=_flask_keys(app))
    taken = app.config["SESSION_COOKIE_NAME"]
    if isinstance(settings, Settings) and taken in (settings.token_cookie, settings.jwt_cookie):
        raise SettingsError(
            "cookie_name",
            settings.cookie_name,
            f"makes a cookie called {taken!r}, which is Flask's own (SESSION_COOKIE_NAME).",
            "Set cookie_name to another name, for example 'signed_in'.",
        )
    return settings


def _flask_keys(app: Flask) -> list[str | bytes]:
    """Return Flask's own keys, the signing one first.

    Raises:
        SettingsError: there is none, or one is too weak.
    """
    make = 'Make one with: python -c "import secrets; print(secrets.token_urlsafe(48))"'
    if not app.secret_key:
        raise SettingsError("SECRET_KEY", app.secret_key, "is not set, and sessions are signed with it.", make)
    keys = [app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or ())]
    for position, key in enumerate(keys):
        try:
            Settings(secret_keys=[key])
        except SettingsError as weak:
            name = "SECRET_KEY" if position == 0 else f"SECRET_KEY_FALLBACKS[{position - 1}]"
            raise SettingsError(name, weak.value, "is too weak to sign sessions with.", make) from None
    return keys


def _folder(app: Flask, store: object) -> Path | None:
    """Return where the default store's file goes, making the folder; None where no file is needed.

    Raises:
        SettingsError: the folder cannot be made, or SESSION_STORE_URL is no text.
    """
    if store is not None or store_url(app.config.get(STORE_URL)):
        return None
    folder = Path(app.instance_path)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise SettingsError(
            "instance_path",
            app.instance_path,
            f"cannot be made ({problem.strerror}), and sessions are kept there by default.",
            "Set SESSION_STORE_URL, for example sqlite:////var/lib/app/sessions.db, or give store=.",
        ) from None
    return folder


def _attached(request: Request | None) -> tuple[Request, WSGIExchange]:
    if request is None:
        try:
            request = current_request()
        except RuntimeError:
            raise SessionNotAttached(
                "session_from() was called outside a request. For work outside requests use `sessions` of the "
                "SessionLifetime object."
            ) from None
    x: WSGIExchange | None = request.environ.get(KEY)
    if x is None:
        gate: Gate | None = current_app.extensions.get(EXTENSION) if has_app_context() else None
        if gate is None:
            raise SessionNotAttached("This app is not wrapped. Write SessionLifetime(app), or call init_app(app).")
        x = gate.exchange(request)
    return request, x


def session_from(request: Request | None = None) -> Session:
    """Return the session of a request, by default of the current one.

    Raises:
        SessionNotAttached: there is no request, or its app is not wrapped.
    """
    try:  # asked here: the call would cost as much as the answer
        x: WSGIExchange = (current_request() if request is None else request).environ[KEY]
    except (RuntimeError, KeyError):
        _, x = _attached(request)
    return session_of(x.engine, x)


def safe_return_to(default: str = "/", request: Request | None = None) -> str:
    """Return where to go after login: the return parameter if it is a path on this host, else `default` (L15).

    Raises:
        SessionNotAttached: there is no request, or its app is not wrapped.
    """
    current, x = _attached(request)
    return return_path(current.environ.get("QUERY_STRING", ""), x.engine.return_param, default)


def session_client(**options: str) -> ScriptTag:
    """Return the tag that loads the browser script; in templates: `{{ session_client() }}` (docs/client.md).

    Args:
        options: as `session_middleware.client.script_tag` takes them.

    Raises:
        SessionNotAttached: there is no request, or its app is not wrapped.
        SettingsError: there is no such option.
    """
    current, x = _attached(None)
    return script_tag(x.engine.settings.endpoint_prefix, WSGIFacts(current.environ).mount, **options)
