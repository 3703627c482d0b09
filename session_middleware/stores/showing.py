"""How the URL of a store may be shown: what is certainly harmless in it, and of the rest nothing."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HIDDEN", "masked"]

#: Stands for what may be a secret.
HIDDEN: Final = "***"

_HOST: Final = r"(?:[\w.-]*|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?"
_OPTIONS: Final = re.compile(r"[a-z_]+=[^&@#\s]*(?:&[a-z_]+=[^&@#\s]*)*")


def _far(scheme: str, path: str) -> re.Pattern[str]:
    """Return what is well formed: all before the last "@" is hidden, and no "@" stands behind what ends a host."""
    return re.compile(rf"(?P<scheme>{scheme}://)(?P<account>[^/?#]*@)?(?P<harmless>{_HOST}(?:,{_HOST})*{path})")


#: Whole, or hidden whole: of a URL with a mistake in it nobody knows which part was to be the password.
_WELL_FORMED: Final = (
    re.compile(r"(?P<scheme>memory://)(?P<account>)(?P<harmless>)"),
    re.compile(r"(?P<scheme>sqlite://)(?P<account>)(?P<harmless>/[\w./~ %:\\-]*)"),
    _far(r"(?:redis|valkey)s?", r"(?:/\d{0,5})?"),
    _far(r"(?:redis|valkey)s?\+cluster", r""),
    _far(r"(?:redis|valkey)s?\+sentinel", r"(?:/[\w.-]*(?:/\d{0,5})?)?"),
    _far(r"postgres(?:ql)?", r"(?:/[\w.-]*)?"),
)
_SCHEME: Final = re.compile(r"(?:memory|sqlite|postgres(?:ql)?|(?:redis|valkey)s?(?:\+cluster|\+sentinel)?):(?://)?")


def masked(url: str) -> str:
    """Return a URL as errors and logs may show it: scheme, hosts, path and the names of options; never their values.

    Whatever is not written as one of our URLs is hidden, but for a scheme of ours: it may be another product's way to
    name a server and a password, or the password alone.
    """
    address, question, query = url.partition("?")
    for form in _WELL_FORMED:
        found = form.fullmatch(address)
        if found is None or "@" in query or "#" in query:
            continue
        account = f"{HIDDEN}@" if found["account"] else ""
        return f"{found['scheme']}{account}{found['harmless']}{question and '?' + _names(query)}"
    scheme = _SCHEME.match(url)
    return f"{scheme[0] if scheme else ''}{HIDDEN}"


def _names(query: str) -> str:
    """Return the options without what they say."""
    if not _OPTIONS.fullmatch(query):
        return HIDDEN
    return "&".join(f"{option.partition('=')[0]}={HIDDEN}" for option in query.split("&"))
