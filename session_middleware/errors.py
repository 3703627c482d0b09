"""The six exceptions of the package, each with a stable code; expected outcomes are `Verdict` values instead."""

from __future__ import annotations

__all__ = [
    "InvalidToken",
    "RecordUnreadable",
    "ResponseAlreadyStarted",
    "SessionError",
    "SessionNotAttached",
    "SettingsError",
    "StoreUnavailable",
]


class SessionError(Exception):
    """Base of every exception raised by this package.

    Attributes:
        code: a stable, machine-readable name; messages may be reworded, codes are not.
    """

    code: str = "session_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class SettingsError(SessionError, ValueError):
    """A setting, or a value given to a verb of the session, makes no sense.

    Attributes:
        field: the setting or argument that is wrong.
        value: what was given, masked where it is a secret.
        fix: what to write instead.
    """

    code = "settings"

    def __init__(self, field: str, value: object, problem: str, fix: str) -> None:
        self.field = field
        self.value = value
        self.fix = fix
        self._problem = problem
        super().__init__(f"{field}={value!r}: {problem} {fix}")

    def __reduce__(self) -> tuple[type[SettingsError], tuple[str, object, str, str]]:
        # A worker process hands its errors on pickled.
        return type(self), (self.field, self.value, self._problem, self.fix)


class SessionNotAttached(SessionError, RuntimeError):
    """The request did not pass through the middleware, or the wrong accessor was called for this kind of view."""

    code = "not_attached"


class ResponseAlreadyStarted(SessionError, RuntimeError):
    """A verb that needs a cookie was called after the response headers had been sent."""

    code = "response_started"


class StoreUnavailable(SessionError):
    """The store or the authority did not answer, so nothing is known about the session (rule L17)."""

    code = "store_unavailable"


class RecordUnreadable(SessionError, ValueError):
    """The store holds something under this key that is not a session record of a version we read, or is another's.

    Attributes:
        fix: what an operator can do about it.
    """

    code = "record_unreadable"
    fix = "Deploy the version that wrote it, or delete it from the store: its user then signs in again."


class InvalidToken(SessionError, ValueError):
    """A token or a session JWT did not verify; the message never contains the token."""

    code = "invalid_token"
