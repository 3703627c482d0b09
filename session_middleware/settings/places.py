"""The checks of where things are: paths, URLs, and the cookies that a browser keeps for a place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from session_middleware.errors import SettingsError
from session_middleware.settings.choices import Put, choice

if TYPE_CHECKING:
    from session_middleware.settings.options import Settings

__all__ = ["check_cookies", "check_paths"]

_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
_PATH_HOSTILE = re.compile(r"[\x00-\x20\x7f\\]")


def check_paths(settings: Settings, put: Put) -> None:
    """Check what is a path, a URL or a parameter of one (L15, L21)."""
    paths = settings.exempt_paths
    if isinstance(paths, str):
        raise SettingsError("exempt_paths", paths, "is one path, not a list.", f"Write exempt_paths=[{paths!r}].")
    for path in paths:
        if (
            not path.startswith("/")
            or _PATH_HOSTILE.search(path)
            or "*" in path[:-1]
            or (path.endswith("*") and not path.endswith("/*"))
        ):
            raise SettingsError(
                "exempt_paths",
                path,
                "is not a path.",
                "Write an exact path like '/health', or a prefix like '/static/*'.",
            )
    put("exempt_paths", tuple(paths))
    prefix = settings.endpoint_prefix
    if not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix or _PATH_HOSTILE.search(prefix):
        raise SettingsError("endpoint_prefix", prefix, "is not a path prefix.", "Write it like '/session'.")
    url = settings.login_url
    if isinstance(url, str) and (not url or _PATH_HOSTILE.search(url) or url.startswith("//")):
        raise SettingsError(
            "login_url", url, "is neither a path nor a route name.", "Write '/login' or the route's name."
        )
    if settings.return_param is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", settings.return_param):
        raise SettingsError(
            "return_param", settings.return_param, "is not a parameter name.", "Write letters like 'return_to'."
        )
    for name, urls in [("logout_urls", settings.logout_urls), *settings.logout_urls_by_client.items()]:
        for target in [urls] if isinstance(urls, str) else urls:
            if isinstance(urls, str) or not re.fullmatch(
                r"(?:https?://[^\s\\/?#@]+(?:[/?][^\s\\#]*)?)|(?:/(?![/\\])[^\s\\#]*)", target
            ):
                raise SettingsError(
                    "logout_urls" if name == "logout_urls" else f"logout_urls_by_client[{name!r}]",
                    target,
                    "is not a list of URLs to return to after logout.",
                    "Write ['/'] or ['https://app.example/bye']; entries match exactly.",
                )
    put("logout_urls", tuple(settings.logout_urls))
    put("logout_urls_by_client", {k: tuple(v) for k, v in settings.logout_urls_by_client.items()})


def check_cookies(settings: Settings, put: Put) -> None:
    """Check what the cookies are called and say (L19)."""
    name = settings.cookie_name
    if not _COOKIE_NAME.match(name) or len(name) > 64:
        raise SettingsError(
            "cookie_name", name, "is not a cookie name (RFC 6265bis §4.1.1).", "Use letters, digits, - and _."
        )
    if name.lower().startswith(("__host-", "__secure-")):
        raise SettingsError("cookie_name", name, "has the prefix already.", "Leave it out: we add it.")
    choice(settings, "cookie_samesite", "Lax", "Strict", "None")
    if settings.cookie_domain is not None:
        if not _HOST.match(settings.cookie_domain.lstrip(".")):
            raise SettingsError(
                "cookie_domain", settings.cookie_domain, "is not a host name.", "Write it like 'example.org'."
            )
        put("cookie_domain", settings.cookie_domain.lstrip(".").lower())
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
