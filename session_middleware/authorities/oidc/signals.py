"""SharedSignals: where security events about a provider's users come from (Shared Signals Framework 1.0, CAEP 1.0)."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from session_middleware.authorities.base import Attached
from session_middleware.authorities.calls import Calls
from session_middleware.authorities.keys import KeyCache, KeySource
from session_middleware.errors import SettingsError

if TYPE_CHECKING:
    import httpx2

__all__ = ["SharedSignals"]


class SharedSignals:
    """A transmitter that pushes security events to `{app_url}/session/security-events` (RFC 8935).

    `session-revoked` ends the sessions it names; `credential-change` and `assurance-level-change` make their users prove who
    they are before the next `fresh_login_required`. Other events are taken note of.

    Args:
        audience: what the transmitter calls this receiver, `aud` of its tokens.
        issuer: the transmitter's issuer; None where it is the provider itself, whose keys then hold.
        jwks_uri: where the transmitter publishes its keys; required with `issuer`.
        timeout: seconds for a call.
        client: an httpx2 client of the app's own.
        insecure_dev: accept http beyond this machine.

    Raises:
        SettingsError: a value makes no sense.

    Example:
        >>> SharedSignals("https://shop.example/caep")
        <SharedSignals for https://shop.example/caep>
    """

    def __init__(
        self,
        audience: str,
        *,
        issuer: str | None = None,
        jwks_uri: str | None = None,
        timeout: float = 3.0,
        client: httpx2.Client | httpx2.AsyncClient | None = None,
        insecure_dev: bool = False,
    ) -> None:
        if not isinstance(audience, str) or not audience:
            raise SettingsError("audience", audience, "is no audience.", "Copy it from the stream at the transmitter.")
        if (issuer is None) is not (jwks_uri is None):
            raise SettingsError(
                "jwks_uri", jwks_uri, "goes with issuer.", "Give both for a transmitter of its own, or neither."
            )
        self.audience, self.issuer = audience, issuer
        self.key_source: KeySource | None = None
        self._calls: Calls | None = None
        self._path = ""
        if jwks_uri is not None:
            parts = urlsplit(str(jwks_uri))
            self._calls = Calls(
                f"{parts.scheme}://{parts.netloc}", timeout=timeout, client=client, insecure_dev=insecure_dev
            )
            self._path = jwks_uri
        self._cache = KeyCache()

    def __repr__(self) -> str:
        return f"<SharedSignals for {self.audience}>"

    def attached(self, to: Attached) -> SharedSignals:
        """Return the same transmitter as one app reaches it."""
        signals = copy(self)
        if self._calls is not None:
            signals.key_source = KeySource(self._calls.attached(to), to.runtime, self._address, self._cache)
        return signals

    async def _address(self, now: float) -> str:
        return self._path
