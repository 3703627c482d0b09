"""How people come in: login and step_up, and in which requests neither may be (L12, L18, L20, L24)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from session_middleware.core import lifetime
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Deadlines, Verdict
from session_middleware.core.origin import is_cross_site
from session_middleware.core.provider import ProviderSession, handle_mark_key, provider_handle
from session_middleware.core.record import NEVER, SessionRecord
from session_middleware.core.tokens import ID_BYTES
from session_middleware.core.values import (
    as_json_values,
    checked_factors,
    checked_mapping,
    checked_subject,
    checked_text,
    data_changes,
)
from session_middleware.engine.beginning import Beginning
from session_middleware.errors import ResponseAlreadyStarted, SessionError, SettingsError
from session_middleware.settings import Limits

__all__ = ["Logins"]


class Logins(Beginning):
    """The part of the engine that signs people in."""

    def check_login(self, x: Exchange, *, vouched: bool = False) -> None:
        """Refuse a request in which nobody may log in, before anything is done for it.

        Raises:
            ResponseAlreadyStarted: the headers have gone out.
            SessionError: another site made this request (L20), or its response takes no cookie (L18).
        """
        if x.closed:
            raise ResponseAlreadyStarted("login() came after the response had started; call it before you answer.")
        _can_set_cookie(x, "login")
        if (
            not x.rules.cross_site_login
            and not vouched
            and is_cross_site(x.facts, self.settings)
            and x.facts.method not in ("GET", "HEAD")
        ):
            self.tell("csrf_blocked", x, verb="login")
            raise SessionError(
                "login() was called in a request that another site made (login CSRF). If this view proves the request "
                "itself, mark it with @session_optional(cross_site_login=True), or list the origin in trusted_origins.",
                code="cross_site_login",
            )

    async def login(
        self,
        x: Exchange,
        subject: str,
        *,
        claims: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        factors: Sequence[Mapping[str, Any]] = (),
        persistent: bool | None = None,
        minutes: float | None = None,
        limits: Limits | None = None,
        stamp: str | None = None,
        actor: str | None = None,
        authenticated_at: float | None = None,
        token_id: bytes | None = None,
        fresh: bool = True,
        provider: ProviderSession | None = None,
        sealed: str | None = None,
        handles: Sequence[str] = (),
        vouched: bool = False,
    ) -> None:
        """Begin a session (L12); see `Session.login` for the arguments.

        `sealed` and `handles` are an authority's (`ProviderLogin`); `vouched` says that its bound state vouches for the
        request (L20). Three more are for bridges that adopt a login made elsewhere (L23): when it was made, where that is known (L3);
        the id that the bridge drew for it then, so that one login becomes one session and never a second; and False
        where nobody can say that the user has just proved who they are.
        """
        self.check_login(x, vouched=vouched)
        checked_subject(subject)
        all_claims, all_data = checked_mapping("claims", claims), checked_mapping("data", data)
        proofs = checked_factors(factors)
        checked_text("stamp", stamp, "Give a str, for example a digest of the password hash, or None.")
        checked_text("actor", actor, "Give a str, for example str(support.id), or None.")
        _check_kinds(persistent, limits, provider)
        await self.authenticate(x)
        if x.verdict is Verdict.UNAVAILABLE and (x.record is None or x.stale):
            await self._authenticate_anew(x)
        standing = x.record if x.verdict is Verdict.ACTIVE else None
        same = standing is not None and standing.subject == subject
        created_at = x.now
        if same:
            assert standing is not None
            standing = x.record = await self._as_written(standing) or standing
            created_at = standing.created_at
            all_claims = {**x.claims, **all_claims}
            all_data = {**_data_with_changes(x, standing), **all_data}
        persistent = self.settings.persistent if persistent is None else persistent
        configured = self.limits_for(subject, all_claims, persistent)
        own = configured if limits is None else configured.capped(limits)
        elsewhere = provider is not None or authenticated_at is not None
        if provider is not None:
            authenticated_at = provider.proven_at
        proven_at = x.now if authenticated_at is None else min(authenticated_at, x.now)
        ceiling = None if provider is None else provider.ceiling
        deadlines = lifetime.first_deadlines(x.now, own, ceiling, minutes, proven_at)
        mark_keys: tuple[bytes, ...] = ()
        if provider is not None:
            mark_keys = (provider.mark_key, *map(handle_mark_key, handles))
            await self._check_provider(x, provider, mark_keys, deadlines)
        begun = token_id or secrets.token_bytes(ID_BYTES)  # never one that a client chose (L12)
        record = self._new_record(
            x,
            begun,
            subject=subject,
            created_at=created_at,
            authenticated_at=proven_at,
            limits=own,
            deadlines=deadlines,
            claims=as_json_values("claims", {name: value for name, value in all_claims.items() if value is not None}),
            data=as_json_values("data", all_data),
            factors=proofs,
            persistent=persistent,
            stamp=stamp,
            actor=actor,
        )
        if not fresh:
            record = record.evolve(fresh_at=NEVER)
        if same:
            assert standing is not None
            record = record.evolve(before=_known_as(x, standing))
        if provider is not None:
            record = record.evolve(
                authority=provider.authority,
                provider_session=provider.id,
                ceiling=ceiling,
                sealed=sealed,
                handles=(*record.handles, provider_handle(provider.authority, provider.id), *handles),
                proven_at=provider.proven_at if provider.proven_at > proven_at else None,
            )
        await self._replace_with(
            x, begun, record, configured, derived=token_id is not None, elsewhere=elsewhere, mark_keys=mark_keys
        )
        x.stepped_from = None  # who proves who they are in full needs no earlier session
        if not same and standing is not None:
            await self.clear_framework(x)  # another subject logs in (L26)
        self.tell("session_created", x)
        if x.facts.scheme in ("http", "ws") and not self.settings.insecure_dev and not _is_localhost(x.facts.host):
            self.tell(
                "insecure_cookie", x, host=x.facts.host, problem="the browser will drop this cookie on plain http"
            )

    async def _authenticate_anew(self, x: Exchange) -> None:
        """Look once more whose request this is, of which the store did not say: that session's place a login takes (L12)."""
        before = x.record, x.deadlines, x.configured, x.stale
        x.authenticated, x.verdict, x.record, x.stale = False, Verdict.ANONYMOUS, None, False
        await self.authenticate(x)
        if x.verdict is Verdict.UNAVAILABLE and x.record is None:
            x.record, x.deadlines, x.configured, x.stale = before

    async def _check_provider(
        self, x: Exchange, provider: ProviderSession, mark_keys: Sequence[bytes], deadlines: Deadlines
    ) -> None:
        """Refuse a provider session that has ended here, unless the user proved who they are after that (L24).

        It has ended too where the provider has ended all that stands under one of its handles: `mark_keys` are of both.
        """
        handle = provider_handle(provider.authority, provider.id)
        for record in await self.reach.read("list", handle, x.now):
            # One whose deadline has passed unnoticed ends now, and so before what stands on the same provider session.
            configured = self.limits_for(record.subject, record.claims, record.persistent, fallback=record.limits)
            found = lifetime.judge(
                record, record.generation, x.now, configured, self.settings.timing, self.reach.outage_of(record.key)
            )
            if found.verdict in (Verdict.INACTIVITY_TIMEOUT, Verdict.LIFETIME_EXCEEDED):
                await self.end(record.key, found.verdict.value, found.deadlines.ends_at, x.now, record)
                self.announce(
                    "session_ended", x.now, record.public_id, record.subject, detail={"reason": found.verdict.value}
                )
        if await self._has_ended_there(mark_keys, provider.proven_at, x.now):
            raise self._ended_here(x)
        if deadlines.ends_at <= x.now:
            self.tell("adoption_refused", x, reason="too_old")
            raise SessionError(
                "This authentication at the provider is older than a session may become, or its session ends there. Send "
                "the user there for a new authentication.",
                code="provider_session_ended",
            )

    async def _as_written(self, standing: SessionRecord) -> SessionRecord | None:
        """Return a session as it is now, of which another is to be made: others may have written to it since we opened.

        None: it has ended.
        """
        held = await self.reach.load(standing.key, anew=True)
        return None if held is None or held.ended_at is not None else held

    async def step_up(self, x: Exchange, factors: Sequence[Mapping[str, Any]]) -> None:
        """Record a further proof of identity under a new id; both deadlines stay (L12)."""
        if x.closed:
            raise ResponseAlreadyStarted("step_up() came after the response had started; call it before you answer.")
        _can_set_cookie(x, "step_up")
        added = checked_factors(factors)
        standing = await self.live(x, "step_up")
        held = await self._as_written(standing)
        if held is None:
            x.verdict = Verdict.REVOKED
            raise SessionError("The session has ended; an ended session cannot be stepped up.", code="ended")
        standing = x.record = held
        now, begun = x.now, secrets.token_bytes(ID_BYTES)
        record = self._new_record(
            x,
            begun,
            subject=standing.subject,
            created_at=standing.created_at,
            authenticated_at=standing.authenticated_at,
            limits=standing.limits,
            deadlines=Deadlines(
                standing.inactivity_deadline, lifetime.deadlines(standing, x.configured, self.settings.timing).absolute
            ),
            claims=as_json_values("claims", dict(x.claims)),
            data=as_json_values("data", _data_with_changes(x, standing)),
            factors=standing.factors + added,
            persistent=standing.persistent,
            stamp=standing.stamp,
            actor=standing.actor,
        ).evolve(
            fresh_at=now,
            last_seen_at=standing.last_seen_at,
            keep_until=standing.keep_until,  # a cut of today is not written down (L2)
            ceiling=standing.ceiling,
            authority=standing.authority,
            provider_session=standing.provider_session,
            sealed=standing.sealed,
            handles=standing.handles,
            before=_known_as(x, standing),
            proven_at=standing.proven_at,
            extra=standing.extra,
        )
        carries_on = standing.key if x.created is None else x.stepped_from
        await self._replace_with(x, begun, record, x.configured)
        x.stepped_from = carries_on
        self.tell("session_stepped_up", x)


def _data_with_changes(x: Exchange, standing: SessionRecord) -> dict[str, Any]:
    """Return the data of a session with what this request has changed in its working copy."""
    written, removed = data_changes(x)
    return {name: value for name, value in {**standing.data, **written}.items() if name not in removed}


def _known_as(x: Exchange, standing: SessionRecord) -> tuple[str, ...]:
    """Return the ids by which the browser knows the session that another takes the place of."""
    return standing.ids if x.created is None else standing.before


def _can_set_cookie(x: Exchange, verb: str) -> None:
    """Refuse what would make a session that no browser ever hears of.

    Raises:
        SessionError: this response takes no cookie of ours (L18).
    """
    if x.facts.websocket:
        place = "a WebSocket handshake"
    elif x.facts.method == "OPTIONS":
        place = "the answer to OPTIONS"
    else:
        return
    raise SessionError(
        f"{verb}() needs a cookie to go out, and {place} sets none. Call it in a request whose response the browser "
        "keeps cookies of, such as a POST.",
        code="no_cookie",
    )


def _check_kinds(persistent: object, limits: object, provider: object) -> None:
    """Refuse arguments of login() that are of another kind than they must be, before anything is asked or stored.

    Raises:
        SettingsError: one is.
    """
    if persistent is not None and not isinstance(persistent, bool):
        raise SettingsError("persistent", persistent, "is not True, False or None.", "Give one of them.")
    if limits is not None and not isinstance(limits, Limits):
        raise SettingsError("limits", limits, "is not Limits.", "Give Limits(...), or None for the configured ones.")
    if provider is not None and not isinstance(provider, ProviderSession):
        raise SettingsError("provider", provider, "is not a ProviderSession.", "Give ProviderSession(...), or None.")


def _is_localhost(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name in ("localhost", "127.0.0.1", "[::1]", "") or name.endswith(".localhost")
