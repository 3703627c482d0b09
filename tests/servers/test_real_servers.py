"""The scenario app under every kind of worker: gunicorn's sync, gthread and gevent, uvicorn, hypercorn's asyncio and trio."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.life import SideBySide, lives, needs
from tests.servers.people import ScenarioPerson, Ways
from tests.servers.running import KEY, ROOT, Server

pytestmark = [pytest.mark.slow, pytest.mark.server]

SERVERS: dict[str, list[str]] = {
    "gunicorn-sync": ["gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", "tests.servers.apps:wsgi()"],
    "gunicorn-gthread": [
        *["gunicorn", "-k", "gthread", "--threads", "4", "-w", "2"],
        *["-b", "127.0.0.1:{port}", "tests.servers.apps:wsgi()"],
    ],
    "gunicorn-gevent": ["gunicorn", "-k", "gevent", "-w", "2", "-b", "127.0.0.1:{port}", "tests.servers.apps:wsgi()"],
    "uvicorn": ["uvicorn", "--workers", "2", "--port", "{port}", "--factory", "tests.servers.apps:asgi"],
    "hypercorn": ["hypercorn", "-w", "2", "-b", "127.0.0.1:{port}", "tests.servers.apps:asgi()"],
    "hypercorn-trio": ["hypercorn", "-k", "trio", "-w", "2", "-b", "127.0.0.1:{port}", "tests.servers.apps:asgi()"],
}

WAYS = Ways(cookie="session", page="/me?tab=2", poll="/poll")


def lead(name: str, folder: Path) -> None:
    server = Server(SERVERS[name], ROOT, folder, {"SESSION_LIFETIME_SECRET_KEYS": KEY})
    lives(server, lambda at: ScenarioPerson(at.browser(), WAYS), "SESSION_LIFETIME_")


@pytest.fixture(scope="module")
def side_by_side(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    for module in ("gunicorn", "gevent", "uvicorn", "hypercorn", "trio"):
        needs(None if importlib.util.find_spec(module) else f"{module} is not installed")
    needs(None if Path("/proc/net/tcp").exists() else "Linux's /proc tells which worker answers")
    running = SideBySide(request, lead, tmp_path_factory.mktemp("servers"))
    yield running
    running.close()


@pytest.mark.parametrize("name", SERVERS)
def test_a_whole_life(name: str, side_by_side: SideBySide) -> None:
    """Login, activity, continue, rotation, renewal, silence, the absolute end, logout, a killed worker: as the rules say."""
    side_by_side.end(name)
