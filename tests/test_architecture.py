"""The arrows of the layout and the purity of the core, read from the imports (design: adapters translate, the engine
does, the core decides, stores remember, authorities vouch)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .fresh_python import printed_by

PACKAGE = Path(__file__).parent.parent / "session_middleware"

#: Who may import whom inside the package. "settings" and "errors" may be imported by all.
MAY = {
    "core": {"core"},
    "events": set(),
    "runtime": {"runtime"},
    "decorators": {"core"},
    "stores": {"stores", "core", "runtime"},
    "authorities": {"authorities", "core", "runtime"},
    "reach": {"reach", "core", "runtime"},
    "event_stream": {"core", "watch"},
    "watch": {"engine", "core", "runtime", "stores"},
    "engine": {"engine", "core", "stores", "authorities", "runtime", "events", "reach"},
    "session_view": {"engine", "core"},
    "session": {"session_view", "engine", "core", "runtime", "provider_tokens", "provider_users"},
    "sessions": {"engine", "core", "runtime", "provider_users"},
    "provider_routes": {"engine", "core", "authorities", "stores"},
    "provider_tokens": {"engine", "core", "authorities", "reach", "runtime", "stores"},
    "provider_users": {"engine", "core", "authorities"},
    "endpoints": {
        "endpoints",
        "engine",
        "core",
        "authorities",
        "provider_routes",
        "provider_users",
        "client",
        "event_stream",
    },
    "client": {"core"},
    "adapters": {
        "adapters",
        "client",
        "engine",
        "endpoints",
        "session",
        "sessions",
        "core",
        "authorities",
        "events",
        "event_stream",
        "runtime",
        "stores",
        "watch",
    },
    "settings": set(),
    "errors": set(),
}

#: Who may import whom, and what of the package, inside the engine: each part builds on the ones before it.
ENGINE_MAY = {
    "recognising": {"core", "reach"},
    "issuer": {"core", "runtime"},
    "unsaved": set(),
    "vouching": {"core", "authorities", "events", "runtime"},
    "telling": {"core", "authorities", "events"},
    "ending": {"core", "authorities", "reach", "stores", "issuer", "telling", "vouching"},
    "later": {"core", "ending"},
    "beginning": {"core", "authorities", "later"},
    "logins": {"core", "beginning"},
    "verbs": {"core", "reach", "logins", "unsaved"},
    "joining": {"core", "verbs"},
    "adopting": {"core", "authorities", "reach", "joining"},
    "handing_out": {"core", "reach", "adopting"},
    "responding": {"core", "handing_out"},
    "recording": {"core", "responding"},
    "authenticating": {"core", "authorities", "recording"},
    "opening": {
        *{"core", "stores", "authorities", "runtime", "events", "reach"},
        *{"recognising", "issuer", "vouching", "authenticating"},
    },
    "__init__": {"opening"},
}

#: Modules of the standard library that would make the core impure.
IMPURE = {"asyncio", "threading", "time", "random", "secrets", "os", "socket", "sqlite3", "subprocess", "io", "logging"}


def rooms() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in MAY:
            found.append((parts[0], path))
    return found


def imports(path: Path) -> set[str]:
    """Return the dotted names a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "session_middleware":
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda value: value.stem if isinstance(value, Path) else value)
def test_imports_follow_the_arrows(room: str, path: Path) -> None:
    """A file imports only from the rooms its own room may know."""
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("session_middleware.")}
    assert ours <= MAY[room] | {"settings", "errors"}


@pytest.mark.parametrize("path", [p for room, p in rooms() if room == "engine"], ids=lambda p: p.stem)
def test_the_parts_of_the_engine_build_on_each_other(path: Path) -> None:
    """A part of the engine imports only what stands before it."""
    ours = [name.split(".")[1:] for name in imports(path) if name.startswith("session_middleware.")]
    parts = {name[1] if name[0] == "engine" and len(name) > 1 else name[0] for name in ours}
    assert parts <= ENGINE_MAY[path.stem] | {"settings", "errors"}


@pytest.mark.parametrize("path", [p for room, p in rooms() if room == "core"], ids=lambda p: p.stem)
def test_the_core_is_pure(path: Path) -> None:
    """The core imports nothing that reads a clock, draws chance, waits or talks to anybody."""
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE
    calls = {n.name if isinstance(n, ast.AsyncFunctionDef) else "" for n in ast.walk(ast.parse(path.read_text()))}
    assert calls == {""}, "an async function in the core"


@pytest.mark.parametrize("path", [p for room, p in rooms() if room not in ("runtime",)], ids=lambda p: p.stem)
def test_only_the_runtime_waits(path: Path) -> None:
    """Nothing but runtime/ imports asyncio or threading."""
    assert not {"asyncio", "threading", "trio", "anyio"} & {n.split(".")[0] for n in imports(path)} - _allowed(path)


def _allowed(path: Path) -> set[str]:
    # Starlette's own world is anyio: a `def` endpoint runs in its worker thread and calls back through it.
    return {"anyio"} if path.stem in ("starlette", "fastapi") else set()


def test_importing_the_package_pulls_in_nothing_heavy() -> None:
    """`import session_middleware` loads no framework, store driver, HTTP client or cryptography."""
    script = "import sys, session_middleware; print(' '.join(sorted({m.split('.')[0] for m in sys.modules})))"
    loaded = set(printed_by(script).split())
    heavy = {"flask", "werkzeug", "django", "starlette", "fastapi", "anyio", "trio", "sqlite3", "redis", "psycopg"}
    heavy |= {"httpx", "requests", "urllib3", "cryptography", "jinja2", "pytest", "hypothesis", "asgiref", "http"}
    assert "session_middleware" in loaded
    assert not heavy & loaded
