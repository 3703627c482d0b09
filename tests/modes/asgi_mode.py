"""Plain ASGI on asyncio: the scenario app as a bare callable with a table of routes."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, unquote

import anyio
from blockbuster import BlockBuster

from session_middleware import (
    SessionError,
    SettingsError,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.asgi import SessionLifetimeMiddleware, safe_return_to, session_from
from session_middleware.testing.adapter_contract import Answer, describe, login_arguments

NAME = "asgi"

#: Finds blocking calls on asyncio's loop. It lets pass the two short reads that SQLiteStore makes in place, and what the
#: test kit does there in another process's name; nothing else.
DETECTOR = BlockBuster()
for _function in DETECTOR.functions.values():
    _function.can_block_in("session_middleware/stores/sqlite.py", {"load", "holds"})
    _function.can_block_in("session_middleware/testing/watched_store.py", {"_let_act"})
SUPPORTS_MOUNT = True

Scope = dict[str, Any]
Response = tuple[int, list[tuple[str, str]], bytes]
View = Callable[[Scope], Awaitable[Response]]


def as_json(document: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    return status, [("content-type", "application/json"), *headers], json.dumps(document).encode()


def query_of(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def shown(scope: Scope) -> Response:
    return as_json(describe(session_from(scope)))


async def me(scope: Scope) -> Response:
    return shown(scope)


@session_optional
async def open_(scope: Scope) -> Response:
    return shown(scope)


@session_exempt
async def exempt(scope: Scope) -> Response:
    return as_json({"exempt": True})


@session_exempt
async def exempt_using(scope: Scope) -> Response:
    await session_from(scope).open()
    return shown(scope)


@no_touch
async def poll(scope: Scope) -> Response:
    return shown(scope)


@fresh_login_required(within=300)
async def fresh(scope: Scope) -> Response:
    return shown(scope)


@session_required(on_unavailable="stale")
async def stale(scope: Scope) -> Response:
    return shown(scope)


async def login_page(scope: Scope) -> Response:
    return 200, [("content-type", "text/html; charset=utf-8")], b"<h1>login</h1>"


@session_optional
async def login(scope: Scope) -> Response:
    await session_from(scope).login(**login_arguments(query_of(scope)))
    return shown(scope)


@session_optional(cross_site_login=True)
async def bound_login(scope: Scope) -> Response:
    await session_from(scope).login(**login_arguments(query_of(scope)))
    return shown(scope)


async def step_up(scope: Scope) -> Response:
    await session_from(scope).step_up([{"type": "otp"}])
    return shown(scope)


@session_optional
async def sign_out(scope: Scope) -> Response:
    await session_from(scope).logout()
    return as_json({"ok": True})


async def extend(scope: Scope) -> Response:
    try:
        await session_from(scope).extend(float(query_of(scope)["minutes"]))
    except SettingsError as problem:
        return as_json({"error": problem.code}, 400)
    except SessionError as problem:
        return as_json({"error": problem.code}, 409)
    return shown(scope)


async def claims(scope: Scope) -> Response:
    session_from(scope).update_claims(**json.loads(query_of(scope)["set"]))
    return shown(scope)


async def data(scope: Scope) -> Response:
    session_from(scope).data.update(json.loads(query_of(scope)["set"]))
    return shown(scope)


async def end_others(scope: Scope) -> Response:
    return as_json({"ended": await session_from(scope).end_others()})


@session_optional
async def login_then_fail(scope: Scope) -> Response:
    await session_from(scope).login(query_of(scope)["subject"])
    raise RuntimeError("after the login")


@session_optional
async def login_then_refuse(scope: Scope) -> Response:
    await session_from(scope).login(query_of(scope)["subject"])
    raise PermissionError("after the login")  # which nobody answers here


@session_optional
async def login_then_error(scope: Scope) -> Response:
    await session_from(scope).login(query_of(scope)["subject"])
    return as_json({"error": "sorry"}, 500)


async def fail(scope: Scope) -> Response:
    raise RuntimeError("as asked")


@session_optional
async def headers(scope: Scope) -> Response:
    session = session_from(scope)
    return as_json(
        {"verdict": session.verdict.name},
        headers=[("vary", "Accept-Encoding"), ("cache-control", "public, max-age=60")],
    )


async def own_cookie(scope: Scope) -> Response:
    return as_json(describe(session_from(scope)), headers=[("set-cookie", "app=1")])


@session_optional
async def return_to(scope: Scope) -> Response:
    return as_json({"to": safe_return_to(scope)})


ROUTES: dict[tuple[str, str], View] = {
    ("GET", "/me"): me,
    ("POST", "/me"): me,
    ("GET", "/open"): open_,
    ("GET", "/exempt"): exempt,
    ("GET", "/exempt-using"): exempt_using,
    ("GET", "/poll"): poll,
    ("GET", "/fresh"): fresh,
    ("GET", "/stale"): stale,
    ("GET", "/login"): login_page,
    ("POST", "/login"): login,
    ("POST", "/bound-login"): bound_login,
    ("POST", "/step-up"): step_up,
    ("POST", "/sign-out"): sign_out,
    ("POST", "/extend"): extend,
    ("POST", "/claims"): claims,
    ("POST", "/data"): data,
    ("POST", "/end-others"): end_others,
    ("POST", "/login-then-fail"): login_then_fail,
    ("POST", "/login-then-refuse"): login_then_refuse,
    ("POST", "/login-then-error"): login_then_error,
    ("GET", "/fail"): fail,
    ("GET", "/headers"): headers,
    ("GET", "/own-cookie"): own_cookie,
    ("GET", "/return-to"): return_to,
}


def endpoint_of(scope: Scope) -> View | None:
    method, path = scope["method"], scope["path"].removeprefix(scope["root_path"])
    return ROUTES.get(("GET" if method == "HEAD" else method, path))


async def application(scope: Scope, receive: Any, send: Any) -> None:
    view = endpoint_of(scope)
    status, sent, body = await view(scope) if view else (404, [("content-type", "text/plain")], b"nothing here")
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class _Sending:
    """What takes a response; as with real servers, the object that `send` belongs to holds the scope."""

    def __init__(self, scope: Scope, received: list[dict[str, Any]]) -> None:
        self.scope, self.received = scope, received

    async def send(self, message: dict[str, Any]) -> None:
        _lint(self.received, message)
        self.received.append(message)


class ASGIDriver:
    """Calls an ASGI app as a server does, on a loop of its own, where nothing may block.

    Args:
        run: runs a coroutine function with arguments, such as `trio.run`.
        close: stops what it runs on.
    """

    def __init__(self, app: Any, run: Callable[..., Any], close: Callable[[], None], mount: str = "") -> None:
        self.app = judged(app)
        self.mount = mount
        self._run = run
        self._close = close

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        return self.requests([(method, target, headers, body)])[0]

    def requests(self, asked: list[tuple[str, str, list[tuple[str, str]], bytes]]) -> list[Answer]:
        """Send requests at once, as tasks of one loop; return the answers in their order."""
        DETECTOR.activate()  # until the test ends (tests/conftest.py): to begin and end takes longer than most requests
        answers: list[Answer] = self._run(self._exchanges, asked)
        return answers

    def close(self) -> None:
        self._close()

    async def _exchanges(self, asked: list[tuple[str, str, list[tuple[str, str]], bytes]]) -> list[Answer]:
        if len(asked) == 1:
            return [await self._exchange(*asked[0])]
        answers: dict[int, Answer] = {}

        async def one(number: int) -> None:
            answers[number] = await self._exchange(*asked[number])

        async with anyio.create_task_group() as tasks:
            for number in range(len(asked)):
                tasks.start_soon(one, number)
        return [answers[number] for number in range(len(asked))]

    async def _exchange(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        scope = self._scope(method, target, headers)
        received: list[dict[str, Any]] = []
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not waiting:
                await _forever()  # a server says "disconnect" once the client has gone, and ours waits for its answer
            return waiting.pop()

        try:
            await self.app(scope, receive, _Sending(scope, received).send)
        except AssertionError:
            raise  # the linter's judgement, not the app's
        except Exception:
            return Answer(500, [], traceback.format_exc().encode())
        assert received, "the app ended without a response"
        start, *rest = received
        sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        return Answer(start["status"], sent, b"".join(part.get("body", b"") for part in rest))

    def _scope(self, method: str, target: str, headers: list[tuple[str, str]]) -> Scope:
        path, _, query = target.partition("?")
        assert path.startswith(self.mount), "the target lies outside the mount"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": self.mount,
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": ("192.0.2.7", 50_000),
            "server": ("app.example", 443),
            "extensions": {},
            "state": {},
        }


async def _forever() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        import trio

        await trio.sleep_forever()
    await asyncio.Event().wait()


def judged(app: Any) -> Any:
    """Put the ASGI linter asgion around an app where it is to be had (it needs Python 3.12); a violation is a 500.

    Not held against us: an app that raises sends no response (HF-001, checked by the driver); a HEAD response names the
    length that GET would have (SEM-003; RFC 9110 §9.3.2); what the scenario apps themselves send (HF-011, SEM-013).
    """
    try:
        import asgion
    except ImportError:
        return app
    return asgion.inspect(app, strict=True, exclude_rules={"HF-001", "SEM-003", "HF-011", "SEM-013"})


def _lint(before: list[dict[str, Any]], message: dict[str, Any]) -> None:
    """Hold a message to the ASGI specification."""
    if message["type"] == "http.response.start":
        assert not before, "a second response start"
        assert isinstance(message["status"], int)
        for name, value in message["headers"]:
            assert isinstance(name, bytes), f"{name!r} is no byte string"
            assert isinstance(value, bytes), f"{value!r} is no byte string"
            assert name == name.lower(), f"{name!r} is not in lower case"
            assert not {10, 13, 0} & set(value), f"{value!r} splits the response"
    else:
        assert message["type"] == "http.response.body", f"an unknown message {message['type']!r}"
        assert before, "a body before the start"
        assert before[-1]["type"] == "http.response.start" or before[-1].get("more_body"), "a body after the end"


def wrapped(settings: Any, store: Any, *, clock: Any, on_event: Any = (), authority: Any = None) -> Any:
    return SessionLifetimeMiddleware(
        application,
        settings,
        store,
        clock=clock,
        on_event=on_event,
        authority=authority,
        endpoint_of=endpoint_of,
    )


def make(settings: Any, store: Any, *, mount: str = "", **options: Any) -> ASGIDriver:
    runner = asyncio.Runner()

    def run(call: Any, *args: Any) -> Any:
        return runner.run(call(*args))

    return ASGIDriver(wrapped(settings, store, **options), run, runner.close, mount)
