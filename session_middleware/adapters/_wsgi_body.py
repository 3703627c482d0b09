"""The body of a WSGI request, as far as an endpoint of ours reads it: it must be known where it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from session_middleware.adapters._wsgi_exchange import Environ
from session_middleware.endpoints import NoLength

__all__ = ["body_reader", "is_chunked", "read_to_its_end", "refuse_endless"]


def is_chunked(environ: Environ) -> bool:
    """Say whether a body comes in chunks, and so without a Content-Length that counts (RFC 9112 §6.3)."""
    return "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()


def refuse_endless(environ: Environ) -> None:
    """Refuse a body in chunks where the server does not say that reading it ends.

    PEP 3333 knows no such bodies; servers that do take the chunks apart set `wsgi.input_terminated`.

    Raises:
        NoLength: it is one of those.
    """
    if is_chunked(environ) and not environ.get("wsgi.input_terminated"):
        raise NoLength


def body_reader(environ: Environ) -> Callable[[int], Awaitable[bytes]]:
    """Return what reads at most so many bytes of the body for an endpoint of ours."""

    async def read_body(limit: int) -> bytes:
        refuse_endless(environ)
        length = environ.get("CONTENT_LENGTH")
        if environ.get("wsgi.input_terminated") and (not length or is_chunked(environ)):
            return read_to_its_end(environ["wsgi.input"], limit)
        try:
            size = int(length or 0)
        except ValueError:
            raise ValueError("Content-Length is not a number") from None
        if not 0 <= size <= limit:
            raise ValueError("the body is too long")
        body: bytes = environ["wsgi.input"].read(size) if size else b""
        return body

    return read_body


def read_to_its_end(stream: Any, limit: int) -> bytes:  # Any: a file of bytes
    """Read a stream that has an end; it may give less at a time than it is asked for.

    Raises:
        ValueError: it is longer.
    """
    body = b""
    while part := stream.read(limit + 1 - len(body)):
        body += part
        if len(body) > limit:
            raise ValueError("the body is too long")
    return body
