"""KratosStandIn: Ory Kratos for those who develop and test offline, the unpleasant parts included.

It answers what an app that leaves its sessions to Kratos asks: whoami, extension, the end of sessions, login flows with
first and second factor, logout. What it says follows Kratos' source and tests (github.com/ory/kratos, v25.4 and v26.2),
not the vendor's prose where the two differ.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from threading import RLock
from typing import Any
from wsgiref.types import StartResponse

from session_middleware.testing.stand_ins._faults import Answer
from session_middleware.testing.stand_ins._kratos_admin import AdminListener
from session_middleware.testing.stand_ins._kratos_faults import KratosFaults
from session_middleware.testing.stand_ins._kratos_public import PublicListener
from session_middleware.testing.stand_ins._kratos_wire import KratosCall, Problem
from session_middleware.testing.stand_ins._kratos_world import Identity, KratosWorld, Row

__all__ = ["KratosCall", "KratosCredential", "KratosStandIn"]

#: On both listeners (ory/x nocache.go): no answer of Kratos may be kept by a cache.
UNCACHED = ("Cache-Control", "private, no-cache, no-store, must-revalidate")


@dataclass(frozen=True, slots=True)
class KratosCredential:
    """A session as its holder knows it.

    Attributes:
        id: of the session.
        identity: whose it is.
        token: what an API client sends as `X-Session-Token`.
        cookie: what a browser sends as `Cookie`, the name included.
    """

    id: str
    identity: str
    token: str
    cookie: str

    def __repr__(self) -> str:
        return f"KratosCredential(id={self.id!r}, identity={self.identity!r})"


class KratosStandIn:
    """Ory Kratos' two listeners as two WSGI callables, `public` and `admin`; safe with threads.

    Args:
        lifespan: `session.lifespan`, in seconds.
        clock: tells Kratos' time in seconds since the epoch; a `FakeClock` shared with the app keeps both in step.
        earliest_possible_extend: `session.earliest_possible_extend`, in seconds before the expiry; None is Kratos'
            default, the whole lifespan, so that each call extends.
        faster_session_extend: `feature_flags.faster_session_extend`: extend answers 204 instead of 200.
        required_aal: `session.whoami.required_aal`, "highest_available" or "aal1".
        admin_token: what the admin listener demands as a bearer (Ory Network); None demands nothing (self-hosted).
        cookie_name: `session.cookie.name`.
        cookie_persistent: `session.cookie.persistent`.
        allowed_return_urls: `selfservice.allowed_return_urls`; Kratos' own public URL is always among them.

    Attributes:
        calls: every request that arrived, the earliest first.
        faults: what goes wrong; see `KratosFaults`.

    Raises:
        ValueError: `required_aal` is none, or a time is not positive.

    Example:
        >>> from urllib.request import Request, urlopen
        >>> from session_middleware.testing.stand_ins import served
        >>> kratos = KratosStandIn()
        >>> alice = kratos.begin_session(kratos.add_identity("alice@example.org", "correct horse"))
        >>> with served(kratos.public) as public_url:
        ...     answer = urlopen(Request(public_url + "/sessions/whoami", headers={"Cookie": alice.cookie}))
        >>> answer.status, kratos.calls[0].path
        (200, '/sessions/whoami')
    """

    def __init__(
        self,
        *,
        lifespan: float = 86_400.0,
        clock: Callable[[], float] = time.time,
        earliest_possible_extend: float | None = None,
        faster_session_extend: bool = False,
        required_aal: str = "highest_available",
        admin_token: str | None = None,
        cookie_name: str = "ory_kratos_session",
        cookie_persistent: bool = True,
        allowed_return_urls: Sequence[str] = (),
    ) -> None:
        if required_aal not in ("highest_available", "aal1"):
            raise ValueError(f'required_aal={required_aal!r}: give "highest_available" or "aal1".')
        if lifespan <= 0 or (earliest_possible_extend is not None and earliest_possible_extend <= 0):
            raise ValueError("lifespan and earliest_possible_extend are seconds above 0.")
        self._world = KratosWorld(
            lifespan=lifespan,
            clock=clock,
            earliest_possible_extend=earliest_possible_extend,
            required_aal=required_aal,
            cookie_name=cookie_name,
            cookie_persistent=cookie_persistent,
            allowed_return_urls=allowed_return_urls,
        )
        self._listeners: dict[str, Callable[[KratosCall], Answer]] = {
            "public": PublicListener(self._world).answer,
            "admin": AdminListener(self._world, token=admin_token, faster_session_extend=faster_session_extend).answer,
        }
        self._lock = RLock()
        self.calls: list[KratosCall] = []
        self.faults = KratosFaults()

    def __repr__(self) -> str:
        return f"KratosStandIn({len(self._world.identities)} identities, {len(self._world.rows)} sessions)"

    # --- the two listeners ---------------------------------------------------------------------------------------

    def public(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer what browsers and apps may reach (PEP 3333)."""
        return self._serve("public", environ, start_response)

    def admin(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer `/admin/...` (PEP 3333)."""
        return self._serve("admin", environ, start_response)

    def _serve(self, listener: str, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        call = KratosCall.read(listener, environ)
        with self._lock:
            self.calls.append(call)
        answer = self.faults.through(call.path, lambda: self._answer(call))
        call.status = answer.status
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", [UNCACHED, *answer.headers])
        return [answer.body]

    def _answer(self, call: KratosCall) -> Answer:
        with self._lock:
            try:
                return self._listeners[call.listener](call)
            except Problem as problem:
                return problem.answer()

    def count(self, path: str = "/", *, method: str | None = None) -> int:
        """Return how many requests came to a path or below it."""
        with self._lock:
            return sum(call.path.startswith(path) and method in (None, call.method) for call in self.calls)

    # --- arranging the world -------------------------------------------------------------------------------------

    def add_identity(
        self,
        identifier: str,
        password: str,
        *,
        totp_code: str | None = None,
        traits: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a person and return their identity's id.

        Args:
            identifier: what they sign in with.
            password: of the first factor.
            totp_code: the one code that their second factor takes; None gives them none.
            traits: what the app's identity schema holds; an `email` by default.
        """
        id = str(uuid.uuid4())
        held = {"email": identifier} if traits is None else dict(traits)
        with self._lock:
            self._world.identities[id] = Identity(id, identifier, password, totp_code, held, self._world.now)
        return id

    def begin_session(self, identity: str, *, aal: str = "aal1", user_agent: str = "") -> KratosCredential:
        """Sign somebody in without a flow and return what they hold.

        Args:
            identity: the id that `add_identity` returned.
            aal: "aal2" passes both factors.
            user_agent: of the device.
        """
        with self._lock:
            row = self._world.new_row(self._world.identities[identity], user_agent)
            self._world.pass_factor(row, "password", "aal1")
            if aal == "aal2":
                self._world.pass_factor(row, "totp", "aal2")
            return self._credential(row)

    def credential(self, session: str) -> KratosCredential:
        """Return what the holder of a session has, with a cookie as Kratos would set it now."""
        with self._lock:
            return self._credential(self._world.rows[session])

    def _credential(self, row: Row) -> KratosCredential:
        cookie = f"{self._world.cookie_name}={self._world.seal_cookie(row)}"
        return KratosCredential(row.id, row.identity.id, row.token, cookie)

    def session(self, session: str) -> dict[str, Any] | None:
        """Return a session as the API shows it now; None for a row that is not there."""
        with self._lock:
            row = self._world.rows.get(session)
            return None if row is None else self._world.as_json(row)

    def revoke(self, session: str) -> None:
        """End a session; its row is kept."""
        with self._lock:
            self._world.rows[session].flag = False

    def disable(self, identity: str) -> None:
        """Disable a person: their sessions count no more, but their rows stay as they are."""
        with self._lock:
            self._world.identities[identity].active = False

    def clean_up(self) -> None:
        """Delete the rows that are over, as `kratos cleanup sql` does."""
        with self._lock:
            for row in [row for row in self._world.rows.values() if row.expires_at <= self._world.now]:
                del self._world.rows[row.id]

    def lose_races(self, times: int = 1) -> None:
        """Let another request win the next extensions: they are answered 404, and the session is extended all the same."""
        with self._lock:
            self._world.races_to_lose = times

    def set_clock_off(self, seconds: float) -> None:
        """Let Kratos' clock differ from the app's by so many seconds."""
        self._world.clock_offset = seconds
