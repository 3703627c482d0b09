"""Signing in at the provider: the routes `login` and `callback` (OpenID Connect Core 1.0 §3.1, RFC 7636, RFC 9207).

A sign-in that begins here leaves its state in this browser, under the id that goes out as `state`: nonce, PKCE verifier, where
to go afterwards, and what was asked. Only an answer that comes back to the same browser counts (login CSRF), once.
"""

from __future__ import annotations

import logging
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any, Final
from urllib.parse import quote, urlsplit

from session_middleware.authorities.base import Attached, ProviderLogin
from session_middleware.authorities.calls import ProviderFault
from session_middleware.authorities.oidc.claims import Expected, IdToken, id_token
from session_middleware.authorities.oidc.provider import GrantRefused, Provider, TokenAnswer
from session_middleware.authorities.routes import Answer, Ask, Begin, Page, Problem, Redirect, State
from session_middleware.authorities.signed import header_of, read_signed
from session_middleware.core.fields import Fields, text_of
from session_middleware.errors import InvalidToken

__all__ = ["Asking", "SignIn"]

_log = logging.getLogger("session_middleware.authorities.oidc")

#: Seconds within which a sign-in at the provider must be done: a person looks for a phone, or resets a password.
SIGN_IN_SECONDS: Final = 1_800.0

#: Seconds by which `auth_time` may seem to be before a sign-in that it comes after: both it and `iat` have whole seconds, and
#: `iat` was written while we waited for the answer.
ON_ITS_WAY: Final = 5.0

#: `max_age` of a sign-in that demands nothing: a year, so that the provider says `auth_time` all the same (Core §2, Auth0).
ANY_AGE: Final = 31_536_000

#: What the provider answers to `prompt=none` where the user has to do something there (Core §3.1.2.6).
NEEDS_USER: Final = frozenset(
    {"login_required", "consent_required", "interaction_required", "account_selection_required"}
)

#: Fields of an answer that are posted on; a provider may send others, which nobody here reads.
_ANSWER_FIELDS: Final = ("state", "code", "iss", "error", "error_description")

#: Of an ID token; Core says nothing of it, and providers write "JWT" or leave it out.
_ID_TOKEN_TYPS: Final = frozenset({None, "jwt", "id_token+jwt"})

_SCRIPT: Final = "document.forms[0].submit()"
_SCRIPT_HASH: Final = "sha256-" + b64encode(sha256(_SCRIPT.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked of the provider.

    Attributes:
        scope: the scopes.
        form_post: whether it posts its answer (OAuth 2.0 Form Post Response Mode); by query otherwise.
        algorithms: by which it may sign.
        max_age: seconds since the user's last proof that a sign-in accepts; None accepts any.
        demands_auth_time: whether an ID token without `auth_time` is refused.
        consents: whether the user is asked each time to consent, as offline access demands (Core §11).
        parameters: sent with each sign-in.
        passes: parameters of our login route that are passed on.
    """

    scope: str
    form_post: bool
    algorithms: frozenset[str]
    max_age: float | None
    demands_auth_time: bool
    consents: bool
    parameters: Mapping[str, str]
    passes: frozenset[str]


class SignIn:
    """The two routes.

    Args:
        provider: where people sign in.
        asking: what is asked.
        to: the app.
        app_url: where it is, mount included.
        accepted: makes of an ID token what our session begins with; given it, the instant of the proof, and all tokens.
    """

    def __init__(
        self,
        provider: Provider,
        asking: Asking,
        to: Attached,
        app_url: str,
        accepted: Callable[[IdToken, float, TokenAnswer, float], ProviderLogin],
    ) -> None:
        self._provider, self._asking, self._app, self._accepted = provider, asking, to, accepted
        #: Where the provider sends the browser back to: to be registered there.
        self.callback_url = f"{app_url}{to.prefix}/callback"

    # --- to the provider ---------------------------------------------------------------------------------------

    async def login(self, ask: Ask) -> Answer:
        """Send the browser to the provider."""
        query = ask.query
        asked = text_of(query, "prompt")
        reason = text_of(query, "reason")
        fresh = asked == "login" or reason in ("lifetime", "fresh_login")
        fresh = fresh or (reason == "inactivity" and not self._app.silent_sso)
        silent = asked == "none" and not fresh
        passed = {name: text for name in self._asking.passes if (text := text_of(query, name)) is not None}
        return await self._go(ask, _return_path(ask), fresh=fresh, silent=silent, passed=passed)

    async def _go(
        self, ask: Ask, to: str, *, fresh: bool, silent: bool, passed: Mapping[str, str], forget: tuple[str, ...] = ()
    ) -> Redirect:
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        challenge: Callable[[str], str] = create_s256_code_challenge
        asking = self._asking
        id, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        max_age = 0 if fresh else asking.max_age
        parameters: dict[str, Any] = {  # Any: texts, and numbers that become texts
            "nonce": nonce,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
            "max_age": ANY_AGE if max_age is None else int(max_age),
            **asking.parameters,
            **passed,
        }
        if asking.form_post:
            parameters["response_mode"] = "form_post"
        prompts = ["none"] if silent else ["login"] * fresh + ["consent"] * asking.consents
        if prompts:
            parameters["prompt"] = " ".join(prompts)
        endpoint = (await self._provider.metadata(ask.now)).authorization_endpoint
        url = prepare_grant_uri(
            endpoint,
            client_id=self._provider.client_id,
            response_type="code",
            redirect_uri=self.callback_url,
            scope=asking.scope,
            state=id,
            **parameters,
        )
        state = {"n": nonce, "v": verifier, "to": to, "at": ask.now, "fresh": fresh, "silent": silent, "age": max_age}
        return Redirect(url, {id: state}, SIGN_IN_SECONDS, forget)

    # --- and back ----------------------------------------------------------------------------------------------

    async def callback(self, ask: Ask) -> Answer:
        """Take the provider's answer from the query."""
        return await self._answered(ask, ask.query)

    async def posted_callback(self, ask: Ask) -> Answer:
        """Take the provider's answer from a form that its page posted.

        That request comes from another site, and a browser sends no Lax cookie with it. So the answer is posted once more, by
        a page of this host, and then the state is there; `SameSite=None` would let every site send it.
        """
        fields = await ask.form()
        if fields is None:
            return Problem(400, "unreadable", "The answer of the identity provider could not be read.")
        id = text_of(fields, "state")
        if id is not None and ask.recall(id) is None and "again" not in fields:
            return self._post_again(fields)
        return await self._answered(ask, fields)

    async def _answered(self, ask: Ask, fields: Fields) -> Answer:
        id = text_of(fields, "state")
        state = None if id is None else ask.recall(id)
        if id is None or state is None:
            return Problem(
                400, "state", "This sign-in was not begun in this browser, was answered already, or took too long."
            )
        done = (id,)
        issuer = text_of(fields, "iss")
        metadata = await self._provider.metadata(ask.now)
        if (issuer is not None or metadata.says_issuer) and issuer != self._provider.issuer:
            return Problem(400, "issuer", "This answer is from another identity provider.", forget=done)
        error, code = text_of(fields, "error"), text_of(fields, "code")
        if error is not None:
            return await self._not_signed_in(ask, state, error, done)
        if code is None:
            return Problem(400, "answer", "The answer of the identity provider could not be read.", forget=done)
        try:
            return await self._signed_in(ask, state, code, done)
        except GrantRefused:
            return Problem(
                400, "code", "The identity provider does not know this sign-in any more. Sign in again.", forget=done
            )
        except InvalidToken as fault:
            # It holds no part of the token.
            _log.warning("A sign-in at %s was refused: %s", self._provider.issuer, fault)
            title = "The answer of the identity provider does not belong to this sign-in."
            return Problem(400, fault.code, title, forget=done)

    async def _not_signed_in(self, ask: Ask, state: State, error: str, done: tuple[str, ...]) -> Answer:
        if error in NEEDS_USER and state["silent"] and ask.header("sec-fetch-dest") != "iframe":
            # Its session is over, or wants the user: who asked to go on signs in there; in a window, not in a hidden frame.
            return await self._go(ask, state["to"], fresh=False, silent=False, passed={}, forget=done)
        if error == "temporarily_unavailable" or error == "server_error":
            raise ProviderFault("outage", f"The provider answered {error} to a sign-in.")
        if error in ("access_denied", *NEEDS_USER):
            return Problem(403, "denied", "You have not signed in at the identity provider.", forget=done)
        raise ProviderFault("credentials", "The provider refuses what this application asks for.")

    async def _signed_in(self, ask: Ask, state: State, code: str, done: tuple[str, ...]) -> Answer:
        now = ask.now
        given = await self._provider.exchange(now, code, state["v"], self.callback_url)
        if given.id_token is None:
            raise ProviderFault("garbage", "The provider gave no ID token; ask for the scope openid.")
        found = await self.verified(given.id_token, now, nonce=state["n"], access_token=given.access_token)
        again = None
        if not state["fresh"]:  # what was forced has been forced: no second time
            again = f"{ask.mount}{self._app.prefix}/login?prompt=login&return_to={quote(state['to'], safe='')}"
        proven_at = self._proven_at(found, state, now)
        if proven_at is not None:
            return Begin(self._accepted(found, proven_at, given, now), state["to"], again, done)
        if again is None:
            _log.warning("%s did not ask for a new proof, though max_age=0 demands one", self._provider.issuer)
            return Problem(403, "auth_time", "The identity provider did not ask you to sign in again.", forget=done)
        return Redirect(again, forget=done)

    def _proven_at(self, found: IdToken, state: State, now: float) -> float | None:
        """Return when the user proved who they are, by our clock; None where that is longer ago than was asked for.

        `prompt=login` and `max_age` can be taken out of the URL on its way, so that only `auth_time` counts, by the provider's
        own clock: what that is off by is seen from `iat`, which it wrote just now. Where a new proof was demanded and has been
        given, it came after the sign-in began here, and that instant of ours is kept: else a provider whose clock is behind
        could never begin a session again after a logout, and one whose clock is ahead could undo it (L24).
        """
        skew, began_at, issued_at = self._app.clock_skew, float(state["at"]), float(found.claims["iat"])
        if found.auth_time is None:
            return None if state["fresh"] or state["age"] is not None else min(issued_at, now)
        ahead = max(-skew, min(issued_at - now, skew))
        if state["fresh"]:
            return max(found.auth_time, began_at) if found.auth_time >= began_at + ahead - ON_ITS_WAY else None
        proven_at = found.auth_time - (ahead if ahead > ON_ITS_WAY else 0.0)
        if state["age"] is not None and proven_at + float(state["age"]) + skew < now:
            return None
        return proven_at

    async def verified(self, token: str, now: float, *, nonce: str | None, access_token: str | None) -> IdToken:
        """Return what an ID token says.

        Args:
            token: as it came.
            now: the instant.
            nonce: of the sign-in that it answers; None for a refresh.
            access_token: what came with it.

        Raises:
            InvalidToken: it is none for us, or not for this sign-in.
            ProviderFault: the keys could not be fetched.
        """
        keys = await self._provider.key_source.keys(header_of(token).get("kid"), now)
        signed = read_signed(token, keys, algorithms=self._asking.algorithms, typs=_ID_TOKEN_TYPS)
        expected = Expected(self._provider.issuer, self._provider.client_id, now, self._app.clock_skew)
        demands = self._asking.demands_auth_time and nonce is not None
        return id_token(signed, expected, nonce=nonce, access_token=access_token, demands_auth_time=demands)

    def _post_again(self, fields: Fields) -> Page:
        """Return the page that posts an answer once more, from this host."""
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{escape(value)}">'
            for name in (*_ANSWER_FIELDS, "again")
            if (value := "1" if name == "again" else text_of(fields, name)) is not None
        )
        action = escape(urlsplit(self.callback_url).path)
        return Page(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Signing in</title></head><body>'
            f'<form method="post" action="{action}">{hidden}<noscript><p>One more step:</p>'
            '<button type="submit">Continue</button></noscript></form>'
            f"<script>{_SCRIPT}</script></body></html>",
            _SCRIPT_HASH,
        )


def _return_path(ask: Ask) -> str:
    """Return where to go after signing in: a path of this host, by default the app's first page."""
    query = ask.query
    for name in ("return_to", "next"):
        path = ask.safe_path(text_of(query, name))
        if path is not None:
            return path
    return f"{ask.mount}/"
