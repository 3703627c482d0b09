"""Session token: the public value a browser holds, and the store key a server derives from it (L10).

A token reads `v1.<id>.<generation>.<MAC>`: a random id, the generation counter, and a MAC under a server key over
version, purpose, cookie name, id and generation. Verified before any store call; only the canonical encoding passes.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

__all__ = [
    "ID_BYTES",
    "TOKEN_LIMIT",
    "Presented",
    "TokenKeys",
    "b64decode",
    "b64encode",
    "derive",
    "key_of",
    "public_id_of",
]

#: Random bytes of an id; the caller draws them (ASVS 7.2.3 asks for at least 128 bits).
ID_BYTES: Final = 24

#: No token of ours is longer; anything that is, is refused before it is looked at.
TOKEN_LIMIT: Final = 128

_TOKEN: Final = re.compile(r"v1\.([A-Za-z0-9_-]{32})\.(0|[1-9][0-9]{0,8})\.([A-Za-z0-9_-]{43})", re.ASCII)


def b64encode(raw: bytes) -> str:
    """Encode as base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def b64decode(text: str) -> bytes:
    """Decode canonical base64url without padding.

    Raises:
        ValueError: the text is not the one encoding of its bytes.
    """
    raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if b64encode(raw) != text:
        raise ValueError("not canonical base64url")
    return raw


def derive(secret: bytes, purpose: str) -> bytes:
    """Derive the key of one purpose from a secret, so that no two purposes share a key (RFC 5869 §2.2, one block)."""
    return hmac.digest(secret, b"session_middleware.v1\0" + purpose.encode(), "sha256")


def public_id_of(token_id: bytes) -> str:
    """Return the id that people see: not reversible to the token."""
    return b64encode(sha256(b"session_middleware public id\0" + token_id).digest()[:16])


def key_of(public_id: str) -> bytes:
    """Return the store key of a session: a hash of a hash of the id, so that a stolen store opens no session."""
    return sha256(b"session_middleware store key\0" + public_id.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Presented:
    """A token that verified.

    Attributes:
        token_id: the random id; needed only to write the successor.
        key_index: which key verified it; anything but 0 is re-issued (L10).
    """

    token_id: bytes
    public_id: str
    key: bytes
    generation: int
    key_index: int


class TokenKeys:
    """Signs and verifies session tokens under a list of keys: the first signs, all verify (L10)."""

    __slots__ = ("_keys", "_prefix")

    def __init__(self, secrets: Sequence[bytes], cookie_name: str) -> None:
        self._keys = tuple(derive(secret, "session token") for secret in secrets)
        self._prefix = f"v1\0session token\0{cookie_name}\0".encode()

    def _mac(self, key: bytes, encoded_id: str, generation: str) -> bytes:
        return hmac.digest(key, self._prefix + f"{encoded_id}\0{generation}".encode(), "sha256")

    def sign(self, token_id: bytes, generation: int) -> str:
        """Return the token of an id and a generation; the same for the same arguments."""
        encoded = b64encode(token_id)
        return f"v1.{encoded}.{generation}.{b64encode(self._mac(self._keys[0], encoded, str(generation)))}"

    def verify(self, token: str) -> Presented | None:
        """Return what a token says if it is one of ours, in its one encoding; None for anything else."""
        if len(token) > TOKEN_LIMIT:
            return None
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        encoded, generation, mac = parts.groups()
        try:
            given = b64decode(mac)
        except ValueError:
            return None
        for index, key in enumerate(self._keys):
            if hmac.compare_digest(self._mac(key, encoded, generation), given):
                token_id = b64decode(encoded)  # 32 characters are 24 bytes exactly: always canonical
                public_id = public_id_of(token_id)
                return Presented(token_id, public_id, key_of(public_id), int(generation), index)
        return None
