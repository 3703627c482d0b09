"""SessionRecord: what a store remembers of one session, and how it is written as bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, TypeVar

from session_middleware.errors import RecordUnreadable
from session_middleware.settings import Limits

__all__ = ["BODY_VERSION", "NEVER", "SessionRecord", "handle_of"]

#: Written into every body. Readers accept this version and the one before it.
BODY_VERSION: Final = 1

#: `fresh_at` of a session whose login nobody of us saw (L23): it is signed in, and not fresh before a step-up (L3).
NEVER: Final = 0.0

#: Earlier ids that a record knows of its session: more step-ups than happen while one request is on its way.
KEPT_IDS: Final = 8

T = TypeVar("T")
Json = Any  # a value of the json module; the app's own claims and data have no narrower type

_NOTHING: Final[Mapping[str, Json]] = MappingProxyType({})


def _nothing() -> Mapping[str, Json]:
    return _NOTHING


def handle_of(kind: str, value: str) -> str:
    """Return the opaque index string of a value, for `SessionRecord.handles`.

    Stores index it and never read anything out of it; 96 bits of SHA-256 keep the index short and personal data out.

    Args:
        kind: what is indexed: "subject", "provider", ...
        value: its value.
    """
    return sha256(f"{kind}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session as a store remembers it. Times are seconds since the epoch, UTC.

    Two halves: the *pulse* (last_seen_at, inactivity_deadline, generation, renewed_at, presented_at, revision,
    keep_until, ended_at, end_reason), which touches and renewals move and stores keep in fields of their own, and the
    *body* (everything else), which `encode_body` writes and only create and save replace.
    """

    key: bytes  # the store key: a hash, never the token (L10)
    public_id: str  # what people see (L10)
    subject: str
    created_at: float
    authenticated_at: float  # last full proof of identity; the absolute deadline counts from here (L3)
    last_seen_at: float
    inactivity_deadline: float | None  # as recorded; what is in force lifetime.py says (L2)
    limits: Limits  # those that held at the last full authentication (L2)
    keep_until: float  # after this instant the record is rubbish; never a verdict while it is kept (L16)
    renewed_at: float  # when this generation was minted
    generation: int = 0  # the token's; only renew moves it (L14)
    presented_at: float | None = None  # when this generation was first presented; starts the grace (L11)
    revision: int = 0  # moved by every write of claims or data (L14)
    fresh_at: float | None = None  # freshness counts from here instead: a step-up (L12), or NEVER
    ceiling: float | None = None  # the authority's own end of the session (L2)
    persistent: bool = False
    claims: Mapping[str, Json] = field(default_factory=_nothing)
    data: Mapping[str, Json] = field(default_factory=_nothing)
    factors: tuple[Mapping[str, Json], ...] = ()
    attributes: Mapping[str, str] = field(default_factory=_nothing)
    handles: tuple[str, ...] = ()
    authority: str = "local"
    provider_session: str | None = None
    stamp: str | None = None  # what the authority compares, e.g. a digest of the password hash
    actor: str | None = None  # who acts as the subject (RFC 8693 §4.1)
    sealed: str | None = None  # what the authority wants to find again, encrypted by itself: a refresh token
    before: tuple[str, ...] = ()  # its public ids before step-ups and logins of the same user, the last last (L12, L23)
    proven_at: float | None = None  # by the provider's clock, where that is later than the login (L1)
    ended_at: float | None = None
    end_reason: str | None = None
    extra: Mapping[str, Json] = field(default_factory=_nothing)  # fields of a later version, kept as they came

    def __repr__(self) -> str:
        return f"<SessionRecord {self.public_id} of {self.subject!r}>"

    def evolve(self, **changes: Any) -> SessionRecord:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def is_named(self, id: object) -> bool:
        """Say whether an id names this session: its own, or one that it had before (L12, L23).

        A view that began before a step-up may write what it read of the framework's session over the new link, and a logout
        that did may be on its way.
        """
        return id is not None and (id == self.public_id or id in self.before)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids by which it is known, for the session that goes on from it."""
        return (*self.before, self.public_id)[-KEPT_IDS:]

    def ended(self, reason: str, at: float, keep_until: float) -> SessionRecord:
        """Return what is left of the record after its end: hash, subject, times and reason (L16)."""
        return SessionRecord(
            key=self.key,
            public_id=self.public_id,
            subject=self.subject,
            created_at=self.created_at,
            authenticated_at=self.authenticated_at,
            last_seen_at=self.last_seen_at,
            inactivity_deadline=self.inactivity_deadline,
            limits=self.limits,
            keep_until=keep_until,
            renewed_at=self.renewed_at,
            generation=self.generation,
            revision=self.revision,
            handles=self.handles,
            ended_at=at,
            end_reason=reason,
        )

    def encode_body(self) -> bytes:
        """Write the body: compact JSON with one-letter keys, defaults left out, unknown fields as they came."""
        body: dict[str, Json] = {
            "v": BODY_VERSION,
            "i": self.public_id,
            "s": self.subject,
            "c": self.created_at,
            "l": [self.limits.inactivity_timeout, self.limits.absolute_lifetime],
        }
        if self.authenticated_at != self.created_at:
            body["a"] = self.authenticated_at
        for letter, value in (
            ("f", self.fresh_at),
            ("e", self.ceiling),
            ("p", 1 if self.persistent else None),
            ("k", dict(self.claims) or None),
            ("d", dict(self.data) or None),
            ("x", [dict(factor) for factor in self.factors] or None),
            ("t", dict(self.attributes) or None),
            ("h", list(self.handles) or None),
            ("o", self.authority if self.authority != "local" else None),
            ("r", self.provider_session),
            ("m", self.stamp),
            ("w", self.actor),
            ("z", self.sealed),
            ("b", list(self.before) or None),
            ("n", self.proven_at),
        ):
            if value is not None:
                body[letter] = value  # noqa: PERF403  # a comprehension over this table reads worse
        body.update(self.extra)
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(
            "utf-8", "surrogatepass"
        )

    @classmethod
    def decode(
        cls,
        key: bytes,
        body: bytes,
        *,
        last_seen_at: float,
        inactivity_deadline: float | None,
        keep_until: float,
        renewed_at: float,
        generation: int,
        presented_at: float | None,
        revision: int,
        ended_at: float | None = None,
        end_reason: str | None = None,
    ) -> SessionRecord:
        """Read a record from its body and the pulse a store keeps beside it.

        Raises:
            RecordUnreadable: the bytes are no body of a version we read, or a field has the wrong type.
        """
        try:
            fields: dict[str, Json] = json.loads(body)
            if fields.pop("v") not in (BODY_VERSION, BODY_VERSION - 1):
                raise ValueError("version")
            created_at = _number(fields.pop("c"))
            silence, age = fields.pop("l")
            take = fields.pop
            record = cls(
                key=key,
                public_id=_text(take("i")),
                subject=_text(take("s")),
                created_at=created_at,
                authenticated_at=_number(take("a", created_at)),
                last_seen_at=_number(last_seen_at),
                inactivity_deadline=None if inactivity_deadline is None else _number(inactivity_deadline),
                limits=Limits(silence, age),
                keep_until=_number(keep_until),
                renewed_at=_number(renewed_at),
                generation=_count(generation),
                presented_at=None if presented_at is None else _number(presented_at),
                revision=_count(revision),
                fresh_at=_maybe(take("f", None), _number),
                ceiling=_maybe(take("e", None), _number),
                persistent=bool(take("p", False)),
                claims=_mapping(take("k", _NOTHING)),
                data=_mapping(take("d", _NOTHING)),
                factors=tuple(_mapping(factor) for factor in take("x", ())),
                attributes=_texts(take("t", _NOTHING)),
                handles=tuple(_text(handle) for handle in take("h", ())),
                authority=_text(take("o", "local")),
                provider_session=_maybe(take("r", None), _text),
                stamp=_maybe(take("m", None), _text),
                actor=_maybe(take("w", None), _text),
                sealed=_maybe(take("z", None), _text),
                before=tuple(_text(each) for each in _list(take("b", ()))),
                proven_at=_maybe(take("n", None), _number),
                ended_at=None if ended_at is None else _number(ended_at),
                end_reason=end_reason,
                extra=fields,
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as problem:
            raise RecordUnreadable(
                f"The record {key[:4].hex()}... is not a session record of version {BODY_VERSION} "
                f"({type(problem).__name__}); it was written by something else or damaged. It is left as it is."
            ) from None
        return record


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise TypeError
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, (list, tuple)):
        raise TypeError
    return value


def _mapping(value: object) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def _texts(value: object) -> Mapping[str, str]:
    found = _mapping(value)
    for text in found.values():
        _text(text)
    return found


def _maybe(value: object, read: Callable[[object], T]) -> T | None:
    return None if value is None else read(value)
