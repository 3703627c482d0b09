"""A browser with a jar, what its cookies say when read from outside, and a process that serves it."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from session_middleware import Settings
from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.refusal import Refusal
from session_middleware.core.tokens import TokenKeys, derive
from session_middleware.engine import Engine
from session_middleware.runtime import run_sync

TOKEN, JWT = "__Host-session", "__Host-session_jwt"
SECRETS = {
    "k1": b"0f6a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "k2": b"9f8e7d6c5b4a39281706f5e4d3c2b1a099",
}
SIGNERS = {name: TokenKeys([secret], TOKEN) for name, secret in SECRETS.items()}


class Facts:
    """RequestFacts that a test writes down."""

    mount = ""
    scheme = "https"
    host = "app.example"
    websocket = False
    client = "192.0.2.1"

    def __init__(self, cookies: str, method: str = "GET", path: str = "/page", **headers: str) -> None:
        self.cookies, self.method, self.path, self.target = cookies, method, path, path
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def header(self, name: str) -> str | None:
        return self._headers.get(name)


@dataclass(frozen=True)
class Token:
    """What a token cookie says, with the key that signed it."""

    id: str
    generation: int
    key: str


def read_token(text: str) -> Token:
    for name, signer in SIGNERS.items():
        found = signer.verify(text)
        if found is not None:
            return Token(found.public_id, found.generation, name)
    raise AssertionError(f"no key of ours signed {text!r}")


def _unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@dataclass(frozen=True)
class Jwt:
    """What a session JWT says, with the key that signed it."""

    text: str
    key: str
    claims: dict[str, Any]  # Any: JSON values

    @property
    def id(self) -> str:
        return self.claims["sid"]  # type: ignore[no-any-return]

    @property
    def expires(self) -> int:
        return self.claims["exp"]  # type: ignore[no-any-return]


def read_jwt(text: str) -> Jwt:
    """Read and check a JWT by hand (RFC 7515 §5.2, HS256), without the code under test but for the key derivation."""
    signed, _, signature = text.rpartition(".")
    for name, secret in SECRETS.items():
        if hmac.digest(derive(secret, "session jwt"), signed.encode(), "sha256") == _unpacked(signature):
            return Jwt(text, name, json.loads(_unpacked(signed.partition(".")[2])))
    raise AssertionError(f"no key of ours signed {text!r}")


@dataclass
class Browser:
    """A cookie jar; `take` obeys Set-Cookie lines and says what each did."""

    jar: dict[str, str] = field(default_factory=dict)

    def cookies(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.jar.items())

    def take(self, lines: dict[str, str | None]) -> None:
        for name, value in lines.items():
            if value is None:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value


def cookies_set(lines: list[str]) -> dict[str, str | None]:
    """Name to value of Set-Cookie lines, None for a deletion; one line a name (L18)."""
    found: dict[str, str | None] = {}
    for line in lines:
        pair, *attributes = [part.strip() for part in line.split(";")]
        name, _, value = pair.partition("=")
        assert name in (TOKEN, JWT), name
        assert name not in found, f"two lines for {name}"
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(attributes), line
        found[name] = None if "Max-Age=0" in attributes else value
    return found


def opened(engine: Engine, facts: Facts, rules: RouteRules) -> tuple[Exchange, Refusal | None]:
    x = engine.begin(facts)
    return x, run_sync(engine.open(x, rules))


def closed(engine: Engine, x: Exchange) -> dict[str, str | None]:
    """Start the response; a settled exchange must have had nothing to say."""
    settled = engine.is_settled(x)
    lines = run_sync(engine.close(x))
    assert not (settled and lines), "is_settled, yet the response sets cookies"
    return cookies_set(lines)


def settings_of(keys: tuple[str, ...], **given: Any) -> Settings:  # Any: whatever Settings takes
    return Settings(secret_keys=[SECRETS[name] for name in keys], **given)
