"""What the Kratos stand-in remembers, and the rules of Kratos' sessions: rows, cookies, extension, assurance levels."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from session_middleware.testing.stand_ins._kratos_wire import KratosCall, Problem, moment

__all__ = ["Identity", "KratosWorld", "Row"]

#: Seconds for which gorilla/sessions reads a cookie whose store was given no other age.
GORILLA_AGE = 30 * 86_400.0


@dataclass(slots=True)
class Identity:
    """A person at Kratos.

    Attributes:
        id: a UUID.
        identifier: what they sign in with.
        password: of the first factor.
        totp_code: the one code that their second factor takes; None without one.
        traits: what the app's identity schema holds.
        active: False once an operator has disabled them.
        created_at: seconds since the epoch.
    """

    id: str
    identifier: str
    password: str = field(repr=False)
    totp_code: str | None = field(repr=False)
    traits: dict[str, Any]
    created_at: float
    active: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the identity as the API shows it."""
        return {
            "id": self.id,
            "schema_id": "default",
            "schema_url": "http://127.0.0.1/schemas/default",
            "state": "active" if self.active else "inactive",
            "traits": self.traits,
            "created_at": moment(self.created_at),
            "updated_at": moment(self.created_at),
        }


@dataclass(slots=True)
class Row:
    """A row of Kratos' table of sessions.

    Attributes:
        id: a UUID.
        token: what the cookie seals, and what API clients send; shown once, after login.
        logout_token: bound to the session.
        identity: whose it is.
        issued_at, authenticated_at, expires_at: seconds since the epoch.
        flag: the stored `active`; the `active` of the API is computed from it.
        methods: the factors passed.
        user_agent: of the client that signed in.
    """

    id: str
    token: str = field(repr=False)
    logout_token: str = field(repr=False)
    identity: Identity
    issued_at: float
    authenticated_at: float
    expires_at: float
    flag: bool = True
    methods: list[dict[str, Any]] = field(default_factory=list)
    user_agent: str = ""

    @property
    def aal(self) -> str:
        """The assurance level, computed from the factors passed."""
        return max((str(method["aal"]) for method in self.methods), default="aal0")

    def is_active(self, now: float, identity_loaded: bool = True) -> bool:
        """Say whether the session counts; one loaded without its identity does not see that it is disabled."""
        return self.flag and self.expires_at > now and (self.identity.active or not identity_loaded)


class KratosWorld:
    """The rows and the rules; see `KratosStandIn` for the arguments."""

    def __init__(
        self,
        *,
        lifespan: float,
        clock: Callable[[], float],
        earliest_possible_extend: float | None,
        required_aal: str,
        cookie_name: str,
        cookie_persistent: bool,
        allowed_return_urls: Sequence[str],
    ) -> None:
        self.lifespan = lifespan
        self.clock = clock
        self.clock_offset = 0.0
        self.earliest_possible_extend = lifespan if earliest_possible_extend is None else earliest_possible_extend
        self.required_aal = required_aal
        self.cookie_name = cookie_name
        self.cookie_persistent = cookie_persistent
        self.allowed_return_urls = tuple(allowed_return_urls)
        self.identities: dict[str, Identity] = {}
        self.rows: dict[str, Row] = {}
        self.races_to_lose = 0
        self._key = secrets.token_bytes(32)

    @property
    def now(self) -> float:
        """Kratos' own time, which may differ from the app's."""
        return self.clock() + self.clock_offset

    # --- sessions ------------------------------------------------------------------------------------------------

    def new_row(self, identity: Identity, user_agent: str = "") -> Row:
        """Return a row that is not stored and not signed in yet."""
        now = self.now
        token, logout = (f"ory_{kind}_{secrets.token_urlsafe(24)}" for kind in ("st", "lo"))
        return Row(str(uuid.uuid4()), token, logout, identity, now, now, now + self.lifespan, user_agent=user_agent)

    def pass_factor(self, row: Row, method: str, aal: str) -> None:
        """Record a factor: the session lives a whole lifespan from now; `issued_at` stays (kratos.md §5)."""
        now = self.now
        row.methods.append({"method": method, "aal": aal, "completed_at": moment(now)})
        row.flag, row.authenticated_at, row.expires_at = True, now, now + self.lifespan
        self.rows[row.id] = row

    def extend(self, id: str) -> None:
        """Extend a row. Neither too early nor too late is an error: Kratos checks that the row exists, and no more.

        Raises:
            Problem: 400 for what is no UUID, 404.
        """
        _check_uuid(id)
        if self.races_to_lose:
            self.races_to_lose -= 1
            if id in self.rows:
                self.rows[id].expires_at = self.now + self.lifespan  # whoever holds the lock extends it
            raise Problem(404, "The session is being extended by another request, or does not exist.")
        row = self.row(id)
        if row.expires_at - self.earliest_possible_extend < self.now:
            row.expires_at = self.now + self.lifespan

    def row(self, id: str) -> Row:
        """Return a row, alive or not.

        Raises:
            Problem: 400 for what is no UUID, 404.
        """
        _check_uuid(id)
        if id not in self.rows:
            raise Problem(404, message="Unable to locate the resource")
        return self.rows[id]

    def sessions_of(self, identity: str) -> list[Row]:
        """Return the rows of an identity, the latest first.

        Raises:
            Problem: 400 for what is no UUID.
        """
        _check_uuid(identity)
        found = [row for row in self.rows.values() if row.identity.id == identity]
        return sorted(found, key=lambda row: row.authenticated_at, reverse=True)

    def as_json(self, row: Row, *, with_identity: bool = True) -> dict[str, Any]:
        """Return a session as the API shows it."""
        return {
            "id": row.id,
            "active": row.is_active(self.now, with_identity),
            "expires_at": moment(row.expires_at),
            "authenticated_at": moment(row.authenticated_at),
            "authenticator_assurance_level": row.aal,
            "authentication_methods": list(row.methods),
            "issued_at": moment(row.issued_at),
            "identity": row.identity.as_json() if with_identity else None,
            "devices": [
                {"id": row.id, "ip_address": "127.0.0.1", "user_agent": row.user_agent, "location": ""},
            ],
        }

    # --- who is asking -------------------------------------------------------------------------------------------

    def asking(self, call: KratosCall, *, identity_loaded: bool = True) -> Row | None:
        """Return the live session of a request; None without one. Logout does not load the identity, disabled or not."""
        token = self.credential(call)
        for row in self.rows.values():
            if token and hmac.compare_digest(row.token, token):
                return row if row.is_active(self.now, identity_loaded) else None
        return None

    def credential(self, call: KratosCall) -> str:
        """Return the token of a request: `X-Session-Token`, else the cookie, else the bearer (extractToken)."""
        if call.headers.get("x-session-token"):
            return call.headers["x-session-token"]
        sealed = self.open_cookie(call)
        return str(sealed["session_token"]) if sealed is not None else call.bearer

    def lacks_factor(self, row: Row) -> bool:
        """Say whether the session is held up until a second factor has been passed."""
        wanted = self.required_aal == "highest_available" and row.identity.totp_code is not None
        return wanted and row.aal == "aal1"

    # --- the cookie ----------------------------------------------------------------------------------------------

    def seal_cookie(self, row: Row) -> str:
        """Return a cookie value; like Kratos' it carries the expiry that the row has now, and its own age."""
        inner = {
            "session_token": row.token,
            "expires_at": row.expires_at,
            "nonce": secrets.token_hex(4),
            "sealed_at": self.now,
        }
        text = base64.urlsafe_b64encode(json.dumps(inner).encode()).decode()
        return f"{text}.{self._mac(text)}"

    def open_cookie(self, call: KratosCall) -> dict[str, Any] | None:
        """Return what the request's cookie seals; None without one, for a forged one, and for one that is too old."""
        text, _, mac = (call.cookie(self.cookie_name) or "").rpartition(".")
        if not text or not hmac.compare_digest(mac.encode(), self._mac(text).encode()):
            return None
        inner: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
        oldest = self.now - (self.lifespan if self.cookie_persistent else GORILLA_AGE)
        return inner if inner["sealed_at"] >= oldest else None

    def cookie_line(self, row: Row) -> tuple[str, str]:
        """Return the Set-Cookie header for a session."""
        lasting = ""
        if self.cookie_persistent:
            expires = formatdate(row.expires_at, usegmt=True)
            lasting = f"; Expires={expires}; Max-Age={max(int(row.expires_at - self.now), 0)}"
        return "Set-Cookie", f"{self.cookie_name}={self.seal_cookie(row)}; Path=/{lasting}; HttpOnly; SameSite=Lax"

    def cookie_deletion(self) -> tuple[str, str]:
        """Return the Set-Cookie header that deletes the cookie."""
        past = "Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0"
        return "Set-Cookie", f"{self.cookie_name}=; Path=/; {past}; HttpOnly; SameSite=Lax"

    def _mac(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _check_uuid(text: str) -> None:
    try:
        uuid.UUID(text)
    except ValueError:
        raise Problem(400, f"{text!r} is no UUID.") from None
