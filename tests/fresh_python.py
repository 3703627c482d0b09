"""A Python that has imported nothing yet, for tests of what an import pulls in."""

from __future__ import annotations

import os
import subprocess
import sys


def printed_by(script: str) -> str:
    """Run a script in an isolated interpreter and return what it printed.

    The coverage of subprocesses is switched off: it starts with the interpreter and would import its own modules.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-I", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
