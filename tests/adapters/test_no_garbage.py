"""A request leaves nothing to the garbage collector: circles would have it run, and cost more than all that we do."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from tests.authorities.test_adoption import MODES, stage_of

REQUESTS = 20

#: Flask keeps the 404 of a request that no route of its own matches, as all to our endpoints are, and with the traceback of
#: that the request: a circle of its own.
OF_FLASKS_404 = {"session_middleware.adapters._flask_exchange.FlaskExchange"}


@pytest.mark.parametrize("target", ["/me", "/open", "/exempt", "/session/status"])
@pytest.mark.parametrize("mode", MODES, ids=lambda name: name.removesuffix("_mode"))
def test_a_request_leaves_no_circle_of_ours(mode: str, target: str) -> None:
    """Whatever server and framework keep, no object of this package is in a circle once the request is over."""
    for stage in stage_of(mode):
        browser = stage.signed_in()
        for _ in range(5):
            browser.fetch(target)
        gc.freeze()  # what is there already is of none of these requests, and to look through it takes long
        gc.disable()
        try:
            for _ in range(REQUESTS):
                browser.fetch(target)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = Counter(f"{type(thing).__module__}.{type(thing).__name__}" for thing in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
            gc.unfreeze()
        ours = {name: count for name, count in left.items() if name.startswith("session_middleware.adapters")}
        assert not ours.keys() - (OF_FLASKS_404 if (mode, target) == ("flask_mode", "/session/status") else set())
