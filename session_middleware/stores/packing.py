"""Writes a body smaller than JSON: deflate with a dictionary of what bodies and browsers have in common."""

from __future__ import annotations

import zlib
from typing import Final

from session_middleware.errors import RecordUnreadable

__all__ = ["COMMON", "packed", "unpacked"]

#: First byte of a packed body. A body as `encode_body` writes it begins with "{" and is read as it stands, so that an
#: operator may put one in by hand. Another dictionary needs another byte, and this one must go on being read.
_DEFLATED: Final = b"\x01"

#: Bytes that a packed body may unpack to. A thousand times smaller it might lie in a row that somebody else has written;
#: a body that is larger is stored as it is, and then takes no more memory than it takes room.
_MOST: Final = 1 << 20

#: Deflate finds a neighbour cheaper than a stranger, so what is most common stands last.
COMMON: Final = (
    b'"fresh":"phone_number":"locale":"tenant":"scope":"groups":["permissions":["user","staff","admin"]'
    b'{"kind":"totp","at":{"kind":"passkey","at":{"kind":"otp","amr":["pwd"],"authenticator":"webauthn"'
    b"Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) Mobile/15E148 OPR/ SamsungBrowser/28.0 "
    b"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    b"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36"
    b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15"
    b"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Mobile/15E148 Safari/604.1"
    b"Mozilla/5.0 (X11; Linux x86_64) Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0"
    b',"l":[1800.0,43200.0],"l":[null,2592000.0],"p":1,"e":,"d":{"o":"oidc","r":"m":"w":"'
    b'{"v":1,"i":"","s":"user-","c":17,"l":[3600.0,86400.0],"k":{"email":".com","name":"","roles":["'
    b'"]},"x":[{"kind":"password","at":17}],"t":{"user_agent":"Mozilla/5.0 (","address":"'
    b'"},"h":["'
)


def packed(body: bytes) -> bytes:
    """Return a body in fewer bytes, or as it is where that is not smaller.

    Args:
        body: as `SessionRecord.encode_body` wrote it.
    """
    if len(body) > _MOST:
        return body
    deflater = zlib.compressobj(9, zlib.DEFLATED, -12, 6, zlib.Z_DEFAULT_STRATEGY, COMMON)
    small = _DEFLATED + deflater.compress(body) + deflater.flush()
    return small if len(small) < len(body) else body


def unpacked(stored: object) -> bytes:
    """Return the body that `packed` was given.

    Raises:
        RecordUnreadable: the bytes were not written by it, are damaged, or would unpack to more than it packs.
    """
    if isinstance(stored, bytes):
        if stored[:1] != _DEFLATED:
            return stored
        inflater = zlib.decompressobj(-12, COMMON)
        try:
            body = inflater.decompress(stored[1:], _MOST)
        except zlib.error:
            body = b""
        if inflater.eof:
            return body
    raise RecordUnreadable("What the store holds under this key is no body of a session; it is left as it is.")
