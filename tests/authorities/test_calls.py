"""Calls to a provider: a status is an answer, anything else a fault of a kind; never a secret in words (L17)."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import trio

from session_middleware import SettingsError
from session_middleware.authorities.base import Attached
from session_middleware.authorities.calls import Answered, Calls, ProviderFault, path_segment
from session_middleware.runtime import LoopRuntime, Runtime, ThreadRuntime, run_sync
from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins._serving import served
from tests.fresh_python import printed_by

SECRET = "not-to-be-seen"


class Provider:
    """A WSGI callable that answers as told, and counts."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.hold = threading.Event()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.seen.append({**environ, "body": body})
        answer = self.answers.pop(0) if self.answers else (200, {}, b"{}")
        if answer == "hang up":
            raise ConnectionError
        if answer == "hold":
            self.hold.wait(10)
            answer = (200, {}, b"{}")
        status, headers, content = answer
        start(f"{status} -", [("Content-Type", "application/json"), *headers.items()])
        return [content]


@pytest.fixture
def provider() -> Iterator[tuple[Provider, str]]:
    app = Provider()
    with served(app) as url:  # type: ignore[arg-type]  # a WSGI callable without wsgiref's own types
        yield app, url
        app.hold.set()


FORMS: dict[str, Callable[[Any], Any]] = {
    "blocking": lambda work: run_sync(work()),
    "asyncio": lambda work: asyncio.run(work()),
    "trio": lambda work: trio.run(work),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def attached(calls: Calls, form: str, clock: Callable[[], float] | None = None) -> Calls:
    runtime: Runtime = ThreadRuntime() if form == "blocking" else LoopRuntime()
    return calls.attached(Attached(runtime, clock or FakeClock(), lambda purpose: (b"k" * 32,)))


def ask(calls: Calls, how: str, *args: Any, times: int = 1, **more: Any) -> Any:
    """Make a call, or several, in one form; return the last answer, or the fault."""

    async def work() -> Any:
        found: Any = None
        for _ in range(times):
            try:
                found = await calls.ask(*args, **more)
            except ProviderFault as fault:
                found = fault
        if how == "blocking":
            calls.close()
        else:
            await calls.aclose()
        return found

    return FORMS[how](work)


def test_what_is_sent(provider: tuple[Provider, str], form: str) -> None:
    """Method, path below the base, query, JSON or form, Basic and headers arrive as they were given."""
    app, url = provider
    calls = attached(Calls(f"{url}/v1/", basic=("project", SECRET), headers={"X-More": "1"}), form)
    app.answers = [(404, {"X-Request": "r"}, b'{"error": "none"}')]
    found = ask(calls, form, "POST", "/sessions", query={"a": "ü&"}, json={"n": 1}, headers={"X-This": "2"})
    assert isinstance(found, Answered)
    assert (found.status, found.object(), found.header("x-request")) == (404, {"error": "none"}, "r")
    [seen] = app.seen
    assert (seen["REQUEST_METHOD"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("POST", "/v1/sessions", "a=%C3%BC%26")
    assert json.loads(seen["body"]) == {"n": 1}
    assert (seen["HTTP_X_MORE"], seen["HTTP_X_THIS"]) == ("1", "2")
    assert seen["HTTP_AUTHORIZATION"].startswith("Basic ")
    ask(attached(Calls(url), form), form, "POST", "/form", form={"a": "b c"})
    assert app.seen[-1]["body"] == b"a=b+c"


def test_cookies_of_the_provider_come_as_they_are(provider: tuple[Provider, str], form: str) -> None:
    """Each Set-Cookie line is kept whole, and none of them is sent back with a later call: it belongs to a browser."""
    app, url = provider
    app.answers = [(200, {"Set-Cookie": "a=1; Path=/; HttpOnly"}, b"{}")]
    calls = attached(Calls(url), form)
    assert ask(calls, form, "GET", "/").set_cookies == ("a=1; Path=/; HttpOnly",)
    app.answers = [(200, {"Set-Cookie": "a=1; Path=/"}, b"{}")]
    ask(calls, form, "GET", "/", times=2)
    assert "HTTP_COOKIE" not in app.seen[-1]


@pytest.mark.parametrize(("status", "kind"), [(500, "outage"), (502, "outage"), (503, "outage"), (429, "throttled")])
def test_what_is_no_answer(provider: tuple[Provider, str], form: str, status: int, kind: str) -> None:
    """429 and 5xx say nothing about a session; with Retry-After the provider is left alone for so long."""
    app, url = provider
    clock = FakeClock()
    calls = attached(Calls(url), form, clock)
    app.answers = [(status, {"Retry-After": "20"}, b"")]
    fault = ask(calls, form, "GET", "/x")
    assert (fault.kind, fault.retry_after) == (kind, 20)
    assert ask(calls, form, "GET", "/x").kind == "left_alone"
    assert len(app.seen) == 1
    clock.advance(20)
    assert ask(calls, form, "GET", "/x").status == 200


def test_cookies_that_no_response_can_carry(provider: tuple[Provider, str], form: str) -> None:
    """What a browser would refuse, or a framework, is left out, so that it breaks no answer of ours."""
    app, url = provider
    good = ["a=1; Path=/; SameSite=Lax", 'b="x y"=; Domain=example.org', "c="]
    calls, found = attached(Calls(url), form), []
    for line in [*good, "d=1\x01", "d=1\t2", "", "no name", "=5", "d=\x7f", "d=caf\u00e9", "d;=1"]:
        app.answers = [(200, {"Set-Cookie": line}, b"{}")]
        found += ask(calls, form, "GET", "/x").set_cookies
    assert found == good


@pytest.mark.parametrize("text", [".", "..", "a/../b", "?x=1#y", "\u00e9 %2e", "a" * 300])
def test_a_part_of_a_path_stays_one(provider: tuple[Provider, str], text: str) -> None:
    """Whatever an id is, it cannot lead to another address: not by slashes, and not by dots that a client takes away."""
    app, url = provider
    ask(attached(Calls(url), "blocking"), "blocking", "GET", f"/users/{path_segment(text)}/sessions")
    assert app.seen[-1]["PATH_INFO"].encode("latin-1").decode() == f"/users/{text}/sessions"
    assert app.seen[-1]["QUERY_STRING"] == ""
    with pytest.raises(ValueError, match="empty"):
        path_segment("")


def test_a_pause_of_a_day_is_not_believed(provider: tuple[Provider, str]) -> None:
    """A minute at most, and a date in place of seconds is none; a clock set back ends it too."""
    app, url = provider
    clock = FakeClock()
    calls = attached(Calls(url), "blocking", clock)
    app.answers = [(429, {"Retry-After": "86400"}, b"")]
    ask(calls, "blocking", "GET", "/x")
    clock.advance(60)
    assert ask(calls, "blocking", "GET", "/x").status == 200
    app.answers = [(429, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, b"")]
    assert ask(calls, "blocking", "GET", "/x").retry_after is None
    assert ask(calls, "blocking", "GET", "/x").status == 200
    app.answers = [(429, {"Retry-After": "30"}, b"")]
    ask(calls, "blocking", "GET", "/x")
    clock.set(clock() - 3_600)
    assert ask(calls, "blocking", "GET", "/x").status == 200


def test_statuses_that_are_expected(provider: tuple[Provider, str]) -> None:
    """A status from 500 on may be an answer, where the caller says so."""
    app, url = provider
    app.answers = [(503, {}, b"{}")]
    assert ask(attached(Calls(url), "blocking"), "blocking", "GET", "/x", expect=(503,)).status == 503


def test_a_broken_connection_is_tried_once_more_where_it_is_safe(provider: tuple[Provider, str], form: str) -> None:
    """GET, and what its caller calls safe; anything else may have been done already."""
    app, url = provider
    calls = attached(Calls(url), form)
    app.answers = ["hang up"]
    assert ask(calls, form, "GET", "/x").status == 200
    app.answers = ["hang up"]
    assert ask(calls, form, "POST", "/x").kind == "connection"
    app.answers = ["hang up"]
    assert ask(calls, form, "POST", "/x", safe=True).status == 200
    app.answers = ["hang up", "hang up"]
    assert ask(calls, form, "GET", "/x").kind == "connection"


def test_after_five_faults_it_is_left_alone(form: str) -> None:
    """Nobody waits in vain for a provider that is down: after five faults it is not asked for a second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"  # bound and not listening: refused
        clock = FakeClock()
        calls = attached(Calls(url), form, clock)
        assert ask(calls, form, "POST", "/x", times=5).kind == "connection"
        assert ask(calls, form, "POST", "/x").kind == "left_alone"
        clock.advance(1)
        assert ask(calls, form, "POST", "/x").kind == "connection"


def test_a_provider_that_hangs_is_left_alone_too(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second counts from when the last call gave up, whose time limit is longer than that."""
    clock = FakeClock()
    calls = attached(Calls("http://127.0.0.1:9"), form, clock)

    async def hang(*given: object) -> Answered:
        clock.advance(calls.timeout)
        raise ProviderFault("timeout", "no answer")

    monkeypatch.setattr(calls, "_send", hang)
    assert ask(calls, form, "GET", "/x", times=5).kind == "timeout"
    assert ask(calls, form, "GET", "/x").kind == "left_alone"


def test_a_call_has_a_time_limit(provider: tuple[Provider, str], form: str) -> None:
    """A provider that accepts and then says nothing costs the time limit, no more."""
    app, url = provider
    app.answers = ["hold"]
    began = time.monotonic()
    assert ask(attached(Calls(url, timeout=0.2), form), form, "GET", "/x").kind == "timeout"
    assert time.monotonic() - began < 5


def test_a_drip_has_the_same_limit(form: str) -> None:
    """Neither does one that sends a byte now and then: the limit is for the whole call."""
    server = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        calls = attached(Calls(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.3), form)
        assert ask(calls, form, "GET", "/x").kind == "timeout"
    finally:
        stop.set()
        thread.join()
        server.close()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_garbage(provider: tuple[Provider, str], body: bytes) -> None:
    """A body that is no JSON object is a fault of the provider's, not an exception of some parser."""
    app, url = provider
    app.answers = [(200, {}, body)]
    found = ask(attached(Calls(url), "blocking"), "blocking", "GET", "/x")
    with pytest.raises(ProviderFault) as fault:
        found.object()
    assert fault.value.kind == "garbage"


def test_an_endless_answer(provider: tuple[Provider, str], form: str) -> None:
    """More than a megabyte is not read to its end, nor is what does not decompress."""
    app, url = provider
    app.answers = [(200, {}, b"x" * 1_100_000)]
    assert ask(attached(Calls(url), form), form, "GET", "/x").kind == "garbage"
    app.answers = [(200, {"Content-Encoding": "gzip"}, b"no gzip")]
    assert ask(attached(Calls(url), form), form, "GET", "/x").kind == "garbage"


@pytest.mark.parametrize("form", ["blocking", "asyncio"])  # on trio the library itself warns of its open generators
def test_an_endless_answer_without_a_length(form: str) -> None:
    """One that never says how long it is does not fill the memory either."""
    server = socket.create_server(("127.0.0.1", 0))

    def pour() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    connection.sendall(b"x" * 65_536)
            except OSError:
                return

    thread = threading.Thread(target=pour)
    thread.start()
    calls = attached(Calls(f"http://127.0.0.1:{server.getsockname()[1]}"), form)
    assert ask(calls, form, "GET", "/x").kind == "garbage"
    thread.join()
    server.close()


def test_redirects_are_not_followed(provider: tuple[Provider, str], form: str) -> None:
    """A redirect is an answer: our credentials go nowhere else."""
    app, url = provider
    app.answers = [(302, {"Location": "https://elsewhere.test/"}, b"")]
    assert ask(attached(Calls(url, basic=("p", SECRET)), form), form, "GET", "/x").status == 302
    assert len(app.seen) == 1


def test_nothing_secret_in_words(provider: tuple[Provider, str]) -> None:
    """Neither in a repr, nor in a fault and what it is chained to, also after pickling."""
    app, url = provider
    calls = attached(Calls(url, basic=("project", SECRET), headers={"X-Key": SECRET}), "blocking")
    app.answers = [(500, {}, SECRET.encode())]
    fault = ask(calls, "blocking", "GET", "/x", query={"token": SECRET})
    answered = ask(calls, "blocking", "GET", "/x", query={"token": SECRET})
    again = pickle.loads(pickle.dumps(fault))
    assert (again.kind, str(again)) == (fault.kind, str(fault))
    for thing in (calls, fault, answered, fault.__cause__, again):
        assert SECRET not in repr(thing)
        assert SECRET not in str(thing)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://api.example.com", "https"),
        ("api.example.com", "address"),
        ("ftp://api.example.com", "address"),
        ("https://", "address"),
        ("https://user:pw@api.example.com", "credentials"),
        ("https://api.example.com/?a=b", "credentials"),
        ("https://api.example.com:port", "address"),
        (None, "address"),
    ],
)
def test_an_address_that_makes_no_sense(url: Any, word: str) -> None:
    """It is refused at start-up, with what is wrong and the fix, and without a password."""
    with pytest.raises(SettingsError, match=word) as fault:
        Calls(url)
    assert "pw" not in str(fault.value)


def test_other_nonsense_at_start_up() -> None:
    """A time limit that is none, and an own client of the wrong form."""
    for timeout in (0, -1, True, "3", 61):
        with pytest.raises(SettingsError, match="timeout"):
            Calls("https://api.example.com", timeout=timeout)  # type: ignore[arg-type]
    assert Calls("http://provider.test", insecure_dev=True).base_url == "http://provider.test"
    with httpx2.Client() as client, pytest.raises(SettingsError, match="AsyncClient"):
        attached(Calls("https://api.example.com", client=client), "asyncio")


def test_a_client_of_the_apps_own(provider: tuple[Provider, str], form: str) -> None:
    """For proxies and certificates: it is used as it is, and never closed by us."""
    app, url = provider
    app.answers = [(200, {"Set-Cookie": "a=1; Path=/"}, b"{}")]
    client: Any = httpx2.Client() if form == "blocking" else httpx2.AsyncClient()
    calls = attached(Calls(url, client=client), form)

    async def work() -> int:
        status = (await calls.ask("GET", "/x")).status
        await calls.ask("GET", "/x")
        assert "HTTP_COOKIE" not in app.seen[-1]
        if form != "blocking":
            await calls.aclose()
            assert not client.is_closed
            await client.aclose()
        return status

    assert FORMS[form](work) == 200
    calls.close()
    if form == "blocking":
        assert not client.is_closed
        client.close()


def test_a_client_of_the_apps_own_knows_nothing_of_ours(provider: tuple[Provider, str], form: str) -> None:
    """What an authority always sends goes with each call; and whatever the client does elsewhere, it follows no redirect."""
    app, url = provider
    app.answers = [(200, {}, b"{}"), (307, {"Location": f"{url}/elsewhere"}, b"")]
    make: Any = httpx2.Client if form == "blocking" else httpx2.AsyncClient
    client = make(follow_redirects=True, headers={"X-Its-Own": "1"})
    calls = attached(
        Calls(url, client=client, headers={"Authorization": f"Bearer {SECRET}"}, basic=None),
        form,
    )
    with_basic = attached(Calls(url, client=client, basic=("project", SECRET)), form)

    async def work() -> list[int]:
        found = [(await calls.ask("GET", "/x")).status]
        found.append(
            (await with_basic.ask("POST", "/y", form={"secret": SECRET}, headers={"Accept": "text/plain"})).status
        )
        if form != "blocking":
            await client.aclose()
        return found

    assert FORMS[form](work) == [200, 307]
    assert len(app.seen) == 2
    first, second = app.seen
    assert (first["HTTP_AUTHORIZATION"], first["HTTP_X_ITS_OWN"]) == (f"Bearer {SECRET}", "1")
    assert (first["HTTP_ACCEPT_ENCODING"], first["HTTP_ACCEPT"]) == ("identity", "application/json")
    assert second["HTTP_AUTHORIZATION"].startswith("Basic ")
    assert second["HTTP_ACCEPT"] == "text/plain"
    if form == "blocking":
        client.close()


def test_one_authority_serves_no_apps_of_both_kinds(provider: tuple[Provider, str]) -> None:
    """A blocking app would be given coroutines that wait, so the second app is refused when it is made."""
    calls = attached(Calls(provider[1]), "blocking")
    attached(calls, "blocking")
    with pytest.raises(SettingsError, match="authority for each app"):
        attached(calls, "asyncio")


def test_connections_are_kept(provider: tuple[Provider, str], form: str) -> None:
    """Ten calls go over one connection."""
    app, url = provider
    ask(attached(Calls(url), form), form, "GET", "/x", times=10)
    assert len({seen["REMOTE_PORT"] for seen in app.seen if "REMOTE_PORT" in seen}) <= 1
    assert len(app.seen) == 10


FIRST_CALL = """
import asyncio, ssl, sys, time
from session_middleware.authorities.base import Attached
from session_middleware.authorities.calls import Calls, ProviderFault
from session_middleware.runtime import LoopRuntime

calls = Calls("http://127.0.0.1:9").attached(Attached(LoopRuntime(), time.time, lambda purpose: (b"key",)))
before, read = set(sys.modules), []
ssl.SSLContext.load_verify_locations = lambda *args, **options: read.append(args)

async def first():
    try:
        await calls.ask("GET", "/x")
    except ProviderFault as fault:
        print(fault.kind, len(read), *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    await calls.aclose()

asyncio.run(first())
"""


def test_the_first_call_of_a_process_does_not_wait_for_the_disk() -> None:
    """Certificates and libraries are read while the app is built: on the loop every request would wait for them."""
    kind, certificates, *loaded = printed_by(FIRST_CALL).split()
    assert (kind, certificates) == ("connection", "0")
    assert not {"httpcore2", "httpx2", "trio"} & set(loaded)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python's own word for what is not closed
def test_loops_that_end_without_a_close_hold_no_connection(provider: tuple[Provider, str]) -> None:
    """A task queue that calls asyncio.run for each job and closes nothing does not use up its files."""
    _, url = provider
    calls = attached(Calls(url), "asyncio")
    clients = []

    async def work() -> None:
        assert isinstance(await calls.ask("GET", "/"), Answered)
        clients.append(weakref.ref(calls._connections.async_client()))

    gc.disable()  # so that what is counted below was freed there and not on the way
    try:
        for _ in range(4):
            asyncio.run(work())
    finally:
        gc.enable()
    gc.collect()
    assert [client() is None for client in clients] == [True, True, True, False]
    calls._connections._empty()
    gc.collect()  # the fourth, while its warning is not an error
