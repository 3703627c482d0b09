"""What the first call of a process needs is loaded before the loop runs."""

from __future__ import annotations

from tests.fresh_python import printed_by

SCRIPT = """
import sys
from session_middleware.authorities.calls import Calls
print("httpcore2" in sys.modules)
Calls("https://provider.example")
print("httpcore2" in sys.modules)
"""


def test_the_first_call_loads_no_http_library() -> None:
    """httpx2 loads its transport at the first call, and that reads files: not while a worker's loop waits."""
    assert printed_by(SCRIPT).split() == ["False", "True"]
