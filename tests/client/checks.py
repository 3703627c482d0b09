"""axe-core, TypeScript, esbuild, React and htmx from npm, installed once into a folder that git ignores.

`python -m tests.client.checks` writes the script that is shipped from its source.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from .conftest import missing

FOLDER = Path(__file__).parent / "peer"
MODULES = FOLDER / "node_modules"

CLIENT = Path(__file__).parent.parent.parent / "session_middleware" / "client"

#: WCAG 2.2 to AA, and what axe calls best practice.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@cache
def installed() -> Path:
    """Return where the modules are; skip the test where they cannot be had."""
    npm = shutil.which("npm")
    if npm is None:
        missing("npm is not in PATH")
    with (FOLDER / ".installing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may want them at once
        if not _has_all():
            command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock"]
            run = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=300)
            if run.returncode != 0:
                missing(f"npm install failed: {run.stderr[-500:]}")
    return MODULES


def _has_all() -> bool:
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    try:
        return all(
            json.loads((MODULES / name / "package.json").read_text())["version"] == version
            for name, version in wanted.items()
        )
    except (OSError, ValueError):
        return False


def built() -> bytes:
    """Return what esbuild makes of the script's source; the style sheet in it, a text for esbuild, loses its blanks here."""
    source = (CLIENT / "client.js").read_text("utf-8")
    before, mark, rest = source.partition("const STYLE = `")
    style, end, after = rest.partition("`;")
    source = before + mark + re.sub(r"\s*([{};:,])\s*", r"\1", style).strip() + end + after
    command = [str(installed() / ".bin" / "esbuild"), "--loader=js"]
    command += ["--minify", "--format=esm", "--target=es2022", "--charset=utf8", "--log-level=warning"]
    run = subprocess.run(command, input=source.encode(), capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stderr == b"", run.stderr.decode()
    return run.stdout


def bundled(source: str) -> bytes:
    """Return what esbuild makes of a module that imports from npm: one module that imports nothing."""
    command = [str(installed() / ".bin" / "esbuild"), "--loader=js", "--bundle", "--format=esm", "--log-level=warning"]
    command += ['--define:process.env.NODE_ENV="development"']
    run = subprocess.run(command, input=source.encode(), cwd=FOLDER, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


def compiles(*files: Path) -> str:
    """Return what TypeScript at its strictest has to say against files; "" where it takes them."""
    command = [str(installed() / ".bin" / "tsc"), "--strict", "--noEmit", "--target", "es2022", "--module", "esnext"]
    command += ["--moduleResolution", "bundler", "--lib", "es2022,dom", "--exactOptionalPropertyTypes"]
    command += ["--noUncheckedIndexedAccess", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def axe_finds(page: Any) -> list[str]:
    """Return what axe has to say against a page, with where; nothing is what a test wants."""
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate((installed() / "axe-core" / "axe.min.js").read_text())  # past the page's policy, as a debugger
    page.clock.resume()  # axe waits for timers
    found = page.evaluate("(tags) => axe.run(document, {runOnly: tags}).then((found) => found.violations)", TAGS)
    return [f"{each['id']}: {node['html']}: {node['failureSummary']}" for each in found for node in each["nodes"]]


if __name__ == "__main__":
    (CLIENT / "client.min.js").write_bytes(built())
