"""What a session costs in store calls, writes, cookies and signatures: counted, in every mode, on any machine the same."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from session_middleware.adapters import asgi, wsgi
from session_middleware.core.jwt import JwtKeys
from session_middleware.settings import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.browser import Browser
from session_middleware.testing.stage import JWT, KEY, TOKEN, Stage

from .conftest import FEW
from .fresh_python import printed_by

MODES = sorted(path.stem for path in (Path(__file__).parent / "modes").glob("*_mode.py"))

#: The README's limits, which the stage would otherwise shorten.
LIMITS: dict[str, Any] = {"inactivity_timeout": 3_600, "absolute_lifetime": 86_400}


#: What counts in thousands does so in few modes in an ordinary run.
in_thousands = pytest.mark.parametrize(
    "stage",
    [name if name.removesuffix("_mode") in FEW else pytest.param(name, marks=pytest.mark.slow) for name in MODES],
    ids=lambda name: name.removesuffix("_mode"),
    indirect=True,
)


@pytest.fixture(params=MODES, ids=lambda name: name.removesuffix("_mode"))
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    made = Stage(importlib.import_module(f"tests.modes.{request.param}").make, MemoryStore())
    yield made
    made.close()


def ask(browser: Browser, times: int, between: Callable[[], object] = lambda: None) -> int:
    """Ask for a page of whoever is signed in; return how many Set-Cookie headers came."""
    before = len(browser.answers)
    for _ in range(times):
        between()
        answer = browser.fetch("/me")
        assert answer.status == 200, answer.body
    return sum(len(answer.set_cookies) for answer in browser.answers[before:])


@in_thousands
def test_a_thousand_requests_a_second_apart(stage: Stage) -> None:
    """1,000 requests of one session, 1 s apart, cost at most 18 writes and 12 Set-Cookie, the login's included."""
    browser = stage.signed_in(**LIMITS)
    cookies = len(browser.answers[-1].set_cookies)
    cookies += ask(browser, 1_000, lambda: stage.clock.advance(1))
    assert stage.store.calls["create"] == 1
    assert stage.store.calls["touch"] >= 1_000 // 60 - 1  # so that the next line does not hold for want of any
    assert stage.store.writes <= 18
    assert 4 <= cookies <= 12


def test_nothing_is_written_at_the_instant_of_the_login(stage: Stage) -> None:
    """100 requests at the login's own instant write nothing and set no cookie: login recorded that instant (L5)."""
    browser = stage.signed_in(**LIMITS)
    stage.store.forget_calls()
    assert ask(browser, 100) == 0
    assert stage.store.writes == 0


@in_thousands
def test_one_touch_serves_a_whole_interval(stage: Stage) -> None:
    """1,000 requests within one touch interval write exactly one touch, the first's, and set no cookie.

    L5 wants that one: the login set the exact deadline, and activity after it may not end earlier than the timeout.
    """
    browser = stage.signed_in(**LIMITS)
    stage.clock.advance(1)
    stage.store.forget_calls()
    assert ask(browser, 1) == 0
    assert dict(+stage.store.calls) | {"load": 1} == {"load": 1, "touch": 1}
    stage.store.forget_calls()
    assert ask(browser, 999, lambda: stage.clock.advance(0.05)) == 0
    assert stage.store.writes == 0
    assert stage.store.calls["load"] == 0  # the store says "the same record still", 999 times
    assert stage.store.calls["holds"] == 999


@pytest.mark.parametrize(
    "cookies",
    [
        f"{TOKEN}=AAAAAAAAAAAAAAAAAAAAAA.0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        f"{TOKEN}=",
        f"{TOKEN}=%00%FF; {JWT}=a.b.c",
        f"{TOKEN}=" + "A" * 20_000,
        f"{TOKEN}=one; {TOKEN}=two",
        f"{JWT}=eyJhbGciOiJub25lIn0.e30.",
    ],
    ids=["forged", "empty", "malformed", "oversized", "two", "jwt-alone"],
)
def test_bad_credentials_reach_no_store(stage: Stage, cookies: str) -> None:
    """A forged, malformed or oversized token is refused without a single store call, also when it comes again."""
    browser = stage.visitor()
    browser.cookie_header = cookies
    for _ in range(2):
        answer = browser.fetch("/me")
        assert answer.status == 401
        assert not answer.set_cookies
    assert stage.store.total == 0


def test_a_token_of_ours_that_was_changed_reaches_no_store(stage: Stage) -> None:
    """A real token with one character changed, anywhere in it, is refused without a store call."""
    browser = stage.signed_in()
    token = browser.jar[TOKEN]
    stage.store.forget_calls()
    for place in range(0, len(token), 7):
        other = "B" if token[place] == "A" else "A"
        browser.cookie_header = f"{TOKEN}={token[:place]}{other}{token[place + 1 :]}"
        assert browser.fetch("/me").status == 401
    assert stage.store.total == 0


def test_anonymous_requests_reach_no_store(stage: Stage) -> None:
    """Nobody signed in: no store call and no Set-Cookie, whether the page is open or refuses them (L27)."""
    browser = stage.visitor()
    assert browser.fetch("/open").status == 200
    assert browser.fetch("/exempt").status == 200
    assert browser.fetch("/me").status == 401
    assert browser.navigate("/me").status == 303
    assert stage.store.total == 0
    assert not any(answer.set_cookies for answer in browser.answers)


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every session JWT that is signed from now on."""
    signed: list[object] = []
    sign = JwtKeys.mint

    def noted(keys: JwtKeys, claims: Any) -> str:
        text = sign(keys, claims)
        signed.append(text)
        return text

    monkeypatch.setattr(JwtKeys, "mint", noted)
    return signed


async def _asgi_view(scope: Any, receive: Any, send: Any) -> None:
    session = asgi.session_from(scope)
    if scope["path"] == "/login":
        await session.login("alice")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _asgi_request(app: Any, path: str, method: str, cookies: str) -> list[str]:
    headers = [(b"host", b"app.example"), (b"sec-fetch-site", b"same-origin"), (b"cookie", cookies.encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "scheme": "https"}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        await asyncio.sleep(0)  # so that the requests overlap
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    return [value.decode() for name, value in sent[0]["headers"] if name == b"set-cookie"]


def _jar(lines: list[str]) -> str:
    return "; ".join(line.partition(";")[0] for line in lines)


def test_one_signature_for_fifty_tasks(signatures: list[object]) -> None:
    """50 parallel requests when the JWT is due: one signature, and all 50 are given that JWT (L9)."""
    clock = FakeClock()
    app = asgi.SessionLifetimeMiddleware(_asgi_view, Settings(secret_keys=[KEY]), MemoryStore(), clock=clock)

    async def all_of_them() -> list[list[str]]:
        jar = _jar(await _asgi_request(app, "/login", "POST", ""))
        assert len(signatures) == 1
        clock.advance(299)
        return list(await asyncio.gather(*(_asgi_request(app, "/", "GET", jar) for _ in range(50))))

    answers = asyncio.run(all_of_them())
    assert len(signatures) == 2
    assert {_jar(lines) for lines in answers} == {f"{JWT}={signatures[1]}"}


def test_one_signature_for_fifty_threads(signatures: list[object]) -> None:
    """50 threads at once when the JWT is due: one signature, and all 50 are given that JWT (L9)."""
    clock = FakeClock()

    def view(environ: Any, start_response: Any) -> list[bytes]:
        session = wsgi.session_from(environ)
        if environ["PATH_INFO"] == "/login":
            session.login("alice")
        start_response("200 OK", [])
        return [b""]

    app = wsgi.SessionLifetimeMiddleware(view, Settings(secret_keys=[KEY]), MemoryStore(), clock=clock)

    def request(path: str, method: str, cookies: str) -> list[str]:
        answers: list[tuple[str, list[tuple[str, str]]]] = []
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": "app.example", "HTTP_COOKIE": cookies}
        start: Any = lambda *answer: answers.append(answer)  # noqa: E731 # its type is the server's business
        app(environ | {"HTTP_SEC_FETCH_SITE": "same-origin"}, start)
        assert answers[0][0] == "200 OK"
        return [value for name, value in answers[0][1] if name == "Set-Cookie"]

    jar = _jar(request("/login", "POST", ""))
    assert len(signatures) == 1
    clock.advance(299)
    together = threading.Barrier(50)

    def one(_: int) -> str:
        together.wait(10)
        return _jar(request("/", "GET", jar))

    with ThreadPoolExecutor(50) as pool:
        answers = set(pool.map(one, range(50)))
    assert len(signatures) == 2
    assert answers == {f"{JWT}={signatures[1]}"}


def test_importing_the_package_pulls_in_nothing() -> None:
    """`import session_middleware` loads the standard library at most: no database, no HTTP, no cryptography."""
    script = (
        "import sys; before = set(sys.modules); import session_middleware; "
        "session_middleware.Settings; session_middleware.session_optional; "
        "print(' '.join(sorted(set(sys.modules) - before)))"
    )
    loaded = set(printed_by(script).split())
    assert "session_middleware.settings" in loaded
    assert {name.partition(".")[0] for name in loaded} <= sys.stdlib_module_names | {"session_middleware"}
    assert not {"sqlite3", "_sqlite3", "ssl", "_ssl", "http.client", "http.server", "urllib.request", "dbm"} & loaded
    assert not any(name.startswith("session_middleware.adapters") for name in loaded)
