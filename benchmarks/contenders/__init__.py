"""The apps that are compared: for each framework the bare app, ours, and what people use today.

A contender is made by name in a process of its own, since some change the framework for the whole process: our Starlette
adapter places a gate in the route classes, which a bare app must not carry, and Django has one configuration. Where nothing
of that is on the way of the request that is measured, they can be made together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.clients import Client

__all__ = ["GROUPS", "Contender", "Group", "make", "make_together"]

#: The secret of every contender.
SECRET = "benchmarks-benchmarks-benchmarks-benchmarks-benchmarks"  # a constant: runs are to be comparable

#: The cookie of a visitor whom an app does not know.
VISITS = f"visits={SECRET}{SECRET}"


@dataclass(slots=True)
class Contender:
    """An app with a client that is to sign in.

    Attributes:
        client: calls it.
        path: the page that shows who is signed in.
        traffic: returns (store calls, writes) so far; only where counting was asked for.
        app: the app itself, for a server.
    """

    client: Client
    path: str = "/me"
    traffic: Callable[[], tuple[int, int]] = lambda: (0, 0)
    app: Any = None  # Any: a WSGI or an ASGI app

    def sign_in(self) -> None:
        """Sign in, and see that the page shows it.

        Raises:
            RuntimeError: it does not.
        """
        status, body = self.client.call("POST", "/login")
        if not self.client.jar.header:
            # The bare app is asked what the others are asked: some frameworks read cookies whether or not anybody does.
            self.client.jar.put(VISITS)
        if status != 200:
            raise RuntimeError(f"the login was answered {status}: {body[:300]!r}")
        status, body = self.client.call("GET", self.path)
        if (status, body) != (200, b"alice"):
            raise RuntimeError(f"the page was answered {status}: {body[:300]!r}")


@dataclass(frozen=True, slots=True)
class Group:
    """Contenders of one framework in one situation.

    Attributes:
        title: how the table calls it.
        module: where they are made.
        bare: what the others are compared with.
        others: name in the module -> name in the table.
        options: given to every one of them.
        launches: how often processes are started at least, in proportion in a quick run: where two of the same differ by
            more than what is measured.
        together: whether all of them are in one process and asked in turns, one request each.
    """

    title: str
    module: str
    others: dict[str, str]
    bare: str = "bare"
    options: str = ""
    launches: int = 1
    together: bool = False


_STARLETTE = {
    "ours-memory": "**ours**, MemoryStore",
    "ours-sqlite": "**ours**, SQLiteStore",
    "session-middleware": "Starlette SessionMiddleware",
}
MINIMUM = "a hand-written minimum without rules"
MINIMUM_REDIS = "a hand-written minimum without rules, one GET"
_IN_MEMORY = {name: _STARLETTE[name] for name in ("ours-memory", "session-middleware")} | {"minimum": MINIMUM}
#: FastAPI reads the Cookie header of each request, whoever has set what is in it; a bare app's client sends none.
_FASTAPI = {**_IN_MEMORY, "nothing": "a middleware that does nothing, for a client that sends the same cookies"}
GROUPS: dict[str, Group] = {
    "starlette": Group(
        "Starlette, one route",
        "starlette",
        {
            **_STARLETTE,
            "ours-near-redis": "**ours**, Redis behind the near cache",
            "ours-redis": "**ours**, Redis",
            "nothing": "a middleware that does nothing",
            "headers": "an app that sends by itself what caches must know",
            "minimum": MINIMUM,
            "minimum-redis": MINIMUM_REDIS,
            "get-redis": "one GET of as many bytes, and nothing else",
            "starsessions-memory": "starsessions, InMemoryStore",
            "starsessions-redis": "starsessions, Redis",
        },
    ),
    "starlette200": Group(
        "Starlette, last of 200 routes in four mounted routers",
        "starlette",
        _IN_MEMORY,
        options="200",
    ),
    "fastapi": Group(
        "FastAPI, one route",
        "fastapi",
        _FASTAPI,
    ),
    "fastapi200": Group(
        "FastAPI, last of 200 routes in four included routers",
        "fastapi",
        _FASTAPI,
        options="200",
        launches=16,  # the walk of 200 routes takes ten times what we add, and by a few percent more or less in each process
    ),
    "plain": Group(
        "plain ASGI",
        "plain",
        {"asgi-ours-memory": "**ours**, MemoryStore", "asgi-ours-sqlite": "**ours**, SQLiteStore"},
        bare="asgi-bare",
    ),
    "plainwsgi": Group(
        "plain WSGI",
        "plain",
        {"wsgi-ours-memory": "**ours**, MemoryStore", "wsgi-ours-sqlite": "**ours**, SQLiteStore"},
        bare="wsgi-bare",
    ),
    "flask": Group(
        "Flask",
        "flask",
        {
            "ours-memory": "**ours**, MemoryStore",
            "ours-sqlite": "**ours**, SQLiteStore",
            "ours-redis": "**ours**, Redis",
            "minimum": MINIMUM,
            "minimum-redis": MINIMUM_REDIS,
            "get-redis": "one GET of as many bytes, and nothing else",
            "cookie": "Flask's cookie session",
            "cookie-permanent": "Flask's cookie session, permanent (rolling)",
            "flask-session-cachelib": "Flask-Session, cachelib files",
            "flask-session-redis": "Flask-Session, Redis",
        },
    ),
    "django": Group(
        "Django, WSGI",
        "django",
        {
            "ours-memory": "**ours**, MemoryStore",
            "ours-sqlite": "**ours**, SQLiteStore",
            "ours-redis": "**ours**, Redis",
            "minimum": MINIMUM,
            "minimum-redis": MINIMUM_REDIS,
            "signed_cookies": "signed_cookies",
            "signed_cookies-save": "signed_cookies, saved every request",
            "cache": "cache (locmem)",
            "cache-save": "cache (locmem), saved every request",
            "cache-redis": "cache (Redis)",
            "db": "db (SQLite, WAL, NORMAL)",
            "db-save": "db (SQLite, WAL, NORMAL), saved every request",
        },
        options="wsgi",
        launches=10,
    ),
    "djangoasgi": Group(
        "Django, ASGI",
        "django",
        {
            "ours-memory": "**ours**, MemoryStore",
            "ours-sqlite": "**ours**, SQLiteStore",
            "ours-redis": "**ours**, Redis",
            "minimum": MINIMUM,
            "minimum-redis": MINIMUM_REDIS,
            "cache": "cache (locmem)",
            "cache-save": "cache (locmem), saved every request",
            "cache-redis": "cache (Redis)",
        },
        options="asgi",
        launches=10,
    ),
    "djangoauth": Group(
        "Django, WSGI, above SessionMiddleware + AuthenticationMiddleware",
        "django",
        {"auth-ours-memory": "**ours**, bridge, MemoryStore", "auth-ours-sqlite": "**ours**, bridge, SQLiteStore"},
        bare="auth",
        options="wsgi",
    ),
    "djangoauthasgi": Group(
        "Django, ASGI, above SessionMiddleware + AuthenticationMiddleware",
        "django",
        {"auth-ours-memory": "**ours**, bridge, MemoryStore"},
        bare="auth",
        options="asgi",
        launches=10,
        together=True,  # Django's threads take thirty times what we add, and by a tenth more or less in each process
    ),
}


def make(group: str, name: str, *, counting: bool = False) -> Contender:
    """Make a contender.

    Args:
        group: a key of `GROUPS`.
        name: its name in that group's module.
        counting: whether its store calls are to be counted, which costs time.

    Raises:
        ImportError: what it needs is not installed.
    """
    chosen = GROUPS[group]
    module = import_module(f"benchmarks.contenders.{chosen.module}")
    contender: Contender = module.make(name, chosen.options, counting)
    return contender


def make_together(group: str) -> dict[str, Contender]:
    """Make all contenders of a group whose framework can have them in one process.

    Args:
        group: a key of `GROUPS`.
    """
    chosen = GROUPS[group]
    module = import_module(f"benchmarks.contenders.{chosen.module}")
    made: dict[str, Contender] = module.make_together([chosen.bare, *chosen.others], chosen.options)
    return made
