"""The example apps behind the servers their users run: gunicorn and uvicorn, two workers on one SQLite file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.life import SideBySide, lives, needs
from tests.servers.people import Person, ScriptPerson, Ways
from tests.servers.running import KEY, ROOT, Server

pytestmark = [pytest.mark.slow, pytest.mark.server]

GUNICORN = ["gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}"]
UVICORN = ["uvicorn", "--workers", "2", "--port", "{port}"]


@dataclass(frozen=True)
class Example:
    """An example app, the command that serves it, and who uses it how.

    Attributes:
        prefix: what stands before the names of settings in its environment.
    """

    folder: str
    command: list[str]
    ways: Ways
    person: type[Person] = Person
    prefix: str = "SESSION_LIFETIME_"


EXAMPLES = {
    "wsgi_app": Example("wsgi_app", [*GUNICORN, "app:make_app()"], Ways("wsgi_app")),
    "flask_app": Example(
        "flask_app", [*GUNICORN, "app:create_app()"], Ways("flask_app"), prefix="FLASK_SESSION_LIFETIME_"
    ),
    "flask_login_existing": Example(
        "flask_login_existing",
        [*GUNICORN, "app:create_app()"],
        Ways("wiki", back="next", tells_reason=False),
        prefix="FLASK_SESSION_LIFETIME_",
    ),
    "django_project-wsgi": Example(
        "django_project",
        [*GUNICORN, "project.wsgi"],
        Ways("shop", back="next", name="username", tells_reason=False),
    ),
    "django_project-asgi": Example(
        "django_project",
        [*UVICORN, "project.asgi:application"],
        Ways("shop", back="next", name="username", tells_reason=False),
    ),
    "asgi_app": Example("asgi_app", [*UVICORN, "--factory", "app:make_app"], Ways("asgi_app")),
    "starlette_app": Example("starlette_app", [*UVICORN, "app:app"], Ways("starlette_app")),
    "fastapi_browser": Example(
        "fastapi_browser",
        [*UVICORN, "app:app"],
        Ways("fastapi_browser", page="/api/me?tab=2", poll="/api/unread"),
        ScriptPerson,
    ),
}


def lead(name: str, folder: Path) -> None:
    example = EXAMPLES[name]
    environment = {"SECRET_KEY": KEY, "SHOP_DATABASE": str(folder / "shop.db")}
    server = Server(example.command, ROOT / "examples" / example.folder, folder, environment)
    if example.folder == "django_project":
        server.manage("migrate", "--verbosity", "0")
    lives(server, lambda at: example.person(at.browser(), example.ways), example.prefix)


@pytest.fixture(scope="module")
def side_by_side(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    for module in ("gunicorn", "uvicorn", "flask", "flask_login", "django", "starlette", "fastapi"):
        needs(None if importlib.util.find_spec(module) else f"{module} is not installed")
    needs(None if Path("/proc/net/tcp").exists() else "Linux's /proc tells which worker answers")
    running = SideBySide(request, lead, tmp_path_factory.mktemp("examples"))
    yield running
    running.close()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_whole_life(name: str, side_by_side: SideBySide) -> None:
    """Login, activity, continue, rotation, renewal, silence, the absolute end, logout, a killed worker: as the rules say."""
    side_by_side.end(name)
