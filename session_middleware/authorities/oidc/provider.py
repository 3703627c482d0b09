"""The provider as one process reaches it: its metadata and keys, fetched when needed and kept, and its token endpoint.

What was fetched once serves on while the provider is down; only what was never fetched makes a request fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, quote_plus, urlsplit

from session_middleware.authorities.base import Attached
from session_middleware.authorities.calls import Answered, Calls, ProviderFault
from session_middleware.authorities.keys import COOL_DOWN, FRESH_FOR, PATIENCE, KeyCache, KeySource, document
from session_middleware.runtime import OneFlight, Runtime, ThreadRuntime

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "ClientAuthentication",
    "GrantRefused",
    "Metadata",
    "Provider",
    "TokenAnswer",
]

ClientAuthentication = Literal["client_secret_basic", "client_secret_post", "none"]


class GrantRefused(Exception):
    """The provider refused a code or a refresh token: an answer, not a fault.

    Attributes:
        error: its short word for it (RFC 6749 §5.2), such as "invalid_grant".
    """

    def __init__(self, error: str) -> None:
        super().__init__(f"The provider refused the grant: {error}.")
        self.error = error


@dataclass(frozen=True, slots=True)
class Metadata:
    """What of a provider's discovery document is used (OpenID Connect Discovery 1.0 §3).

    Attributes:
        says_issuer: whether it puts `iss` into each answer (RFC 9207 §3), so that one without is refused.
    """

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None = None
    revocation_endpoint: str | None = None
    says_issuer: bool = False


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What a token endpoint gave; its repr shows no token.

    Attributes:
        lives: seconds for which the access token lives, None where the provider does not say.
    """

    id_token: str | None = field(repr=False)
    access_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    lives: float | None


class _Discovered:
    """What a process holds of a provider's metadata."""

    def __init__(self) -> None:
        self.flights = OneFlight()
        self.held: Metadata | None = None
        self.fetched_at = float("-inf")
        self.asked_at = float("-inf")


class Provider:
    """One OpenID provider, and what we are there.

    Args:
        issuer: its issuer identifier, to the letter.
        client_id: ours.
        client_secret: ours; None for a public client.
        authentication: how we prove who we are at the token endpoint.
        timeout: seconds for one call.
        client: an httpx2 client of the app's own.
        insecure_dev: accept http beyond this machine.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        *,
        authentication: ClientAuthentication,
        timeout: float = 3.0,
        client: httpx2.Client | httpx2.AsyncClient | None = None,
        insecure_dev: bool = False,
    ) -> None:
        self.issuer, self.client_id = issuer, client_id
        self._secret, self._authentication = client_secret, authentication
        self.calls = Calls(issuer, timeout=timeout, client=client, insecure_dev=insecure_dev)
        self._runtime: Runtime = ThreadRuntime()
        self._discovered, self._keys = _Discovered(), KeyCache()

    def __repr__(self) -> str:
        return f"<Provider {self.issuer} for {self.client_id}>"

    def attached(self, to: Attached) -> Provider:
        """Return the same provider as one app reaches it; what is known of it is shared."""
        provider = copy(self)
        provider.calls, provider._runtime = self.calls.attached(to), to.runtime
        return provider

    @property
    def key_source(self) -> KeySource:
        """The keys that its discovery document names."""
        return KeySource(self.calls, self._runtime, self._jwks_uri, self._keys)

    async def metadata(self, now: float) -> Metadata:
        """Return the provider's metadata.

        Raises:
            ProviderFault: it could not be fetched, and none was held.
        """
        known = self._discovered
        held = known.held
        if held is not None and (0 <= now - known.fetched_at < FRESH_FOR or 0 <= now - known.asked_at < COOL_DOWN):
            return held
        try:
            return await known.flights.run(self._runtime, "metadata", lambda: self._discover(now), PATIENCE)
        except (ProviderFault, TimeoutError):
            if held is None:
                raise
            return held

    async def _discover(self, now: float) -> Metadata:
        self._discovered.asked_at = now
        answered = await self.calls.ask("GET", "/.well-known/openid-configuration")
        found = document(answered)
        if found.get("issuer") != self.issuer:
            # Discovery 1.0 §4.3: to the letter. A slash at the end is the usual difference (Auth0 has one).
            raise ProviderFault("garbage", f"{answered.where}: its issuer is not {self.issuer!r}; copy it from there.")
        metadata = Metadata(
            self._endpoint(answered, found, "authorization_endpoint"),
            self._endpoint(answered, found, "token_endpoint"),
            self._endpoint(answered, found, "jwks_uri"),
            self._endpoint(answered, found, "end_session_endpoint") if found.get("end_session_endpoint") else None,
            self._endpoint(answered, found, "revocation_endpoint") if found.get("revocation_endpoint") else None,
            found.get("authorization_response_iss_parameter_supported") is True,
        )
        self._discovered.held, self._discovered.fetched_at = metadata, now
        return metadata

    def _endpoint(self, answered: Answered, found: Mapping[str, Any], name: str) -> str:
        url = found.get(name)
        if isinstance(url, str):
            parts = urlsplit(url)
            # What is asked about with secrets must not be less protected than the issuer itself.
            if parts.hostname and parts.scheme in ("https", urlsplit(self.issuer).scheme):
                return url
        raise ProviderFault("garbage", f"{answered.where}: {name} is no address that can be used.")

    async def _jwks_uri(self, now: float) -> str:
        return (await self.metadata(now)).jwks_uri

    # --- tokens ------------------------------------------------------------------------------------------------

    async def exchange(self, now: float, code: str, verifier: str, redirect_uri: str) -> TokenAnswer:
        """Exchange a code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5). A code can be used once, so it is sent once.

        Raises:
            GrantRefused: the provider does not take the code.
            ProviderFault: it did not answer, or not as it should.
        """
        grant = {"code": code, "code_verifier": verifier, "redirect_uri": redirect_uri}
        return await self._token(now, "authorization_code", grant)

    async def refresh(self, now: float, refresh_token: str) -> TokenAnswer:
        """Use a refresh token (RFC 6749 §6). Never sent twice: where it rotates, a second use ends the whole family.

        Raises:
            GrantRefused: the provider does not take it any more.
            ProviderFault: it did not answer, or not as it should; whether it has used the token up is not known.
        """
        return await self._token(now, "refresh_token", {"refresh_token": refresh_token})

    async def revoke(self, now: float, refresh_token: str) -> None:
        """Revoke a refresh token (RFC 7009), where the provider can.

        Raises:
            ProviderFault: it did not answer.
        """
        endpoint = (await self.metadata(now)).revocation_endpoint
        if endpoint is not None:
            await self._post(endpoint, f"token={quote_plus(refresh_token)}&token_type_hint=refresh_token")

    async def _token(self, now: float, grant: str, fields: Mapping[str, str]) -> TokenAnswer:
        from authlib.oauth2.rfc6749.parameters import prepare_token_request

        endpoint = (await self.metadata(now)).token_endpoint
        answered = await self._post(endpoint, prepare_token_request(grant, **fields))
        found = answered.object()
        if answered.status != 200:
            error = found.get("error")
            if error in ("invalid_grant", "invalid_request") or (answered.status == 403 and error == "access_denied"):
                raise GrantRefused(str(error))
            if answered.status in (400, 401, 403):  # invalid_client, unauthorized_client ...: the operator's to mend
                raise ProviderFault(
                    "credentials", f"{answered.where}: the provider refuses this client ({_word(error)})."
                )
            raise ProviderFault("garbage", f"{answered.where}: an answer {answered.status} that means nothing here.")
        lives = found.get("expires_in")
        texts = [found.get(name) for name in ("id_token", "access_token", "refresh_token")]
        if not all(text is None or isinstance(text, str) for text in texts):
            raise ProviderFault("garbage", f"{answered.where}: a token that is no text.")
        if isinstance(lives, bool) or not isinstance(lives, (int, float)) or not 0 < lives < 1e9:
            lives = None
        return TokenAnswer(texts[0], texts[1], texts[2], lives)

    async def _post(self, url: str, body: str) -> Answered:
        from authlib.oauth2.auth import ClientAuth

        id, secret = self.client_id, self._secret or ""
        if self._authentication == "client_secret_basic":
            id, secret = quote_plus(id), quote_plus(secret)  # RFC 6749 §2.3.1; Authlib leaves it to the caller
        sign: Any = ClientAuth(id, secret, self._authentication)  # Any: Authlib's stubs leave `prepare` untyped
        _, headers, body = sign.prepare("POST", url, {}, body)
        form = dict(parse_qsl(body, keep_blank_values=True))
        return await self.calls.ask("POST", url, form=form, headers=headers, safe=False)


def _word(error: object) -> str:
    """Return an error of the provider's if it is a word as RFC 6749 §5.2 has them, for a message."""
    return error if isinstance(error, str) and len(error) <= 64 and error.replace("_", "").isalnum() else "no reason"
