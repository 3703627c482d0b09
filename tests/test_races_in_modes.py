"""Races through each adapter: requests that are really under way at once, threads in a synchronous app, tasks on a loop.

`test_races.py` plays the same between engine and stores, for every store; here frameworks and their servers' ways are in between.
"""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.stage import TOKEN, Stage

from .modes.asgi_mode import ASGIDriver

#: As in test_scenarios.py: in an ordinary run asyncio stands for trio. Here SQLite stands for memory, which never waits.
MODES = [
    pytest.param(path.stem, marks=[pytest.mark.slow] if "trio" in path.stem else [])
    for path in sorted((Path(__file__).parent / "modes").glob("*_mode.py"))
]


def at_once(browsers: list[Browser], asks: Sequence[Callable[[Browser], object]]) -> list[Answer]:
    """Let each browser ask at the same time as the others; return the answers in their order."""
    driver = browsers[0].driver
    together = threading.Barrier(len(browsers))
    if isinstance(driver, ASGIDriver):
        one_loop = _OneLoop(driver, len(browsers))
        for browser in browsers:
            browser.driver = one_loop

    def one(browser: Browser, ask: Callable[[Browser], object]) -> Answer:
        together.wait()
        ask(browser)
        return browser.answers[-1]

    with ThreadPoolExecutor(len(browsers)) as pool:
        return list(pool.map(one, browsers, asks))


class _OneLoop:
    """Collects what many browsers ask, and has it served on one loop.

    Args:
        driver: of an app in ASGI.
        number: of requests to wait for.
    """

    def __init__(self, driver: ASGIDriver, number: int) -> None:
        self._driver = driver
        self._number = number
        self._asked: list[Any] = []
        self._answers: list[Answer] = []
        self._lock, self._answered = threading.Lock(), threading.Event()

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        with self._lock:
            mine = len(self._asked)
            self._asked.append((method, target, headers, body))
        if mine + 1 == self._number:  # the last one serves them all
            try:
                self._answers = self._driver.requests(self._asked)
            finally:
                self._answered.set()
        self._answered.wait()
        return self._answers[mine]

    def close(self) -> None: ...


@pytest.fixture(params=[pytest.param("memory", marks=pytest.mark.slow), "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: Any = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "sessions.db")
    yield made
    if hasattr(made, "close"):
        made.close()


@pytest.fixture(params=MODES)
def stage(request: pytest.FixtureRequest, store: Any) -> Iterator[Stage]:
    stage = Stage(importlib.import_module(f"tests.modes.{request.param}").make, store)
    yield stage
    stage.close()


def due(stage: Stage) -> Browser:
    """Return the browser of somebody whose next request renews the token."""
    browser = stage.signed_in(inactivity_timeout=7_200)
    stage.clock.advance(3_600)
    return browser


def page(browser: Browser) -> None:
    browser.navigate("/me")


def test_fifty_requests_at_the_renewal_moment(stage: Stage) -> None:
    """L9, L11: one successor, everybody served, and all cookies of all answers the same."""
    browser = due(stage)
    tabs = [browser.twin() for _ in range(50)]
    answers = at_once(tabs, [page] * 50)
    assert {answer.status for answer in answers} == {200}
    cookies = {tuple(sorted((c.name, c.value) for c in tab.jar)) for tab in tabs}
    assert len(cookies) == 1
    assert tabs[0].jar[TOKEN] != browser.jar[TOKEN]
    assert stage.event_names().count("session_renewed") == 1


def logs_out(browser: Browser) -> None:
    browser.submit("/sign-out")


def extends(browser: Browser) -> None:
    browser.submit("/extend?minutes=60")


def claims(browser: Browser) -> None:
    browser.submit('/claims?set={"n":1}')


@pytest.mark.parametrize(
    "order",
    list(itertools.permutations([logs_out, page, extends])),
    ids=lambda order: "-".join(ask.__name__ for ask in order),
)
def test_dead_wins(stage: Stage, order: Any) -> None:
    """L13: logout beside renewal and extend, in every order of arrival: afterwards every cookie of it is dead."""
    browser = due(stage)
    tabs = [browser.twin() for _ in range(3)]
    for answer in at_once(tabs, order):
        assert answer.status in (200, 303, 401, 409), answer.body
    for one in [browser, *tabs]:
        assert one.twin(browser.driver).fetch("/me").status == 401
