"""Sockets, events and streams under uvicorn and hypercorn, as a client on the wire sees them end; real seconds."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.server, pytest.mark.slow]

PATIENCE = 30.0


class Served:
    """The app under one server, and a second process of it on the same store."""

    def __init__(self, server: str, folder: Path) -> None:
        self.ports: list[int] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.logs = [folder / "first.log", folder / "second.log"]
        for log in self.logs:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port: int = free.getsockname()[1]
            command = [sys.executable, "-m", "tests.open.served", server, str(port), f"sqlite:///{folder}/sessions.db"]
            with log.open("wb") as out:
                self.processes.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT))
            self.ports.append(port)
        patience = time.monotonic() + PATIENCE
        for port in self.ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > patience:
                        raise
                    time.sleep(0.05)  # a real server's real start

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def open(self, path: str, cookies: str = "", *, at: int = 0, headers: str = "") -> Wire:
        wire = Wire(self.ports[at])
        cookie = f"Cookie: {cookies}\r\n" if cookies else ""
        wire.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.ports[at]}\r\n{cookie}{headers}\r\n".encode())
        return wire

    def login(self) -> str:
        with self.open("/login") as wire:
            head = wire.until(rb"\r\n\r\n")
        return "; ".join(found.decode() for found in re.findall(rb"(?i)set-cookie: ([^;\r\n]+)", head))

    def logout_elsewhere(self, cookies: str) -> None:
        with self.open("/logout", cookies, at=1) as wire:
            assert wire.until(rb"\r\n\r\n").startswith(b"HTTP/1.1 200")

    def socket(self, cookies: str) -> Wire:
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = (
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        )
        wire = self.open("/socket", cookies, headers=upgrade)
        assert wire.until(rb"\r\n\r\n").startswith(b"HTTP/1.1 101")
        return wire

    def heard(self, text: str) -> bool:
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience:
            if text in self.logs[0].read_text():
                return True
            time.sleep(0.05)  # another process writes it
        return False


class Wire:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.got = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def until(self, pattern: bytes) -> bytes:
        """Read until something has come; return all that has."""
        while not re.search(pattern, self.got, re.DOTALL):
            part = self._socket.recv(65536)
            assert part, f"closed after {self.got!r}"
            self.got += part
        return self.got

    def rest(self) -> bytes:
        """Read until the server closes."""
        while part := self._socket.recv(65536):
            self.got += part
        return self.got


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(request.param, tmp_path_factory.mktemp(request.param))
    yield running
    running.close()


def close_frame(code: int, reason: str) -> bytes:
    body = code.to_bytes(2) + reason.encode()
    return bytes([0x88, len(body)]) + body


def test_a_logout_elsewhere_closes_a_socket(served: Served) -> None:
    """The client reads 4401 and the reason on the wire, the app hears an ordinary disconnect."""
    cookies = served.login()
    with served.socket(cookies) as wire:
        served.logout_elsewhere(cookies)
        wire.until(re.escape(close_frame(4401, "signed_out")))
    assert served.heard("app heard 4401 signed_out")


def test_silence_closes_a_socket(served: Served) -> None:
    """Three seconds of silence, on real clocks."""
    begun = time.monotonic()
    with served.socket(served.login()) as wire:
        wire.until(re.escape(close_frame(4401, "inactivity")))
    assert time.monotonic() - begun >= 3


def test_events_end_with_the_session(served: Served) -> None:
    """The last event says why, and the response is complete."""
    cookies = served.login()
    with served.open("/session/events", cookies) as wire:
        wire.until(rb"data: \{.*\}\n\n")
        served.logout_elsewhere(cookies)
        whole = wire.until(rb"\r\n0\r\n\r\n")
    last = re.findall(rb"data: (\{[^\n]*\})\n\n", whole)[-1]
    assert json.loads(last)["reason"] == "signed_out"


@pytest.mark.parametrize(("kind", "complete"), [("text/event-stream", True), ("application/x-ndjson", False)])
def test_an_idle_stream_ends(served: Served, kind: str, complete: bool) -> None:
    """A stream of events is completed; of any other the client can tell that it was broken off (RFC 9112 §7.1)."""
    cookies = served.login()
    with served.open(f"/stream?type={kind}", cookies) as wire:
        wire.until(rb"1\n")
        served.logout_elsewhere(cookies)
        if complete:
            wire.until(rb"\r\n0\r\n\r\n")
        else:
            assert not wire.rest().endswith(b"0\r\n\r\n")
