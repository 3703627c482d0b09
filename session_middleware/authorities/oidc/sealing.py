"""A provider's tokens as a record keeps them: encrypted, under keys that the store does not have.

AES-256-GCM (NIST SP 800-38D) with a random nonce; what is encrypted is bound to the authority's name, so that a text copied
into the record of another provider opens nothing. Whoever reads the store sees when a session was refreshed and how long its
tokens are, nothing else.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from session_middleware.core.tokens import b64decode, b64encode

__all__ = ["HeldTokens", "open_sealed", "seal"]

_VERSION: Final = "a1."
_NONCE: Final = 12


@dataclass(frozen=True, slots=True)
class HeldTokens:
    """What is kept of a provider's tokens; its repr shows none.

    Attributes:
        id_token: for `id_token_hint` at logout.
        access_token: the app's, to call APIs with.
        expires_at: when that is over, in seconds since the epoch; None where the provider does not say.
        refresh_token: gives the next access token.
    """

    id_token: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    refresh_token: str | None = field(default=None, repr=False)


def seal(tokens: HeldTokens, keys: Sequence[bytes], name: str) -> str | None:
    """Return tokens encrypted under the first key; None where there are none to keep.

    Args:
        tokens: what to keep.
        keys: of 32 bytes each.
        name: the authority's.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    held = {
        letter: value
        for letter, value in (
            ("i", tokens.id_token),
            ("a", tokens.access_token),
            ("e", tokens.expires_at),
            ("r", tokens.refresh_token),
        )
        if value is not None
    }
    if not held:
        return None
    nonce = secrets.token_bytes(_NONCE)
    text = json.dumps(held, separators=(",", ":")).encode()
    return _VERSION + b64encode(nonce + AESGCM(keys[0]).encrypt(nonce, text, name.encode()))


def open_sealed(sealed: str | None, keys: Sequence[bytes], name: str) -> HeldTokens:
    """Return what was sealed; nothing where that was nothing, or where no key of ours opens it any more.

    Args:
        sealed: from the record.
        keys: all that may have sealed it.
        name: the authority's.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if sealed is None or not sealed.startswith(_VERSION):
        return HeldTokens()
    try:
        raw = b64decode(sealed[len(_VERSION) :])
    except ValueError:
        return HeldTokens()
    for key in keys:
        try:
            held = json.loads(AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], name.encode()))
        except (InvalidTag, ValueError):
            continue
        return HeldTokens(held.get("i"), held.get("a"), held.get("e"), held.get("r"))
    return HeldTokens()
