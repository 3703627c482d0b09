"""What a StytchAuthority is told, checked before the first request."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from session_middleware.authorities.calls import Calls
from session_middleware.errors import SettingsError

if TYPE_CHECKING:
    import httpx2

__all__ = ["LONGEST", "SHORTEST", "Options", "checked_flag"]

TEST: Final = "https://test.stytch.com"
LIVE: Final = "https://api.stytch.com"

#: Minutes that Stytch takes for a session.
SHORTEST: Final = 5
LONGEST: Final = 527_040

#: Seconds for which Stytch makes a JWT; to believe one for longer would mean nothing.
JWT_LIFETIME: Final = 300.0


#: A path of this host, nothing that a browser would take for another one.
_PATH: Final = re.compile(r"/(?![/\\])[A-Za-z0-9/._~-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of `StytchAuthority` that are no cookie's.

    Raises:
        SettingsError: one makes no sense.
    """

    project_id: str
    secret: str = field(repr=False)
    base_url: str | None
    session_duration_minutes: int | None
    given_interval: float | None
    custom_claims: Sequence[str]
    max_token_age: float
    timeout: float
    client: httpx2.Client | httpx2.AsyncClient | None = field(repr=False)
    insecure_dev: bool
    b2b: bool
    organization_login_path: str | None
    verify_interval: float
    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.project_id, str) or not self.project_id.startswith("project-"):
            raise SettingsError(
                "project_id", self.project_id, "is no id of a Stytch project.", "Copy it from Project overview."
            )
        if not isinstance(self.secret, str) or not self.secret:
            raise SettingsError("secret", "***", "is no secret.", "Copy it from Project overview > API keys.")
        minutes = self.session_duration_minutes
        if minutes is not None and (type(minutes) is not int or not SHORTEST <= minutes <= LONGEST):
            raise SettingsError(
                "session_duration_minutes",
                minutes,
                "is no duration that Stytch takes.",
                f"Give an integer from {SHORTEST} to {LONGEST}, or None.",
            )
        interval = self.given_interval
        if interval is not None and (minutes is None or not _is_number(interval) or not 0 < interval < minutes * 60):
            raise SettingsError(
                "extend_interval",
                interval,
                "is no time between extensions.",
                "Give seconds, fewer than session_duration_minutes has, which must be set too.",
            )
        if not _is_number(self.max_token_age) or not 0 <= self.max_token_age <= JWT_LIFETIME:
            raise SettingsError(
                "max_token_age", self.max_token_age, "is no age of a JWT.", f"Give seconds from 0 to {JWT_LIFETIME:g}."
            )
        if isinstance(self.custom_claims, str) or any(not isinstance(n, str) or not n for n in self.custom_claims):
            raise SettingsError(
                "custom_claims",
                self.custom_claims,
                "are no names of claims.",
                'Give a list of texts, such as ["plan"].',
            )
        if not _is_number(self.verify_interval) or not 0 <= self.verify_interval < math.inf:
            raise SettingsError("verify_interval", self.verify_interval, "is no time.", "Give seconds, 0 or more.")
        if not isinstance(self.name, str) or not 0 < len(self.name.strip()) == len(self.name) <= 64:
            raise SettingsError("name", self.name, "names no authority.", "Give a short text.")
        for flag in ("insecure_dev", "b2b"):
            checked_flag(flag, getattr(self, flag))
        path = self.organization_login_path
        if path is not None and (not self.b2b or not isinstance(path, str) or not _PATH.fullmatch(path)):
            raise SettingsError(
                "organization_login_path",
                path,
                "is no page for members of other organizations.",
                "Give a path of this host such as /login/organization, without a query, and b2b=True.",
            )

    @property
    def extend_interval(self) -> float:
        """Seconds between two extensions by activity."""
        if self.given_interval is not None:
            return self.given_interval
        return max(60.0, (self.session_duration_minutes or 0) * 10.0)

    @property
    def issuers(self) -> tuple[str, ...]:
        """What `iss` of a JWT may be; with an API domain of one's own that address too."""
        own = () if self.base_url is None else (self.base_url.rstrip("/"),)
        return (f"stytch.com/{self.project_id}", *own)

    @property
    def basic(self) -> str:
        """The project's credentials as the Authorization header has them (RFC 7617 §2); a secret."""
        return "Basic " + b64encode(f"{self.project_id}:{self.secret}".encode()).decode()

    def calls(self) -> Calls:
        """Return what calls the project's API.

        Raises:
            SettingsError: the address or the time limit makes no sense, or httpx2 or joserfc is missing.
        """
        try:
            import joserfc.jwk
            import joserfc.jws  # noqa: F401  # what the first JWT needs is loaded now, not while a loop waits
        except ImportError:
            raise SettingsError(
                "authority",
                "Stytch",
                "makes session JWTs, and to verify them needs joserfc.",
                "Install the extra: pip install 'session-middleware[stytch]'.",
            ) from None
        default = LIVE if self.project_id.startswith("project-live-") else TEST
        return Calls(
            self.base_url or default,
            timeout=self.timeout,
            client=self.client,
            insecure_dev=self.insecure_dev,
        )


def checked_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False: "false" would count as true.

    Raises:
        SettingsError: it is neither.
    """
    if not isinstance(value, bool):
        raise SettingsError(name, value, "is neither True nor False.", "Give one of them.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
