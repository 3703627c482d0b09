"""Where a request comes from: the cross-site rules of L20, and addresses on this host that are safe to return to."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from session_middleware.core.exchange import SAFE_METHODS, RequestFacts
from session_middleware.settings import Settings

__all__ = [
    "is_cross_site",
    "is_foreign",
    "is_ours",
    "is_preflight",
    "may_change_state",
    "on_this_host",
    "path_of",
    "percent_encoded",
    "return_path",
    "safe_path",
]

#: Longer return paths are dropped: they would not fit a Location header that every proxy passes on.
PATH_LIMIT: Final = 2048

_HOSTILE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\\\u2028\u2029\ufeff]")
#: What may stand in a path as it is (RFC 3986 §3.3), "%" included.
_PATH: Final = "/%:@!$&'()*+,;=-._~"
_PORTS: Final = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}


def _host(netloc: str, scheme: str) -> str:
    return netloc.lower().removesuffix(_PORTS.get(scheme, ":"))


def _same_host(origin: str, facts: RequestFacts, settings: Settings) -> bool:
    """Say whether an Origin is this host, over a scheme that is not weaker, or one that is trusted."""
    origin = origin.lower()
    if origin in settings.trusted_origins:
        return True
    scheme, separator, netloc = origin.partition("://")
    if not separator or scheme not in ("http", "https") or not facts.host:
        return False
    if scheme == "http" and facts.scheme in ("https", "wss"):
        return False
    # A proxy may speak http to us for an https page, so the port to leave out is the Origin's own.
    return _host(netloc, scheme) in (_host(facts.host, scheme), _host(facts.host, facts.scheme))


def may_change_state(facts: RequestFacts, settings: Settings) -> bool:
    """Say whether one of our own state-changing endpoints may act on this request (L20)."""
    if settings.transport == "header" and is_ours(facts.header("authorization") or ""):
        return True  # no browser sends this scheme on its own, as it does Basic
    origin = facts.header("origin")
    site = facts.header("sec-fetch-site")
    if site is not None:
        return site == "same-origin" or (origin is not None and origin.lower() in settings.trusted_origins)
    if origin is not None:
        return _same_host(origin, facts, settings)
    return settings.csrf_without_headers == "allow"


def is_ours(authorization: str) -> bool:
    """Say whether an Authorization header is of our scheme (L19); any other is no business of ours."""
    return authorization.partition(" ")[0].lower() == "session"


def is_cross_site(facts: RequestFacts, settings: Settings) -> bool:
    """Say whether the browser tells us that another site made this request; unsure counts as no."""
    origin = facts.header("origin")
    if origin is not None and origin.lower() in settings.trusted_origins:
        return False
    site = facts.header("sec-fetch-site")
    if site is not None:
        return site == "cross-site"
    return origin is not None and facts.method not in SAFE_METHODS and not _same_host(origin, facts, settings)


def is_foreign(facts: RequestFacts, settings: Settings) -> bool:
    """Say whether a WebSocket handshake carries an Origin that is not ours (RFC 6455 §10.2, ASVS 4.4.2)."""
    origin = facts.header("origin")
    return origin is not None and not _same_host(origin, facts, settings)


def is_preflight(facts: RequestFacts) -> bool:
    """Say whether this is a CORS preflight (Fetch §3.2.2)."""
    return facts.header("origin") is not None and facts.header("access-control-request-method") is not None


def percent_encoded(url: str) -> str:
    """Return a URL with everything percent-encoded that none may hold (RFC 3986 §2), as a Location header needs it.

    What is encoded already stays as it is.
    """
    return quote(url, safe=_PATH + "?#[]", errors="surrogatepass")


def on_this_host(path: str, *, more: str = "") -> str:
    """Return a decoded path percent-encoded, its slashes at the start as one: two would name another host.

    Args:
        path: the path; a mount in front of it may have come with the request.
        more: characters that stay as they are beside those of a path (RFC 3986 §3.3).
    """
    encoded = quote(path, safe=_PATH + more, errors="surrogatepass")
    return "/" + encoded.lstrip("/") if encoded.startswith("//") else encoded


def safe_path(value: object) -> str | None:
    """Return a path on this host, percent-encoded, or None if the value is or might become anything else."""
    if not isinstance(value, str) or not value.startswith("/") or len(value) > PATH_LIMIT:
        return None
    if value.startswith("//") or _HOSTILE.search(value):
        return None
    try:
        return quote(value, safe="/?&=%:;,+$!*'()@-._~[]#")
    except UnicodeEncodeError:  # a lone surrogate
        return None


def return_path(query: str, name: str, default: str) -> str:
    """Return where to go after login: a query's return parameter if it is one path on this host, else `default` (L15)."""
    values = parse_qs(query, keep_blank_values=True).get(name, [])
    path = safe_path(values[0]) if len(set(values)) == 1 else None
    return default if path is None else path


def path_of(url: str | None, facts: RequestFacts) -> str | None:
    """Return path and query of a URL that the browser says is a page of this host, else None."""
    if not url or len(url) > PATH_LIMIT or _HOSTILE.search(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not facts.host:
        return None
    if _host(parts.netloc, parts.scheme) not in (_host(facts.host, parts.scheme), _host(facts.host, facts.scheme)):
        return None
    return safe_path((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
