"""The browser script: the module that `GET client.js` answers with, and the tag that loads it (docs/client.md)."""

from __future__ import annotations

import difflib
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qs

from session_middleware.core.exchange import RequestFacts
from session_middleware.core.origin import on_this_host
from session_middleware.core.refusal import HARDENING, Reply
from session_middleware.errors import SettingsError

__all__ = ["OPTIONS", "SCRIPT", "TEXTS", "VERSION", "ScriptTag", "reply", "script_tag"]

#: The dialog's texts, as `client.js` names them in camel case.
TEXTS: Final = (
    *("warning_title", "warning_text", "final_title", "final_text", "lapsed_title", "lapsed_text"),
    *("unsure_title", "unsure_text"),
    *("signed_out_title", "signed_out_text", "changed_title", "changed_text", "fresh_title", "fresh_text"),
    *("continue", "log_out", "sign_in", "elsewhere", "reload", "close", "left", "announce", "failed", "local_only"),
)

#: What `script_tag` takes; everything but the nonce becomes a `data-` attribute.
OPTIONS: Final = (
    *("nonce", "dialog", "activity", "events", "landing", "signed_out", "sign_in_target"),
    *(f"text_{name}" for name in TEXTS),
)

#: Options that know one word only.
_SWITCHES: Final = {"dialog": "off", "activity": "off", "events": "off"}


class ScriptTag(str):
    """HTML that templates put in as it is: Jinja and Django ask for `__html__`."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


#: The module as it is sent: `client.js` made small by `python -m tests.client.checks`, which a test repeats. Read when
#: this is imported, since an event loop must not wait for a file.
SCRIPT: Final = files("session_middleware.client").joinpath("client.min.js").read_bytes()

#: What changes when the module does: the `v` of its address and its ETag.
VERSION: Final = sha256(SCRIPT).hexdigest()[:16]


def script_tag(prefix: str = "/session", mount: str = "", **options: str) -> ScriptTag:
    """Return the tag that loads the browser script, for the `<head>` of every page.

    Args:
        prefix: `endpoint_prefix` of the settings.
        mount: below which path the app is mounted, as it was decoded; "" at the root.
        options: `nonce` of the page's Content-Security-Policy; `dialog="off"`, `activity="off"` and `events="off"`;
            `landing`, `signed_out` and `sign_in_target`; a text of the dialog as `text_continue="Weiter"` (docs/client.md).

    Raises:
        SettingsError: there is no such option, or its value is not text it knows.

    Example:
        >>> script_tag(text_continue="Weiter")
        '<script type="module" src="/session/client.js?v=..." data-text-continue="Weiter"></script>'
    """
    attributes = []
    for name, value in options.items():
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(OPTIONS[:7])} and text_...."
            raise SettingsError(name, value, "is no option of the browser script.", hint)
        only = _SWITCHES.get(name)
        if not isinstance(value, str) or (only is not None and value != only):
            given = f"Give {only!r}, or leave it out." if only else "Give text."
            raise SettingsError(name, value, "is not what this option takes.", given)
        attribute = name if name == "nonce" else f"data-{name.replace('_', '-')}"
        attributes.append(f' {attribute}="{escape(value)}"')
    source = escape(f"{on_this_host(f'{mount}{prefix}/client.js')}?v={VERSION}")
    return ScriptTag(f'<script type="module" src="{source}"{"".join(attributes)}></script>')


def reply(facts: RequestFacts) -> Reply:
    """Answer `GET client.js`: to be kept for good under the address of this very version, else asked for again.

    While a new version of the app is rolled out, an old server may be asked for the new script: its answer must not be
    kept under that address.
    """
    current = parse_qs(facts.target.partition("?")[2]).get("v") == [VERSION]
    headers = (
        ("Cache-Control", "public, max-age=31536000, immutable" if current else "no-cache"),
        ("ETag", f'"{VERSION}"'),
        *(pair for pair in HARDENING if pair[0] != "Cache-Control"),
    )
    known = {tag.strip().removeprefix("W/") for tag in (facts.header("if-none-match") or "").split(",")}
    if known & {f'"{VERSION}"', "*"}:
        return Reply(304, headers)
    return Reply(200, (("Content-Type", "text/javascript; charset=utf-8"), *headers), SCRIPT)
