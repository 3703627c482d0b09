"""The few pages a person may land on: plain HTML that works without script, on narrow screens and by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Row", "confirm_logout", "continued", "problem", "sessions", "signed_out"]

_STYLE = (
    ":root{color-scheme:light dark;background:Canvas;color:CanvasText}"
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}"
    "ul{list-style:none;padding:0}li{border:1px solid;border-radius:.5rem;padding:.75rem 1rem;margin:0 0 1rem}"
    "button{font:inherit;padding:.5rem 1rem;min-height:2.75rem;cursor:pointer}"
    "p{margin:.5rem 0}"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One session as the list page shows it; instants as RFC 3339 text."""

    current: bool
    created_at: str
    last_seen_at: str
    attributes: Mapping[str, str]
    end_url: str


def _page(title: str, *parts: str) -> bytes:
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{''.join(parts)}</main></body></html>\n"
    )
    return text.encode("utf-8", "replace")  # a lone surrogate, say in a header, is no reason to fail


def _form(action: str, button: str, fields: Iterable[tuple[str, str]] = ()) -> str:
    hidden = "".join(f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields)
    return (
        f'<form method="post" action="{escape(action)}">{hidden}<button type="submit">{escape(button)}</button></form>'
    )


def signed_out(login_url: str, provider: str | None) -> bytes:
    """Return the landing page after logout.

    Args:
        login_url: where to sign in again.
        provider: where the user may still be signed in; None where the app itself is the authority, and where the
            provider's session is known to be over.
    """
    warning = ""
    if provider is not None:
        warning = (
            f"<p>You may still be signed in at the identity provider ({escape(provider)}). "
            "On a shared computer, sign out there too, or close the browser.</p>"
        )
    return _page(
        "You are signed out",
        "<p>Your session here has ended.</p>",
        warning,
        f'<p><a href="{escape(login_url)}">Sign in again</a></p>',
    )


def confirm_logout(action: str, fields: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return the page that asks before signing out: opening an address must change nothing.

    Args:
        action: where the form posts to.
        fields: names and values that go with it.
    """
    return _page("Sign out?", "<p>This ends your session in this browser.</p>", _form(action, "Sign out", fields))


def continued() -> bytes:
    """Return the page for who has continued by a form and whose browser does not say on which page that stands."""
    return _page("You stay signed in", "<p>You can go back to the page that you came from.</p>")


def sessions(rows: Sequence[Row], end_others_url: str) -> bytes:
    """Return the list of one's sessions, each with a button that ends it."""
    others = _form(end_others_url, "Sign out all others") if any(not row.current for row in rows) else ""
    return _page("Your sessions", f"<ul>{''.join(map(_item, rows))}</ul>", others)


def _item(row: Row) -> str:
    agent = row.attributes.get("user_agent") or "Unknown browser"
    address = row.attributes.get("address")
    return (
        f"<li><p><strong>{escape(agent)}</strong>{' (this browser)' if row.current else ''}</p>"
        f"<p>{'From ' + escape(address) + '. ' if address else ''}Signed in {_time(row.created_at)}, "
        f"last seen {_time(row.last_seen_at)}.</p>{_form(row.end_url, 'Sign out here' if row.current else 'Sign out')}</li>"
    )


def _time(instant: str) -> str:
    shown = instant.replace("T", " ").replace("Z", " UTC")
    return f'<time datetime="{escape(instant)}">{escape(shown)}</time>'


def problem(title: str, detail: str | None) -> bytes:
    """Return a problem as a page: what went wrong, and what to do."""
    return _page(title, f"<p>{escape(detail)}</p>" if detail else "")
