"""Read the token and the session JWT that came with a request, and remember what was verified (L9, L10).

What costs time is verifying, so the answer is kept under the exact Cookie header it was found in, together with the
record it was judged with and the instant until which no rule would answer otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from session_middleware.core.cookies import find
from session_middleware.core.jwt import JwtKeys
from session_middleware.core.lifetime import Deadlines, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import Presented, TokenKeys
from session_middleware.errors import InvalidToken
from session_middleware.settings import Limits

__all__ = ["Credentials", "Known"]

#: How many Cookie headers are remembered; the older half goes when it is full. Measured with reference records and headers of
#: 500 bytes, 3 KiB each, and 6 KiB where the store does not keep the record in memory as well; a session with much `data`
#: takes as much more as that is long.
REMEMBERED: Final = 16_384

#: Bytes of all headers that are remembered, likewise.
KEPT: Final = 32 << 20

#: A Cookie header longer than this is verified each time rather than kept.
KEPT_HEADER: Final = 8_192

#: How many headers of one session are remembered, the latest: a browser has some for cookies that belong to one path, and
#: each holds what the store gave for it. Otherwise one user could have all of them, by a cookie that always changes.
KEPT_OF_ONE: Final = 16


#: (record, deadlines, configured, since, until): between these two instants, while the store holds this very record, the
#: verdict is ACTIVE and nothing is due.
Quiet = tuple[SessionRecord, Deadlines, Limits, float, float]

#: No time at all: the hot path has one question less to ask.
NEVER: Any = (None, None, None, math.inf, -math.inf)


class Known:
    """What is known of one Cookie header (or Authorization value).

    Attributes:
        jwt: the session JWT beside the token, if it is one of ours, good, and of the same session.
        jwt_of_another: the session that it names, if it is one of ours, good, and of another.
    """

    __slots__ = (
        "configured",
        "configured_at",
        "deadlines",
        "jwt",
        "jwt_claims",
        "jwt_expires",
        "jwt_of_another",
        "presented",
        "quiet",
        "record",
        "verified_at",
    )

    def __init__(self, presented: Presented, jwt: str | None, jwt_claims: Mapping[str, Any] | None) -> None:
        self.presented = presented
        self.jwt = jwt
        self.jwt_of_another: str | None = None
        self.jwt_claims = jwt_claims
        self.jwt_expires: float = -math.inf if jwt_claims is None else jwt_claims["exp"]
        self.record: SessionRecord | None = None
        self.deadlines: Deadlines | None = None
        self.configured: Limits | None = None
        self.configured_at = -math.inf  # when the limits= function was asked
        self.verified_at = -math.inf  # when the authority was asked
        # One tuple, so that threads see all of it or none.
        self.quiet: Quiet = NEVER


#: Stands for a header of which nothing is known.
UNKNOWN: Any = Known(Presented(b"", "", b"", 0, 0), None, None)


class Credentials:
    """Finds and verifies what a request shows, and remembers what verified."""

    def __init__(
        self,
        tokens: TokenKeys,
        jwts: JwtKeys,
        *,
        token_cookie: str,
        jwt_cookie: str,
        issuer: str,
        audience: str,
        clock_skew: float,
        mutex: AbstractContextManager[object],
    ) -> None:
        self._tokens = tokens
        self._jwts = jwts
        self._token_cookie = token_cookie
        self._jwt_cookie = jwt_cookie
        self._issuer = issuer
        self._audience = audience
        self._skew = clock_skew
        self.remembered: dict[str | bytes, Known] = {}
        self._of_one: dict[bytes, list[str | bytes]] = {}  # the same headers, by session
        self._bytes = 0  # of the same
        self._mutex = mutex

    def read(self, cookies: str, now: float, shown: str | bytes | None = None) -> Known | Verdict:
        """Return what a Cookie header shows, or ANONYMOUS, or TAMPERED; no store is asked.

        Two cookies of our name with different values are TAMPERED whatever their order. A JWT that does not verify counts as
        missing: it may be over, or its key retired. What a JWT of another session means, the record says.

        Args:
            cookies: the header.
            now: seconds since the epoch.
            shown: the header as the server gave it, where that is not text: it is remembered by this.
        """
        if shown is None:
            shown = cookies
        known = self.remembered.get(shown)
        if known is not None:
            return known
        # Test clients keep a deleted cookie, empty.
        tokens = [value for value in find(cookies, self._token_cookie) if value]
        if not tokens:
            return Verdict.ANONYMOUS
        if len(tokens) > 1:
            return Verdict.TAMPERED
        jwts = find(cookies, self._jwt_cookie)
        if len(jwts) > 1:
            return Verdict.TAMPERED
        known = self._verified(tokens[0], jwts[0] if jwts else None, now)
        if known is None:
            return Verdict.TAMPERED
        if not jwts or known.jwt is not None:
            self._remember(shown, known)  # a JWT that does not verify now may do so later: a clock was behind
        return known

    def keys_in(self, cookies: str) -> list[bytes]:
        """Return the store keys of all tokens of ours in a Cookie header, also of one that is TAMPERED with."""
        presented = (self._tokens.verify(value) for value in find(cookies, self._token_cookie))
        return list(dict.fromkeys(each.key for each in presented if each is not None))

    def read_header(self, authorization: str, now: float) -> Known | Verdict:
        """Return what `Authorization: Session <token>` shows (L19)."""
        name = "authorization\0" + authorization  # no Cookie header contains NUL
        known = self.remembered.get(name)
        if known is None:
            known = self._verified(authorization.partition(" ")[2].strip(), None, now)
            if known is None:
                return Verdict.TAMPERED
            self._remember(name, known)
        return known

    def claims_of(self, jwt: str, now: float) -> dict[str, Any]:
        """Return the claims of one of our session JWTs.

        Raises:
            InvalidToken: it is not one, or not valid now.
        """
        return self._jwts.verify(jwt, issuer=self._issuer, audience=self._audience, now=now, clock_skew=self._skew)

    def _verified(self, token: str, jwt: str | None, now: float) -> Known | None:
        presented = self._tokens.verify(token)
        if presented is None:
            return None
        if jwt is None:
            return Known(presented, None, None)
        try:
            claims = self.claims_of(jwt, now)
        except InvalidToken:
            return Known(presented, None, None)
        if claims["sid"] == presented.public_id:
            return Known(presented, jwt, claims)
        known = Known(presented, None, None)
        known.jwt_of_another = claims["sid"]
        return known

    def _remember(self, name: str | bytes, known: Known) -> None:
        if len(name) > KEPT_HEADER:
            return
        remembered = self.remembered  # which the hot path reads, without the lock
        with self._mutex:
            if len(remembered) >= REMEMBERED or self._bytes >= KEPT:
                # Dicts keep insertion order: this drops the older half, without a write on each hit as an LRU needs.
                names = list(remembered)
                for old in names[: (len(names) + 1) // 2]:
                    self._forget(old)
            key = known.presented.key
            if name in remembered:  # another thread was first
                return
            if len(self._of_one.get(key, ())) >= KEPT_OF_ONE:
                self._forget(self._of_one[key][0])
            self._of_one.setdefault(key, []).append(name)
            self._bytes += len(name)
            remembered[name] = known

    def _forget(self, name: str | bytes) -> None:
        known = self.remembered.pop(name)
        self._bytes -= len(name)
        of_one = self._of_one[known.presented.key]
        of_one.remove(name)
        if not of_one:
            del self._of_one[known.presented.key]
