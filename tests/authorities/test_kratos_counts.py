"""How many calls Kratos gets: one whoami an interval and session, one where fifty requests want it at once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from session_middleware.adapters.asgi import SessionLifetimeMiddleware as ASGIMiddleware
from session_middleware.adapters.asgi import session_from as asession_from
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, session_from
from session_middleware.authorities.kratos import KratosAuthority
from session_middleware.settings import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import KEY
from tests.authorities.kratos_town import FEW, town
from tests.authorities.kratos_world import World, world

PARALLEL = 50


@pytest.mark.parametrize("mode", FEW)
def test_a_thousand_requests_in_five_minutes(mode: str) -> None:
    """1,000 requests of one session in 300 s are at most one call each interval of 10 s: 31, the adoption included (L8)."""
    with town(mode) as place:
        browser = place.browser(place.alice())
        for _ in range(1000):
            served(browser.fetch("/me"))
            place.clock.advance(0.3)
        calls = Counter(place.paths())
        assert calls.total() == calls["GET /sessions/whoami"]
        assert calls.total() <= 31


@pytest.mark.parametrize("interval", [0.0, 60.0])
def test_the_interval_is_a_setting(interval: float) -> None:
    """`verify_interval=0` asks on each request; a minute asks once a minute."""
    with town("wsgi") as place:
        browser = place.browser(place.alice(), authority=place.authority(verify_interval=interval))
        for _ in range(100):
            served(browser.fetch("/me"))
            place.clock.advance(1.2)
        assert len(place.kratos.calls) == (100 if interval == 0 else 2)


# --- fifty at once -------------------------------------------------------------------------------------------------


def authority_of(here: World) -> KratosAuthority:
    return KratosAuthority(here.public_url, admin_url=here.admin_url, app_url="https://app.example", lifespan=3600)


def settings() -> Settings:
    return Settings(secret_keys=[KEY], inactivity_timeout=3600, absolute_lifetime=28_800)


@pytest.mark.parametrize("moment", ["adoption", "interval", "extension"])
def test_fifty_threads_at_the_same_moment(moment: str) -> None:
    """Fifty requests that all want an answer of Kratos' make the calls of one, in a threaded server."""
    with world(lifespan=3600.0) as here:
        authority = authority_of(here)
        gate = threading.Barrier(PARALLEL)

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            subject = session_from(environ).subject
            start("200 OK", [("Content-Type", "text/plain")])
            return [str(subject).encode()]

        told: list[Any] = []
        wrapped: Any = SessionLifetimeMiddleware(
            app, settings(), MemoryStore(), authority=authority, clock=here.clock, on_event=(told.append,)
        )

        def ask(cookies: str, wait: bool = True) -> tuple[str, list[str], bytes]:
            got: list[Any] = []
            if wait:
                gate.wait(20)
            environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_COOKIE": cookies, "wsgi.url_scheme": "https"}
            body = b"".join(wrapped(environ, lambda status, headers, _=None: got.extend((status, headers))))
            lines = [value.partition(";")[0] for name, value in got[1] if name.lower() == "set-cookie"]
            return got[0], lines, body

        alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
        cookies = alice.cookie
        if moment != "adoption":
            cookies = "; ".join([alice.cookie, *ask(alice.cookie, wait=False)[1]])
            here.clock.advance(10 if moment == "interval" else 1801)
        before = len(here.kratos.calls)
        here.kratos.faults.be_slow(0.3, only="/sessions/whoami", times=1)
        with ThreadPoolExecutor(PARALLEL) as pool:
            answers = list(pool.map(ask, [cookies] * PARALLEL))
        assert {event.name for event in told} <= {"session_created", "session_renewed"}, told
        assert {(status, body) for status, _, body in answers} == {("200 OK", alice.identity.encode())}
        _check(here, before, moment)
        authority.close()


@pytest.mark.parametrize("moment", ["adoption", "interval", "extension"])
def test_fifty_tasks_at_the_same_moment(moment: str) -> None:
    """The same on one event loop."""
    with world(lifespan=3600.0) as here:
        authority = authority_of(here)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            body = str(asession_from(scope).subject).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

        wrapped: Any = ASGIMiddleware(
            app, settings=settings(), store=MemoryStore(), authority=authority, clock=here.clock
        )

        async def ask(cookies: str) -> tuple[int, list[str], bytes]:
            sent: list[dict[str, Any]] = []

            async def send(message: dict[str, Any]) -> None:
                sent.append(message)

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b"", "more_body": False}

            headers = [(b"host", b"app.example"), (b"cookie", cookies.encode())]
            scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b""}
            scope |= {"headers": headers, "scheme": "https", "root_path": "", "client": ("127.0.0.1", 1)}
            await wrapped(scope, receive, send)
            lines = [v.decode().partition(";")[0] for n, v in sent[0]["headers"] if n.lower() == b"set-cookie"]
            return sent[0]["status"], lines, sent[1]["body"]

        alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))

        async def all_of_them() -> int:
            cookies = alice.cookie
            if moment != "adoption":
                cookies = "; ".join([alice.cookie, *(await ask(alice.cookie))[1]])
                here.clock.advance(10 if moment == "interval" else 1801)
            before = len(here.kratos.calls)
            here.kratos.faults.be_slow(0.3, only="/sessions/whoami", times=1)
            answers = await asyncio.gather(*(ask(cookies) for _ in range(PARALLEL)))
            assert {(status, body) for status, _, body in answers} == {(200, alice.identity.encode())}
            await authority.aclose()
            return before

        _check(here, asyncio.run(all_of_them()), moment)


def _check(here: World, before: int, moment: str) -> None:
    calls = Counter(call.method for call in here.kratos.calls[before:])
    if moment == "extension":  # whoami to verify; then the row, the extension, and whoami for the new cookie
        assert calls == {"GET": 3, "PATCH": 1}
    else:
        assert calls == {"GET": 1}
