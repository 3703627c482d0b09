"""One request of Django's as an exchange, with what else is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from django.conf import settings as conf

from session_middleware.adapters._emptied import EMPTIED
from session_middleware.core.exchange import Exchange, RequestFacts
from session_middleware.runtime import on_loop

if TYPE_CHECKING:
    from session_middleware.adapters._django_setup import Side

__all__ = ["KEY", "Attached", "joined"]

#: The attribute of a request under which we keep its exchange.
KEY: Final = "_session_lifetime"


class Attached(Exchange):
    """An exchange that is its own facts (RequestFacts). It holds no reference to the request, which holds it.

    One object for all, made without an `__init__`: each that is made for every request costs a twentieth of what we may add
    to one, and an `__init__` as much again (measured). `SessionLifetimeMiddleware` makes them.

    Attributes:
        side: what serves it.
        meta: Django's `request.META`.
        method: in capitals.
        path: decoded, below the mount.
        framework: Django's session, None where the project has none.
        failed: the app raised instead of answering (L25).
        settled: whether it has been found out who Django's user is.
        user: Django's user, once settled.
        unknown: nothing can be known of the user, because the store does not answer (L17).
        linked: the public id that Django's session is known to carry.
        adopted: the session of ours was begun by this middleware, not by the view.
        emptied: the public id of the session for whose end Django's was emptied, in this request or before it.
        had: whether there was a session of Django's to be emptied.
        given: what we put into request.user, until that is settled.
        find_user: what AuthenticationMiddleware put into request.user, None where logins are not bridged.
        find_auser: what it put into request.auser.
    """

    __slots__ = ("find_user", "framework", "meta", "method", "path", "side")

    side: Side
    meta: dict[str, Any]  # Any: a WSGI environ, under ASGI what Django makes of it
    method: str
    path: str
    framework: Any  # SessionBase | None
    find_user: Any  # SimpleLazyObject | None

    # Found on the class: most requests change none of them.
    failed = False
    settled = False
    unknown = False
    adopted = False
    emptied: str | None = None
    had = False
    linked: str | None = None
    user: Any = None  # AbstractBaseUser | AnonymousUser
    given: Any = None
    find_auser: Any = None
    scheme_said: str | None = None  # by the server, where that is not in META

    websocket = False

    written = (*Exchange.written, "settled", "user", "given", "linked", "find_auser")

    # One of ours would take as long as all that it has to do (measured).
    if TYPE_CHECKING:

        def __init__(self) -> None: ...
    else:
        __init__ = object.__init__

    @property
    def facts(self) -> RequestFacts:  # type: ignore[override]  # nobody gives it others
        return self

    @property
    def cookies(self) -> str:
        return str(self.shown)  # Django has decoded it

    @property
    def mount(self) -> str:
        return str(self.meta.get("SCRIPT_NAME", "")).rstrip("/")

    @property
    def target(self) -> str:
        whole = (self.mount + self.path).encode("utf-8", "surrogatepass")
        path, query = quote(whole, safe="/:;,@&=+$!*'()~"), self.meta.get("QUERY_STRING", "")
        return f"{path}?{query}" if query else path

    @property
    def scheme(self) -> str:
        trusted = conf.SECURE_PROXY_SSL_HEADER
        if trusted:
            said = self.meta.get(trusted[0])
            if said is not None:
                return "https" if said.split(",", 1)[0].strip() == trusted[1] else "http"
        return self.scheme_said or str(self.meta.get("wsgi.url_scheme", "http"))

    @property
    def host(self) -> str:
        if conf.USE_X_FORWARDED_HOST and "HTTP_X_FORWARDED_HOST" in self.meta:
            return str(self.meta["HTTP_X_FORWARDED_HOST"])
        return str(self.meta.get("HTTP_HOST", ""))

    @property
    def client(self) -> str | None:
        return self.meta.get("REMOTE_ADDR") or None

    def header(self, name: str) -> str | None:
        key = name.upper().replace("-", "_")
        value: str | None = self.meta.get(key if key in _BARE else "HTTP_" + key)
        return value

    def empty_session(self) -> Any:  # an awaitable on a loop, else None
        """Clear Django's session, in the way that the place allows (L26)."""
        session, over = self.framework, self.over
        if session is None:
            return None
        if on_loop():
            return self._empty_on_loop(session, over)
        showed = session.session_key is not None  # read, it is None where Django knows nothing under it
        noted = over is not None and session.get(EMPTIED) == over
        self.emptied, self.had = over, showed or bool(session.keys())
        if not noted:
            session.flush()
        return None

    async def _empty_on_loop(self, session: Any, over: str | None) -> None:  # Any: SessionBase
        showed = session.session_key is not None
        noted = over is not None and await session.aget(EMPTIED) == over
        self.emptied, self.had = over, showed or bool(await session.akeys())
        if not noted:
            await session.aflush()

    def note_emptied(self) -> None:
        """Have Django's session say for which end it was emptied, whatever the view has made of it meanwhile.

        A browser that had none, and for which the project has put nothing into one since, is given none.
        """
        over = self.emptied
        if over is None or self.deletes:
            return
        session = self.framework  # in memory: this waits for nothing
        if (session.keys() or (self.had and self.over == over)) and session.get(EMPTIED) != over:
            session[EMPTIED] = over


#: Request headers that CGI, and so Django, keeps under their own names.
_BARE = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


def joined(scope: dict[str, Any]) -> str:  # Any: ASGI puts anything there
    """Return the Cookie header of an ASGI request, which HTTP/2 may split over lines (RFC 9113 §8.2.3).

    Django joins header lines by commas.
    """
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
    return "; ".join(line for line in lines if line)
