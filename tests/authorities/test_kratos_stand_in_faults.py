"""What goes wrong at the Kratos stand-in when it is told to, and what it remembers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import ory_kratos_client as official
import pytest
import urllib3

from session_middleware.testing.stand_ins.kratos import KratosStandIn
from tests.authorities.kratos_world import HOUR, World, at, world


@pytest.fixture
def here() -> Iterator[World]:
    with world(lifespan=24 * HOUR, allowed_return_urls=["https://app.example/in"]) as made:
        yield made


@pytest.fixture
def alice(here: World) -> Any:
    return here.kratos.begin_session(here.kratos.add_identity("alice@example.org", "correct horse"))


def test_being_down_closes_the_connection(here: World, alice: Any) -> None:
    """A stand-in that is down answers nothing, on the listener that was meant."""
    here.kratos.faults.be_down(only="/admin/")
    with pytest.raises(urllib3.exceptions.HTTPError):
        here.identities.get_session(alice.id)
    assert here.frontend.to_session(cookie=alice.cookie).id == alice.id
    here.kratos.faults.clear()
    assert here.identities.get_session(alice.id).id == alice.id


def test_being_slow_does_what_is_asked_and_says_so_late(here: World, alice: Any) -> None:
    """A slow answer overruns the caller's patience, and yet the session is extended."""
    here.clock.advance(hours=5)
    here.kratos.faults.be_slow(30.0)
    with pytest.raises(urllib3.exceptions.HTTPError):
        here.identities.extend_session(alice.id, _request_timeout=0.2)
    here.kratos.faults.clear()
    assert at(here, here.identities.get_session(alice.id).expires_at) == 24 * HOUR


def test_a_rate_limit_says_when_it_ends(here: World, alice: Any) -> None:
    """429 carries the headers of Ory Network."""
    here.kratos.faults.limit_rate(7, times=1)
    with pytest.raises(official.ApiException) as refused:
        here.frontend.to_session(cookie=alice.cookie)
    said = refused.value
    assert (said.status, said.headers["x-ratelimit-reset"], said.headers["x-ratelimit-remaining"]) == (429, "7", "0")
    assert here.frontend.to_session(cookie=alice.cookie).id == alice.id


def test_garbage_is_a_200(here: World, alice: Any) -> None:
    """What a broken gateway says looks like success until it is read."""
    here.kratos.faults.garble(times=1)
    answer = here.get("/sessions/whoami", cookie=alice.cookie)
    assert (answer.status, answer.data) == (200, b"<html>bad gateway</html>")


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_of_the_gateway(here: World, alice: Any, status: int) -> None:
    """5xx is answered as often as was arranged."""
    here.kratos.faults.fail(status, times=1)
    with pytest.raises(official.exceptions.ServiceException):
        here.frontend.to_session(cookie=alice.cookie)
    assert here.frontend.to_session(cookie=alice.cookie).id == alice.id


def test_its_clock_may_be_off(here: World, alice: Any) -> None:
    """Kratos' own time decides, 30 seconds ahead too."""
    here.clock.advance(hours=24, seconds=-20)
    assert here.frontend.to_session(cookie=alice.cookie).id == alice.id
    here.kratos.set_clock_off(30)
    with pytest.raises(official.exceptions.UnauthorizedException):
        here.frontend.to_session(cookie=alice.cookie)


def test_it_remembers_what_it_was_asked(here: World, alice: Any) -> None:
    """Every call is kept with its listener and status; reprs show no credential."""
    here.frontend.to_session(x_session_token=alice.token)
    here.identities.extend_session(alice.id)
    assert [(call.listener, call.method, call.status) for call in here.kratos.calls] == [
        ("public", "GET", 200),
        ("admin", "PATCH", 200),
    ]
    assert here.kratos.count("/sessions/whoami") == here.kratos.count("/admin/", method="PATCH") == 1
    shown = f"{here.kratos.calls!r} {alice!r} {here.kratos!r}"
    assert alice.token not in shown
    assert alice.cookie.partition("=")[2] not in shown


def test_what_it_does_not_serve_is_a_404(here: World) -> None:
    """A path that the stand-in does not know is not guessed at."""
    query = urlsplit(here.get("/self-service/logout").headers["Location"]).query
    assert here.get("/self-service/registration/browser", accept="application/json").status == 404
    assert here.get(f"/self-service/errors?id={parse_qs(query)['id'][0]}").json()["error"]["code"] == 400


@pytest.mark.parametrize("options", [{"required_aal": "aal3"}, {"lifespan": 0}, {"earliest_possible_extend": -1.0}])
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    """An option that Kratos would not start with is refused."""
    with pytest.raises(ValueError, match=next(iter(options))):
        KratosStandIn(**options)


def test_its_times_are_utc(here: World, alice: Any) -> None:
    """Instants are written with their zone."""
    session = here.frontend.to_session(cookie=alice.cookie)
    assert session.issued_at == datetime.fromtimestamp(here.clock(), UTC)
