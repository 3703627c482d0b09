"""What every adapter is given: what makes no sense is refused before the first request, with what to give instead."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from session_middleware import Settings, SettingsError
from session_middleware.adapters.asgi import SessionLifetimeMiddleware as ASGI
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware as WSGI
from session_middleware.authorities.local import LocalAuthority
from session_middleware.authorities.routes import Endpoint
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import FakeClock

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"


@pytest.mark.parametrize("middleware", [ASGI, WSGI])
@pytest.mark.parametrize(
    ("store", "says"),
    [
        (SQLiteStore, "store='SQLiteStore': is a class"),
        (Path("sessions.db"), "is no store: it has no create, load, save, renew, end, list. Give a store"),
        ({}, "'sqlite:///sessions.db'"),
    ],
)
def test_what_is_no_store_is_refused(middleware: Any, store: Any, says: str) -> None:
    """Taken as it is, it would be a store that is down for ever: 503 at each login."""
    with pytest.raises(SettingsError) as refused:
        middleware(lambda *_: None, Settings(secret_keys=[KEY]), store)
    assert says in str(refused.value)


@pytest.mark.parametrize("middleware", [ASGI, WSGI])
@pytest.mark.parametrize("name", ["login", "./login", "javascript:1"])
def test_the_name_of_a_route_is_refused_where_nobody_knows_routes(middleware: Any, name: str) -> None:
    """A browser would take it for a path beside each page, which leads to itself and never to the login."""
    with pytest.raises(SettingsError, match="knows no names of routes"):
        middleware(lambda *_: None, Settings(secret_keys=[KEY], login_url=name), "memory://")
    with pytest.raises(SettingsError, match=r"fresh_login_url.*knows no names of routes"):
        middleware(lambda *_: None, Settings(secret_keys=[KEY], fresh_login_url=name), "memory://")


@pytest.mark.parametrize("middleware", [ASGI, WSGI])
@pytest.mark.parametrize("url", ["/login", "https://id.example/login", lambda facts: "/login"])
def test_a_path_a_url_and_a_function_need_no_routes(middleware: Any, url: Any) -> None:
    """What says by itself where people sign in is taken in plain WSGI and ASGI too."""
    settings = Settings(secret_keys=[KEY], login_url=url)
    assert middleware(lambda *_: None, settings, "memory://").engine.settings.login_url == url


async def _later(event: object) -> None: ...


@pytest.mark.parametrize("middleware", [ASGI, WSGI])
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"clock": 5}, "clock=5: is not a function. Give one that returns seconds"),
        ({"on_event": 5}, "on_event=5: is not a list. Give a function that takes a SessionEvent"),
        ({"on_event": [print, None]}, "on_event=None: is not a function. Give a function that takes"),
        ({"on_event": _later}, "nobody would await what it returns"),
        ({"on_event": "print"}, "on_event='print': is one value, not a list"),
        ({"clock": FakeClock}, "is what it answers, and no number. Give one that returns seconds"),
        ({"clock": datetime.now}, "is what it answers, and no number"),
        ({"clock": lambda: True}, "clock=True: is what it answers"),
        (
            {"authority": "auth0"},
            "authority='auth0': is no authority: it has no name, verify_interval, verify. Give one",
        ),
        (
            {"authority": LocalAuthority},
            "authority='LocalAuthority': is a class. Give one, such as LocalAuthority(...)",
        ),
        (
            {"authority": SimpleNamespace(name="mine", verify_interval=0, verify=True)},
            "is no authority: its verify cannot be called. Give one",
        ),
        ({"settings": {}}, "settings='dict': is not Settings"),
    ],
)
def test_what_is_no_function_and_no_authority_is_refused(middleware: Any, given: dict[str, Any], says: str) -> None:
    """Each names the argument, what was given, and what to give instead."""
    with pytest.raises(SettingsError) as refused:
        middleware(lambda *_: None, **{"settings": Settings(secret_keys=[KEY]), "store": "memory://", **given})
    assert says in str(refused.value)


@pytest.mark.parametrize("middleware", [ASGI, WSGI])
@pytest.mark.parametrize("name", ["login_url", "fresh_login_url"])
def test_a_login_page_among_our_endpoints_is_refused(middleware: Any, name: str) -> None:
    """L15, L21: the app is never asked there; a route of the authority's is a place to sign in."""
    given: dict[str, Any] = {"secret_keys": [KEY], "endpoint_prefix": "/me", name: "/me/login?a=1"}
    with pytest.raises(SettingsError, match=r"endpoint_prefix \('/me'\)") as refused:
        middleware(lambda *_: None, Settings(**given), "memory://")
    assert refused.value.field == name
    desk = SimpleNamespace(
        name="desk",
        verify_interval=None,
        verify=lambda *_: None,
        endpoints=(Endpoint("GET", "login", lambda ask: None),),  # type: ignore[arg-type, return-value]  # never called
    )
    middleware(lambda *_: None, Settings(**given), "memory://", authority=desk)
    middleware(lambda *_: None, Settings(**{**given, name: "/mean"}), "memory://")
