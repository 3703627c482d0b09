"""The module as a file: its size, its types, its tag in every framework; and our own pages, seen by axe."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Settings, SettingsError
from session_middleware.client import SCRIPT, TEXTS, VERSION, script_tag
from session_middleware.core import pages

from .checks import CLIENT, axe_finds, built, compiles

KEY = "module suite key 0f6a1b2c3d4e5f60718293a4b5c6d7e8"


def test_it_is_small() -> None:
    """5 KB (of 1024 bytes) at most, compressed as a server would."""
    assert len(gzip.compress(SCRIPT, 9, mtime=0)) <= 5 * 1024


@pytest.mark.slow
@pytest.mark.server
def test_what_is_shipped_is_what_the_source_says() -> None:
    """`python -m tests.client.checks` would change nothing."""
    assert built() == SCRIPT, "run: python -m tests.client.checks"


@pytest.mark.slow
@pytest.mark.server
def test_the_types_compile_at_their_strictest() -> None:
    """A page's own dialog compiles against client.d.ts; what is not there does not."""
    assert compiles(Path(__file__).parent / "types.ts") == ""


def test_the_types_name_what_the_module_has() -> None:
    """Every member that the declarations promise stands in the source."""
    declared = set(re.findall(r"^  (?:readonly )?(\w+)[(:]", (CLIENT / "client.d.ts").read_text(), re.MULTILINE))
    source = (CLIENT / "client.js").read_text()
    own = source[source.index("class Session") :]
    assert len(declared) == 13
    assert all(re.search(rf"\b{name}\b", own) for name in declared - {"addEventListener", "type"})


def test_every_text_can_be_translated() -> None:
    """The options of the tag are the texts of the module, no more and no less."""
    source = (CLIENT / "client.js").read_text()
    block = source[source.index("const TEXTS") : source.index("const STYLE")]
    names = re.findall(r"^  (\w+): \"", block, re.MULTILINE)
    assert [re.sub(r"([A-Z])", r"_\1", name).lower() for name in names] == list(TEXTS)


# --- the tag -----------------------------------------------------------------------------------------------------------


def test_the_tag_carries_the_hash_the_nonce_and_the_texts() -> None:
    """Values are escaped, the mount is part of the address."""
    tag = script_tag("/s", "/moünt", nonce="abc", text_close='"Zu" <>', sign_in_target="_self")
    assert tag == (
        f'<script type="module" src="/mo%C3%BCnt/s/client.js?v={VERSION}" nonce="abc" '
        'data-text-close="&quot;Zu&quot; &lt;&gt;" data-sign-in-target="_self"></script>'
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"text_continu": "x"}, "Did you mean 'text_continue'?"),
        ({"zzz": "x"}, "is no option of the browser script"),
        ({"dialog": "no"}, "Give 'off', or leave it out."),
        ({"landing": 5}, "Give text."),
    ],
)
def test_an_option_that_is_none_is_refused(options: dict[str, Any], says: str) -> None:
    """The message names the option and what to write."""
    with pytest.raises(SettingsError, match=re.escape(says)):
        script_tag(**options)


def test_flask_templates_have_it(tmp_path: Path) -> None:
    """`{{ session_client() }}` in any template, below the mount, not escaped."""
    flask = pytest.importorskip("flask")
    from session_middleware.adapters.flask import SessionLifetime
    from session_middleware.stores.memory import MemoryStore

    app = flask.Flask("shop", instance_path=str(tmp_path))
    SessionLifetime(app, Settings(secret_keys=[KEY], endpoint_prefix="/s"), MemoryStore())
    with app.test_request_context("/x", environ_overrides={"SCRIPT_NAME": "/mount"}):
        written = flask.render_template_string("{{ session_client(text_continue='Weiter <b>') }}")
    assert written == script_tag("/s", "/mount", text_continue="Weiter <b>")


def test_starlette_templates_have_it() -> None:
    """`{{ session_client(request) }}` with the function as a global of the templates, below the mount, not escaped."""
    pytest.importorskip("starlette")
    jinja2 = pytest.importorskip("jinja2")
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from session_middleware import session_optional
    from session_middleware.adapters.starlette import SessionLifetimeMiddleware, session_client
    from session_middleware.stores.memory import MemoryStore

    templates = jinja2.Environment(autoescape=True)
    templates.globals["session_client"] = session_client

    @session_optional
    async def page(request: Any) -> Any:
        return HTMLResponse(templates.from_string("{{ session_client(request) }}").render(request=request))

    wrap = Middleware(SessionLifetimeMiddleware, settings=Settings(secret_keys=[KEY]), store=MemoryStore())
    client = TestClient(Starlette(routes=[Route("/", page)], middleware=[wrap]), root_path="/mount")
    assert client.get("/mount/").text == script_tag("/session", "/mount")


def test_django_templates_have_it() -> None:
    """`{% load session_client %}` finds it in the installed app; below the mount, not escaped."""
    pytest.importorskip("django")
    from tests.modes.django_settings import configure

    configure()
    from django.template.backends.django import DjangoTemplates
    from django.test import override_settings
    from django.urls import get_script_prefix, set_script_prefix
    from django.utils.functional import lazystr

    from session_middleware.stores.memory import MemoryStore

    backend = DjangoTemplates({"NAME": "x", "DIRS": [], "APP_DIRS": True, "OPTIONS": {}})
    template = backend.from_string("{% load session_client %}{% session_client text_close=word nonce=nonce %}")
    before = get_script_prefix()
    set_script_prefix("/mount/")
    try:
        with override_settings(SESSION_LIFETIME={"endpoint_prefix": "/s", "store": MemoryStore()}):
            written = template.render({"word": lazystr("Zu <b>"), "nonce": "abc"})
    finally:
        set_script_prefix(before)
    assert written == script_tag("/s", "/mount", text_close="Zu <b>", nonce="abc")


# --- our pages ---------------------------------------------------------------------------------------------------------

ROW = pages.Row(
    True, "2027-01-15T08:00:00Z", "2027-01-15T08:30:00Z", {"user_agent": "Firefox", "address": "192.0.2.1"}, "/e"
)


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "page",
    [
        pages.signed_out("/login", None),
        pages.signed_out("/login", "kratos"),
        pages.confirm_logout("/session/logout", [("return_to", "/")]),
        pages.sessions([ROW, pages.Row(False, ROW.created_at, ROW.last_seen_at, {}, "/f")], "/o"),
        pages.problem("This request was made by another site.", "Go back and try again."),
    ],
    ids=["signed out", "signed out, provider", "sign out?", "sessions", "problem"],
)
def test_axe_finds_nothing_on_our_pages(chromium: Any, page: bytes, scheme: Any) -> None:
    """Each of core/pages.py, light and dark, as narrow as a telephone."""
    tab = chromium.new_page(color_scheme=scheme, viewport={"width": 320, "height": 640})
    tab.set_content(page.decode())
    found = axe_finds(tab)
    wide = tab.evaluate("document.documentElement.scrollWidth")
    tab.close()
    assert found == []
    assert wide <= 320
