"""Which cache and cookie headers a response needs once the session was looked at (L18)."""

from __future__ import annotations

from collections.abc import Sequence

from session_middleware.core.cookies import Relayed, sent_beside

__all__ = ["PRIVATE", "finished", "merge_vary"]

PRIVATE = "private, no-cache"
STORE_NOTHING = "private, no-store"


def finished(
    headers: Sequence[tuple[str, str]], *, vary: str, protected: bool, cookies: Sequence[str]
) -> list[tuple[str, str]]:
    """Return a response's headers with what L18 asks for.

    Args:
        headers: the app's headers, in order.
        vary: what the session was read from, "Cookie" or "Cookie, Authorization"; "" if it was not looked at.
        protected: whether the route requires a session.
        cookies: Set-Cookie values; ours replace any the app set under the same names, a provider's (`Relayed`) do not.
    """
    if not vary:
        return list(headers)
    if any(isinstance(line, Relayed) for line in cookies):
        cookies = sent_beside(cookies, {_name(value) for name, value in headers if name.lower() == "set-cookie"})
    ours = {line.partition("=")[0] for line in cookies}
    kept: list[tuple[str, str]] = []
    standing_vary: str | None = None
    standing_control: str | None = None
    for name, value in headers:
        lower = name.lower()
        if lower == "vary":
            standing_vary = value if standing_vary is None else f"{standing_vary}, {value}"
        elif lower == "cache-control":
            standing_control = value if standing_control is None else f"{standing_control}, {value}"
        elif lower != "set-cookie" or _name(value) not in ours:
            kept.append((name, value))
    kept.append(("Vary", merge_vary(standing_vary, *vary.split(", "))))
    control = _cache_control(standing_control, protected=protected, sets_cookie=bool(cookies))
    if control is not None:
        kept.append(("Cache-Control", control))
    kept.extend(("Set-Cookie", line) for line in cookies)
    return kept


def _name(line: str) -> str:
    return line.partition("=")[0].strip()


def _cache_control(standing: str | None, *, protected: bool, sets_cookie: bool) -> str | None:
    if sets_cookie:
        strict = standing is not None and "no-store" in standing.lower() and "public" not in standing.lower()
        return standing if strict else STORE_NOTHING
    if protected and standing is None:
        return PRIVATE
    return standing


def merge_vary(standing: str | None, *names: str) -> str:
    """Return a Vary value with names added, each once, the app's own first (L18)."""
    have = [part.strip() for part in (standing or "").split(",") if part.strip()]
    if "*" in have:
        return "*"
    known = {part.lower() for part in have}
    return ", ".join(have + [name for name in names if name.lower() not in known])
