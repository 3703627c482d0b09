"""The documents run: every Python block, every docstring example; tables say what the code says."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import runpy
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import session_middleware
from session_middleware import Settings
from session_middleware.core.lifetime import Verdict
from session_middleware.core.rules import RULES
from session_middleware.endpoints import ROUTES
from session_middleware.events import LEVELS
from session_middleware.stores.base import Store
from tests.run_document import blocks

ROOT = Path(__file__).parent.parent
WRITTEN = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = runpy.run_path(str(ROOT / "docs" / "generate.py"))["DOCUMENTS"]  # not imported: "docs" is no package
SCENARIOS = ROOT / "session_middleware" / "testing" / "scenarios"
KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"


def _name(path: Path) -> str:
    return path.name


def _needs(path: Path) -> list[str]:
    text = path.read_text("utf-8")
    return [name for name in ("flask", "django", "starlette", "fastapi") if f"adapters.{name}" in text]


@pytest.mark.parametrize("path", [p for p in WRITTEN if blocks(p.read_text("utf-8"))], ids=_name)
def test_the_code_of_a_document_runs(path: Path, tmp_path: Path) -> None:
    """Every Python block of the document runs, in order, with warnings as errors, and its hidden checks hold."""
    for framework in _needs(path):
        pytest.importorskip(framework)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SESSION_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "tests" / "run_document.py"), str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", WRITTEN, ids=_name)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link of a document names a file of the repository, and a heading that it has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name) if name else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", WRITTEN, ids=_name)
def test_rules_cited_exist(path: Path) -> None:
    """A rule number in a document is one of the rules."""
    cited = set(re.findall(r"\bL\d+\b", path.read_text("utf-8"))) - {"L1"}
    assert cited <= set(RULES)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_documents_are_up_to_date(name: str) -> None:
    """What `python docs/generate.py` would write is what the repository holds."""
    assert (ROOT / "docs" / name).read_text("utf-8") == DOCUMENTS[name](), "run: python docs/generate.py"


def _rows(name: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a document whose first cell is code, by that code."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "docs" / name).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").replace("\\|", "\0").split("|")]
        if line.startswith("| `") and len(cells) > 1:
            found[cells[0].strip("`").replace("\0", "|")] = cells[1:]
    return found


def test_every_setting_is_documented_with_its_default() -> None:
    """settings.md has a row for each field of Settings, no other, and the default it states is the default."""
    settings = Settings(secret_keys=[KEY])
    rows = _rows("settings.md")
    expected = {}
    for field in fields(Settings):
        if field.init:
            value = () if field.name == "secret_keys" else getattr(settings, field.name)
            expected[field.name] = f"`{value:g}`" if isinstance(value, float) else f"`{value!r}`"
    assert {name: cells[0] for name, cells in rows.items()} == expected


def test_every_event_is_documented_with_its_level() -> None:
    """operations.md names every event at the level it is logged at."""
    levels = {20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
    rows = _rows("operations.md")
    assert {name: rows.get(name, [""])[0] for name in LEVELS} == {name: levels[n] for name, n in LEVELS.items()}


def test_every_endpoint_is_documented() -> None:
    """endpoints.md has a row for each endpoint and method, and no other."""
    have = {f"{method} {name}" for name, methods in ROUTES.items() for method in methods}
    assert set(_rows("endpoints.md")) == have


def test_every_public_name_is_documented() -> None:
    """What can be imported from the package, somebody finds in the pages."""
    pages = "\n".join(path.read_text("utf-8") for path in WRITTEN if path.name != "CHANGELOG.md")
    assert [name for name in session_middleware.__all__ if not re.search(rf"\b{name}\b", pages)] == []


def test_every_check_of_a_django_project_is_documented() -> None:
    """Whoever reads an id in the output of `manage.py check` finds it in the page, and none that is not reported."""
    reported = (ROOT / "session_middleware" / "adapters" / "django_app" / "__init__.py").read_text("utf-8")
    ids = re.findall(r"session_middleware\.[EW]\d{3}", reported)
    assert ids
    written = (ROOT / "docs" / "django.md").read_text("utf-8")
    assert set(ids) == set(re.findall(r"session_middleware\.[EW]\d{3}", written))


def test_every_reason_of_an_end_is_documented() -> None:
    """Whoever asks why a user was logged out finds each word that store and log may hold."""
    package = "\n".join(path.read_text("utf-8") for path in (ROOT / "session_middleware").rglob("*.py"))
    said = set(re.findall(r'"session_ended", x, reason="(\w+)"', package))
    said |= set(re.findall(r'"session_ended",.*"reason": "(\w+)"', package))
    said |= {verdict.value for verdict in (Verdict.INACTIVITY_TIMEOUT, Verdict.LIFETIME_EXCEEDED, Verdict.REPLAYED)}
    assert {"authority", "max_sessions", "logout"} <= said
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    table = page.partition("| reason in store and logs |")[2].partition("\n\n")[0]
    assert [reason for reason in sorted(said) if not re.search(rf"\b{reason}\b", table)] == []


def test_every_store_method_is_documented() -> None:
    """stores.md names every method a store must have."""
    methods = {name for name in vars(Store) if not name.startswith("_")}
    assert methods <= set(re.findall(r"`(\w+)", (ROOT / "docs" / "stores.md").read_text("utf-8")))


def test_every_dependency_is_justified() -> None:
    """dependencies.md names every dependency of pyproject.toml, and no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    groups += project["dependency-groups"].values()
    named = {re.split(r"[\s\[<>=!~;]", text)[0] for group in groups for text in group} - {"session-middleware"}
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\w, -]+) \|", text, re.MULTILINE)[1:]
    assert {name for row in rows for name in row.split(", ")} - {"none"} == named


def test_tests_named_as_proof_exist() -> None:
    """A test that security.md names as proof is there, under that name."""
    named = re.findall(r"`([\w/.]+)::(test_\w+)`", (ROOT / "docs" / "security.md").read_text("utf-8"))
    assert len(named) > 20
    for where, test in named:
        path = ROOT / where if where.endswith(".py") else SCENARIOS / f"{where}.py"
        assert f"def {test}(" in path.read_text("utf-8"), f"{where}::{test}"


def _modules() -> list[str]:
    """Return the modules whose source has an example."""
    package = ROOT / "session_middleware"
    found = [path for path in sorted(package.rglob("*.py")) if ">>> " in path.read_text("utf-8")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in found]


@pytest.mark.parametrize("name", _modules())
def test_docstring_examples_run(name: str) -> None:
    """Every >>> example in a docstring of the package gives what it shows."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("session_middleware"):
            raise
        pytest.skip(f"needs the extra that brings {missing.name}")
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 0
    assert outcome.failed == 0
