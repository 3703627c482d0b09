"""The checks of where things are: paths, URLs, origins, and the cookies that a browser keeps for a place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from session_middleware.errors import SettingsError
from session_middleware.settings.choices import Put, choice
from session_middleware.settings.kinds import check_function, text, texts

if TYPE_CHECKING:
    from session_middleware.settings.options import Settings

__all__ = ["check_cookies", "check_paths"]

_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
_PATH_HOSTILE = re.compile(r"[\x00-\x20\x7f\\]")
#: Segments that every server and browser leaves as they are (RFC 3986 §3.3): none of dots alone. A prefix is compared with decoded
#: paths, in which nothing is encoded, and no query.
_PREFIX = re.compile(r"(?:/(?!\.+(?:/|$))[A-Za-z0-9._~!$&'()+,;=:@-]+)+")
#: Beside what no request can have, what a browser takes away before it asks: a query, a fragment, segments of dots (WHATWG URL).
_NEVER_ASKED = re.compile(r"[\x00-\x1f\x7f\\?#]|/\.{1,2}(?=/|\Z)| \Z")
_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?", re.IGNORECASE)
_USUAL_PORTS = {"http": 80, "https": 443}
_LOGOUT_URL = re.compile(r"(?:https?://[^\s\\/?#@]+(?:[/?][^\s\\#]*)?)|(?:/(?![/\\])[^\s\\#]*)")
#: What stands beside the return parameter in the address of the login page.
_OWN_PARAMS = frozenset({"reason", "aal"})


def check_paths(settings: Settings, put: Put) -> None:
    """Check what is a path, a URL or a parameter of one (L15, L21)."""
    _check_exempt_paths(settings, put)
    put("trusted_origins", _origins(settings.trusted_origins))
    prefix = text("endpoint_prefix", settings.endpoint_prefix, "Write it like '/session'.")
    if not _PREFIX.fullmatch(prefix):
        raise SettingsError(
            "endpoint_prefix", prefix, "is not a path prefix.", "Write it like '/session': letters, digits, '-', '_'."
        )
    _check_page("login_url", settings.login_url, "/login")
    if settings.fresh_login_url is not None:
        _check_page("fresh_login_url", settings.fresh_login_url, "/confirm")
    if settings.return_param is not None:
        _check_return_param(settings.return_param)
    put("logout_urls", _logout_urls("logout_urls", settings.logout_urls))
    clients = settings.logout_urls_by_client
    wanted = "Write {'client': ['https://app.example/bye']}."
    if not isinstance(clients, Mapping):
        raise SettingsError("logout_urls_by_client", clients, "is not a mapping of client ids to lists.", wanted)
    lists = {}
    for client, urls in clients.items():
        text("logout_urls_by_client", client, wanted)
        lists[client] = _logout_urls(f"logout_urls_by_client[{client!r}]", urls)
    put("logout_urls_by_client", lists)


def _check_page(name: str, url: object, example: str) -> None:
    if callable(url):
        check_function(name, url, "Give a path, a route name or a function.")
        return
    wanted = f"Write {example!r} or the route's name."
    given = text(name, url, wanted)
    if _PATH_HOSTILE.search(given) or given.startswith("//"):
        raise SettingsError(name, url, "is neither a path nor a route name.", wanted)


def _check_exempt_paths(settings: Settings, put: Put) -> None:
    fix = "Write an exact path like '/health', or a prefix like '/static/*'."
    paths = texts("exempt_paths", settings.exempt_paths, fix)
    for path in paths:
        if (
            not path.startswith("/")
            or _NEVER_ASKED.search(path)
            or "*" in path[:-1]
            or (path.endswith("*") and not path.endswith("/*"))
        ):
            raise SettingsError("exempt_paths", path, "is not a path, or one that no request has.", fix)
        if unquote(path) != path:
            raise SettingsError(
                "exempt_paths", path, "is percent-encoded; decoded paths are compared.", f"Write {unquote(path)!r}."
            )
    put("exempt_paths", paths)


def _origins(given: object) -> tuple[str, ...]:
    """Return origins as browsers write them in the header Origin, with which they are compared (RFC 6454 §6.2)."""
    found = []
    for origin in texts("trusted_origins", given, "Give a list of scheme://host[:port]."):
        if "*" in origin:
            raise SettingsError(
                "trusted_origins", origin, "is a pattern, and none is understood here.", "List each origin in full."
            )
        if not origin.isascii():
            raise SettingsError(
                "trusted_origins",
                origin,
                "has letters that no browser sends in an Origin.",
                "Write the host in Punycode, as in 'https://xn--bcher-kva.example'.",
            )
        match = _ORIGIN.fullmatch(origin)
        if match is None or int(match[3] or 0) > 65_535:
            raise SettingsError(
                "trusted_origins", origin, "is not an origin.", "Write scheme://host[:port], nothing after."
            )
        scheme, host = match[1].lower(), match[2].lower()
        port = None if match[3] is None else int(match[3])
        found.append(f"{scheme}://{host}" + ("" if port in (None, _USUAL_PORTS[scheme]) else f":{port}"))
    return tuple(found)


def _check_return_param(name: object) -> None:
    fix = "Write letters like 'return_to'."
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text("return_param", name, fix)):
        raise SettingsError("return_param", name, "is not a parameter name.", fix)
    if name in _OWN_PARAMS:
        raise SettingsError(
            "return_param", name, "is a parameter that we send to the login page ourselves.", "Write 'return_to'."
        )


def _logout_urls(name: str, urls: object) -> tuple[str, ...]:
    fix = "Write ['/'] or ['https://app.example/bye']; entries match exactly."
    found = texts(name, urls, fix)
    for url in found:
        if not _LOGOUT_URL.fullmatch(url):
            raise SettingsError(name, url, "is no URL to return to after logout.", fix)
        if "*" in url:  # as in exempt_paths, or at some providers
            raise SettingsError(name, url, "is a pattern, and none is understood here.", fix)
    return found


def check_cookies(settings: Settings, put: Put) -> None:
    """Check what the cookies are called and say (L19)."""
    name = text("cookie_name", settings.cookie_name, "Write it like 'session'.")
    if not _COOKIE_NAME.match(name) or len(name) > 64:
        raise SettingsError(
            "cookie_name", name, "is not a cookie name (RFC 6265bis §4.1.1).", "Use letters, digits, - and _."
        )
    if name.lower().startswith(("__host-", "__secure-")):
        raise SettingsError("cookie_name", name, "has the prefix already.", "Leave it out: we add it.")
    if name.lower().endswith("_jwt"):
        other = name[: -len("_jwt")]
        problem = f"is what the session JWT's cookie of an app with cookie_name={other!r} is called (L19)."
        raise SettingsError("cookie_name", name, problem, "Leave out the _jwt: we add it where it belongs.")
    choice(settings, "cookie_samesite", "Lax", "Strict", "None")
    if settings.cookie_domain is not None:
        domain = text("cookie_domain", settings.cookie_domain, "Write it like 'example.org'.").lstrip(".")
        if not _HOST.match(domain):
            raise SettingsError(
                "cookie_domain", settings.cookie_domain, "is not a host name.", "Write it like 'example.org'."
            )
        put("cookie_domain", domain.lower())
    if settings.insecure_dev and (settings.cookie_samesite == "None" or settings.cookie_partitioned):
        raise SettingsError(
            "insecure_dev",
            True,
            "drops Secure, which SameSite=None and Partitioned need.",
            "Use it only with cookie_samesite 'Lax' or 'Strict' and cookie_partitioned=False.",
        )
    if settings.cookie_partitioned and settings.cookie_domain:
        raise SettingsError(
            "cookie_partitioned", True, "wants a __Host- cookie.", "Leave out cookie_domain (CHIPS recommends __Host-)."
        )
