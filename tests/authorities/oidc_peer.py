"""A real OpenID provider for tests: npm's oidc-provider, installed once per machine, started once per run.

Two applications are registered with it, `shop` and `wiki`; each has an address of its own where the provider delivers
logout tokens, whatever application stands behind it in a test.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import pytest
from joserfc.jwk import RSAKey

FOLDER: Final = Path(__file__).parent.parent / "peers" / "oidc_provider"

#: Seconds of silence after which the provider's session of a login name is over.
BRIEF: Final = {"brief": 60}

#: Where the applications live and are called back; a test's browser carries the requests there itself.
SHOP, WIKI = "https://app.example", "https://wiki.example"
CALLBACKS: Final = ("/session/callback", "/callback")


class LogoutAddress:
    """A loopback address where the provider delivers logout tokens of one application.

    Attributes:
        url: to register with the provider.
        tokens: what was delivered, in order.
        answer: given a token, returns the status to answer; set it to what an application does with the token.
    """

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.answer: Callable[[str], int] = lambda token: 204
        address = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                (token,) = parse_qs(body.decode(), strict_parsing=True)["logout_token"]
                status = address.answer(token)
                address.tokens.append(token)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/backchannel-logout"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Application:
    """What an application needs to know to use the provider.

    Attributes:
        id: client_id.
        secret: client_secret.
        origin: where its pages are.
        logout: where it gets logout tokens.
    """

    id: str
    secret: str
    origin: str
    auth_method: str = "client_secret_basic"
    logout: LogoutAddress = field(default_factory=LogoutAddress)

    @property
    def callback(self) -> str:
        return self.origin + CALLBACKS[0]

    def registered(self) -> dict[str, Any]:
        """Its entry at the provider."""
        return {
            "client_id": self.id,
            "client_secret": self.secret,
            "token_endpoint_auth_method": self.auth_method,
            "redirect_uris": [self.origin + path for path in CALLBACKS],
            "post_logout_redirect_uris": [self.origin + path for path in ("/session/signed-out", "/")],
            "response_types": ["code"],
            "grant_types": ["authorization_code", "refresh_token"],
            "require_auth_time": True,
            "backchannel_logout_uri": self.logout.url,
            "backchannel_logout_session_required": True,
        }


class Peer:
    """The running provider.

    Attributes:
        issuer: its URL, without a slash at the end.
        shop, wiki: the applications registered with it.
        log: lines it has printed: `delivered <client>`, `refused <client> <why>`, `error <what>`.
    """

    def __init__(self, session_seconds: int = 3_600, shop: str = SHOP) -> None:
        node = installed()
        self.port = _free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        # The secrets have characters that client_secret_basic must encode (RFC 6749 §2.3.1).
        self.shop = Application("shop", "secret of the shop: 100% + more", shop)
        self.wiki = Application("wiki", "secret-of-the-wiki", WIKI, "client_secret_post")
        self.key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True, auto_kid=True)
        self.log: list[str] = []
        self._ahead = 0.0
        given = {
            "issuer": self.issuer,
            "port": self.port,
            "clients": [self.shop.registered(), self.wiki.registered()],
            "jwks": {"keys": [self.key.as_dict(private=True)]},
            "session_seconds": session_seconds,
            "brief": BRIEF,
        }
        self._process = subprocess.Popen(
            [node, "index.mjs"],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "NODE_NO_WARNINGS": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("ready")

    def now(self) -> float:
        """The time there, in seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let time pass there."""
        self._ahead += seconds
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._ahead}\n")
        self._process.stdin.flush()
        self.wait_for(f"ahead {self._ahead}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line.rstrip())

    def wait_for(self, line: str, seconds: float = 30.0) -> None:
        """Wait until the provider has printed a line that begins so since `log` was last cleared."""
        patience = time.monotonic() + seconds
        while not any(printed.startswith(line) for printed in list(self.log)):
            assert self._process.poll() is None, f"the provider has ended: {self.log}"
            assert time.monotonic() < patience, f"still waiting for {line!r}, got {self.log}"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it for good."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        for application in (self.shop, self.wiki):
            application.logout.close()


def installed() -> str:
    """Return the path of node, with the provider installed; skip the test where that cannot be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        _missing("node and npm are not in PATH")
        raise AssertionError  # _missing raises
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]["oidc-provider"]
    if _version() == wanted:
        return node
    with (FOLDER / ".installing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may want it at once
        if _version() != wanted:
            run = subprocess.run(
                [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"],
                cwd=FOLDER,
                capture_output=True,
                text=True,
                timeout=300,
            )
            if run.returncode != 0:
                _missing(f"npm install failed: {run.stderr[-500:]}")
    return node


def _version() -> str | None:
    with contextlib.suppress(OSError, ValueError):
        version: str = json.loads((FOLDER / "node_modules/oidc-provider/package.json").read_text())["version"]
        return version
    return None


def _missing(why: str) -> None:
    if os.environ.get("SESSION_TESTS_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{why}, and SESSION_TESTS_REQUIRE_SERVERS=1 asks for an OpenID provider")
    pytest.skip(f"needs the OpenID provider of tests/peers/oidc_provider: {why}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def running_peer() -> Iterator[Peer]:
    """The provider, one for the whole run."""
    peer = Peer()
    yield peer
    peer.stop()


@pytest.fixture
def peer(running_peer: Peer) -> Peer:
    """The provider, with nobody at its logout addresses."""
    running_peer.log.clear()
    for application in (running_peer.shop, running_peer.wiki):
        application.logout.tokens.clear()
        application.logout.answer = lambda token: 204
    return running_peer
