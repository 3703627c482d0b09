"""A Kratos to ask in tests: the stand-in served on loopback, with the official client in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ory_kratos_client as official
import urllib3
from pydantic import BaseModel

from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.kratos import KratosStandIn

#: Generous: what is slow here is the machine.
PATIENCE = 20.0

HOUR = 3600.0
NOWHERE = "6a9bd2d0-4b6e-4c3d-9a6e-0c8f5f1f9d11"


@dataclass
class World:
    """The stand-in, its clock, its two addresses and Kratos' official client for both."""

    kratos: KratosStandIn
    clock: FakeClock
    public_url: str
    admin_url: str
    frontend: official.FrontendApi
    identities: official.IdentityApi
    browser: urllib3.PoolManager

    def get(self, path: str, *, cookie: str = "", accept: str = "text/html", **more: Any) -> urllib3.BaseHTTPResponse:
        """Ask the public listener as a browser does; a path or a whole URL. Redirects are not followed."""
        url = path if path.startswith("http") else self.public_url + path
        headers = {"Accept": accept, **({"Cookie": cookie} if cookie else {})}
        method = more.pop("method", "GET")
        return self.browser.request(method, url, headers=headers, redirect=False, retries=False, **more)


@contextmanager
def world(**options: Any) -> Iterator[World]:
    """Serve a stand-in with these options while the block runs."""
    clock = options.setdefault("clock", FakeClock())
    token = options.get("admin_token")
    kratos = KratosStandIn(**options)
    with (
        served(kratos.public) as public_url,
        served(kratos.admin) as admin_url,
        urllib3.PoolManager(timeout=PATIENCE) as browser,
    ):
        public = official.ApiClient(official.Configuration(host=public_url, retries=False))
        keys = {"oryAccessToken": f"Bearer {token}"} if token else {}
        admin = official.ApiClient(official.Configuration(host=admin_url, api_key=keys, retries=False))
        try:
            yield World(
                kratos,
                clock,
                public_url,
                admin_url,
                official.FrontendApi(public),
                official.IdentityApi(admin),
                browser,
            )
        finally:
            for client in (public, admin):
                client.rest_client.pool_manager.clear()


def unknown_fields(model: Any, path: str = "") -> list[str]:
    """Return the fields of an answer that the official models do not know, at any depth."""
    found = []
    if isinstance(model, list):
        for index, item in enumerate(model):
            found += unknown_fields(item, f"{path}[{index}]")
    if not isinstance(model, BaseModel):
        return found
    for name, value in vars(model).items():
        if name == "additional_properties":
            found += [f"{path}.{extra}" for extra in value]
        elif name != "traits":  # the app's own schema
            found += unknown_fields(value, f"{path}.{name}")
    return found


def at(world: World, moment: datetime | None) -> float:
    """Return an instant in seconds after now."""
    assert moment is not None
    return moment.timestamp() - world.clock()


def password(name: str, secret: str, csrf: str | None = None) -> official.UpdateLoginFlowBody:
    method = official.UpdateLoginFlowWithPasswordMethod(
        identifier=name, password=secret, method="password", csrf_token=csrf
    )
    return official.UpdateLoginFlowBody(method)


def totp(code: str) -> official.UpdateLoginFlowBody:
    return official.UpdateLoginFlowBody(official.UpdateLoginFlowWithTotpMethod(totp_code=code, method="totp"))
