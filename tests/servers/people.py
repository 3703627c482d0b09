"""Somebody before a browser: uses an app as its pages and scripts let them, forms and their hidden fields included."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urlsplit

from session_middleware.testing.browser import Answer, Browser


@dataclass(frozen=True)
class Ways:
    """What is where in an app.

    Attributes:
        page: a protected page, with a query that must survive the login.
        poll: what the page's script asks, which is no activity.
        back: the parameter with the way back.
        name: the login form's field for the user's name.
        tells_reason: whether the redirect to the login says why, as ours does and a framework's own does not.
    """

    cookie: str
    page: str = "/?tab=2"
    poll: str = "/unread"
    back: str = "return_to"
    name: str = "name"
    tells_reason: bool = True


class Person:
    """Alice, before the pages of an app."""

    def __init__(self, browser: Browser, ways: Ways) -> None:
        self.browser = browser
        self.ways = ways

    @property
    def token(self) -> str | None:
        return self._cookies().get("__Host-" + self.ways.cookie)

    @property
    def jwt(self) -> str | None:
        return self._cookies().get(f"__Host-{self.ways.cookie}_jwt")

    def _cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value for cookie in self.browser.jar}

    def twin(self) -> Person:
        """Return somebody with a copy of the cookies."""
        return type(self)(self.browser.twin(), self.ways)

    def opens(self) -> bool:
        """Open the protected page; say whether it was that."""
        return self.sees(self.browser.navigate(self.ways.page, site="same-origin"))

    def polls(self) -> bool:
        """Ask what the page's script asks; say whether it was answered."""
        answer = self.browser.fetch(self.ways.poll)
        assert answer.status in (200, 302, 401), answer
        return answer.status == 200

    def why(self) -> str | None:
        """Return the reason for which the session is over, as the status shows it."""
        state = self.browser.fetch("/session/status").json
        assert not state["authenticated"]
        reason: str | None = state["reason"]
        return reason

    def comes(self, reason: str | None = None) -> tuple[float, float]:
        """Open a page without a session, be sent to the login, log in, be led back to the page.

        Returns:
            Instants before and after the login.
        """
        refused = self.browser.navigate(self.ways.page)
        assert refused.status in (302, 303), refused
        query = parse_qs(urlsplit(refused.header("Location") or "").query)
        assert query[self.ways.back] == [self.ways.page]
        if self.ways.tells_reason:
            assert query.get("reason", [None]) == [reason]
        login = self.browser.follow(refused)
        before = time.time()
        led = self.logs_in(login, refused.header("Location") or "")
        after = time.time()
        assert led == self.ways.page
        assert self.opens()
        return before, after

    # --- what differs between apps ---------------------------------------------------------------------------------

    def sees(self, answer: Answer) -> bool:
        """Say whether an answer is the protected page; its deadlines are what it is looked at for."""
        if answer.status != 200 or b"Hello alice" not in answer.body:
            return False
        assert len(re.findall(rb"\d\d:\d\d:\d\d\s+UTC", answer.body)) == 2, answer.body
        return True

    def logs_in(self, login: Answer, at: str) -> str | None:
        """Fill in the login page; return where that leads."""
        return self._submits(login, at, "Log in", **{self.ways.name: "alice", "password": "wonderland"})

    def logs_out(self) -> None:
        """Press the button for it."""
        self._submits(self.browser.navigate("/", site="same-origin"), "/", "Log out")

    def _submits(self, page: Answer, at: str, button: str, **values: str) -> str | None:
        form = next(form for form in forms(page.body.decode()) if form.button == button)
        assert set(values) <= set(form.fields)
        answer = self.browser.submit(form.action or at, urlencode(form.fields | values).encode(), page=at)
        assert answer.status in (302, 303), answer
        return answer.header("Location")


class ScriptPerson(Person):
    """Alice, before a front that talks to an API."""

    def sees(self, answer: Answer) -> bool:
        return answer.status == 200 and answer.json["name"] == "alice" and bool(answer.json["inactivity_deadline"])

    def logs_in(self, login: Answer, at: str) -> str | None:
        assert b'<form id="login"' in login.body
        sent = json.dumps({"name": "alice", "password": "wonderland"}).encode()
        target = "/api/login?" + at.partition("?")[2]
        answer = self.browser.fetch(target, "POST", sent, headers=[("Content-Type", "application/json")])
        assert answer.status == 200, answer
        led: str = answer.json["go_to"]
        return led

    def logs_out(self) -> None:
        assert self.browser.fetch("/session/logout", "POST").status == 204


class ScenarioPerson(Person):
    """Alice, before the scenario app of the testing kit, where her session carries a claim."""

    def sees(self, answer: Answer) -> bool:
        if answer.status != 200:
            return False
        assert (answer.json["subject"], answer.json["claims"]) == ("alice", {"a": 1})
        return True

    def logs_in(self, login: Answer, at: str) -> str | None:
        assert self.browser.submit("/login?subject=alice").status == 200
        assert self.browser.fetch('/claims?set={"a":1}', "POST").status == 200
        answer = self.browser.fetch("/return-to?" + at.partition("?")[2])
        led: str = answer.json["to"]
        return led

    def logs_out(self) -> None:
        assert self.browser.submit("/sign-out").status == 200


@dataclass
class Form:
    """A form of a page: where it goes, its fields with what they hold, the text of its button."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    button: str = ""


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._in_button = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "form":
            self.found.append(Form(given.get("action") or ""))
        elif tag == "input" and self.found and given.get("type") != "checkbox":
            self.found[-1].fields[given.get("name") or ""] = given.get("value") or ""
        elif tag == "button":
            self._in_button = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self._in_button = False

    def handle_data(self, data: str) -> None:
        if self._in_button and self.found:
            self.found[-1].button += data


def forms(page: str) -> Iterator[Form]:
    """Return the forms of a page."""
    parser = _Forms()
    parser.feed(page)
    parser.close()
    return iter(parser.found)
