"""The verbs that make a session, where no cookie could take it to the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from session_middleware.core.lifetime import Verdict
from session_middleware.errors import SessionError
from session_middleware.runtime import run_sync
from session_middleware.session import Session

from .test_engine import House


@pytest.mark.parametrize("verb", [lambda s: s.login("bob"), lambda s: s.step_up([{"kind": "totp"}])])
@pytest.mark.parametrize("request_of", [{"websocket": True, "scheme": "wss"}, {"method": "OPTIONS"}])
@pytest.mark.parametrize("signed_in", [False, True])
def test_no_session_is_made_whose_cookie_cannot_go_out(
    verb: Callable[[Session], Any], request_of: dict[str, Any], signed_in: bool
) -> None:
    """L18: where no cookie is set, login() and step_up() say so, store nothing and leave what stands."""
    house = House()
    if signed_in:
        house.login()
    house.store.forget_calls()
    x, refusal = house.opened(facts=house.facts(**request_of))
    assert refusal is None
    with pytest.raises(SessionError, match="cookie") as caught:
        verb(Session(house.engine, x))
    assert caught.value.code == "no_cookie"
    assert house.store.writes == 0
    assert x.verdict is (Verdict.ACTIVE if signed_in else Verdict.ANONYMOUS)
    assert house.closed(x) == []


def test_a_login_made_elsewhere_is_never_later_than_now() -> None:
    """L3: a provider, or a database, whose clock is ahead of ours does not lengthen the session."""
    house = House()
    x, _ = house.opened()
    run_sync(house.engine.login(x, "alice", authenticated_at=house.now + 500))
    assert x.record is not None
    assert x.record.authenticated_at == house.now
    x, _ = house.opened()
    run_sync(house.engine.login(x, "alice", authenticated_at=house.now - 500))
    assert x.record.authenticated_at == house.now - 500


def test_a_login_that_nobody_saw_is_not_fresh_until_a_step_up() -> None:
    """L3: an adopted login is no proof at all, however long ago one is asked for; a step-up is."""
    house = House()
    x, _ = house.opened()
    run_sync(house.engine.login(x, "alice", fresh=False))
    session = Session(house.engine, x)
    assert (session.is_active, session.is_fresh(86_400)) == (True, False)
    session.step_up([{"type": "otp"}])
    assert session.is_fresh(1)
