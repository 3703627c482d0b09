"""How many instructions of ours the interpreter reads for a request for which nothing is due: on any machine the same."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import session_middleware
from benchmarks.contenders import GROUPS, make

from .fresh_python import printed_by

OURS = str(Path(session_middleware.__file__).parent)

#: For each group of the benchmarks, the most that a signed-in request may take; a little more than it takes now.
MOST = {
    "plain": 590,
    "starlette": 540,
    "starlette200": 565,
    "fastapi": 575,
    "plainwsgi": 425,
    "flask": 400,
    "django": 390,
    "djangoasgi": 400,
    "djangoauth": 625,
    "djangoauthasgi": 620,
}


def instructions(call: Any) -> int:  # Any: calls an app
    """Count the instructions that are read in our files while something is called."""
    read = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:  # Any: itself
        nonlocal read
        read += event == "opcode"
        return count

    def enter(frame: FrameType, event: str, argument: object) -> Any:  # Any: a trace function, or None
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return count

    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(None)
    return read


def of_a_request(group: str) -> float:
    """Return how many instructions of ours are read for each of some requests."""
    (name,) = [name for name in GROUPS[group].others if name.endswith("ours-memory")]
    contender = make(group, name)
    contender.sign_in()
    contender.client.burst(contender.path, 20)
    ten = instructions(lambda: contender.client.burst(contender.path, 10))
    contender.client.close()
    return ten / 10


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="each Python has instructions of its own; counted for 3.11")
@pytest.mark.parametrize("group", MOST)
def test_a_quiet_request_takes_few_instructions(group: str) -> None:
    """Design §6: under a server each of ours costs several times what it costs in a loop, so their number is kept."""
    found = float(printed_by(f"from tests.test_instructions import of_a_request; print(of_a_request({group!r}))"))
    assert MOST[group] * 0.9 < found <= MOST[group]
