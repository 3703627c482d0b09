"""A provider that posts its answer: its form carries no Lax cookie, so a page of ours posts it once more."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from urllib.parse import urlencode

import pytest

from session_middleware.testing.browser import Answer
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stage import Stage
from tests.authorities.oidc_people import MODES, Person
from tests.authorities.oidc_town import Town, town_of
from tests.authorities.oidc_visitor import Arrival, PageForm

CALLBACK = "/session/callback"


@pytest.fixture(params=MODES)
def town(request: pytest.FixtureRequest) -> Iterator[Town]:
    """The stand-in and people."""
    with town_of(request.param) as town:
        yield town


def posted(person: Person, form: dict[str, str]) -> Answer:
    """Post an answer as the provider's page does: from another site, without cookies."""
    person.app.cookie_header = ""
    answer = person.app.submit(CALLBACK, urlencode(form).encode(), site="cross-site")
    person.app.cookie_header = None
    return answer


@pytest.mark.server
def test_at_a_real_provider(stage: Stage, person: Callable[..., Person]) -> None:
    """The answer comes by form, is posted once more from here, and signs the user in."""
    alice = person(response_mode="form_post")
    assert served(alice.sign_in("/me?tab=2"))["subject"] == "alice"
    assert alice.there.pages == ["login", "consent", "form_post"]
    assert alice.app.answers[-2].header("Location") == "/me?tab=2"


def test_the_cookie_stays_lax(town: Town) -> None:
    """No cookie of ours is made for other sites to send, and the page may do nothing but post to this host."""
    alice = town.person(response_mode="form_post")
    arrival = alice.there.visit(alice.to_the_provider())
    assert "SameSite=Lax" in alice.app.answers[-1].set_cookies[0]
    answer = posted(alice, arrival.form)
    assert answer.status == 200
    assert not answer.set_cookies
    page, policy = answer.body.decode(), answer.header("Content-Security-Policy") or ""
    (script,) = re.findall("<script>(.*?)</script>", page)
    assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
    assert "form-action 'self'" in policy
    assert answer.header("Cache-Control") == "no-store"
    assert PageForm(page).action == CALLBACK
    assert "code" in PageForm(page).fields


def test_what_was_posted_cannot_break_out_of_the_page(town: Town) -> None:
    """Fields are written as text, and none but those of an answer."""
    alice = town.person(response_mode="form_post")
    answer = posted(alice, {"state": "s" * 43, "code": '"><script>alert(1)</script>', "evil": "1"})
    assert b"<script>alert" not in answer.body
    assert set(PageForm(answer.body.decode()).fields) == {"state", "code", "again"}


def test_another_site_signs_nobody_in(town: Town) -> None:
    """An answer that this browser did not ask for is posted once more and then refused: login CSRF."""
    alice = town.person(response_mode="form_post")
    mallory = town.person("mallory", at=alice.app.driver)
    stolen = mallory.there.visit(mallory.to_the_provider())
    answer = alice.arrive(Arrival("POST", stolen.url, stolen.form))
    assert answer.status == 400
    problem(alice.app.fetch("/me"), None)
    assert posted(alice, {**stolen.form, "again": "1"}).status == 400


def test_a_user_who_said_no(town: Town) -> None:
    """A refusal comes by form too."""
    alice = town.person(response_mode="form_post")
    state = alice.there.visit(alice.to_the_provider()).form["state"]
    answer = alice.arrive(Arrival("POST", f"https://app.example{CALLBACK}", {"state": state, "error": "access_denied"}))
    assert answer.status == 403


def test_a_body_that_is_no_form(town: Town) -> None:
    """What cannot be read is refused."""
    alice = town.person(response_mode="form_post")
    answer = alice.app.send("POST", CALLBACK, [("Content-Type", "text/plain")], b"state=x&code=y")
    assert answer.status == 400


def test_only_where_it_was_asked_for(town: Town) -> None:
    """With response_mode=query nobody posts anything there."""
    alice = town.person()
    assert posted(alice, {"state": "s" * 43, "code": "x"}).status == 405
