"""What the tests of the browser script do in a browser: tabs of one person, whose clock moves with the server's."""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import BrowserContext, Error, Page, expect

from session_middleware.testing import FakeClock

from .town import Town

DIALOG = "session-dialog dialog"

#: Seconds that a busy machine may take for what takes none on an idle one.
PATIENCE = 60

expect.set_options(timeout=PATIENCE * 1000)

#: Counts in each page what it asked and has not yet dealt with: requests, bodies that it reads, turns at the browser's
#: lock. A message, since timers stand still: what comes of an answer at once is counted before the answer is not.
UNHEARD = """(() => {
  window.unheard = 0;
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => window.unheard--;
  const heard = () => port2.postMessage(null);
  const counted = (owner, name) => {
    const asks = owner[name];
    owner[name] = function (...of) {
      const answer = asks.apply(this, of);
      if (String(of[0]).endsWith(" events")) return answer; // a turn that one may wait for as long as the page is there
      window.unheard++;
      answer.then(heard, heard);
      return answer;
    };
  };
  counted(window, "fetch");
  counted(Response.prototype, "json");
  if (navigator.locks) counted(LockManager.prototype, "request");
})()"""


class Person:
    """Somebody with a browser: tabs that share cookies, and one clock for them and the server.

    Attributes:
        context: the browser's, where tests need it.
    """

    def __init__(self, context: BrowserContext, town: Town, origin: str) -> None:
        self.context = context
        self.town = town
        self.origin = origin
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(UNHEARD)
        if town.clock is not None:
            context.clock.install(time=town.clock())
            context.clock.pause_at(town.clock.advance(1))

    def tab(self, path: str = "/") -> Tab:
        return Tab(self, self.context.new_page(), path)

    def signed_in(self, user: str = "alice", path: str = "/") -> Tab:
        """Sign in at once and open a page; its session has the whole time before it."""
        tab = self.tab("/quiet")
        tab.sign_in(user)
        tab.page.goto(self.origin + path)
        tab.settle()
        return tab

    def leaves(self) -> None:
        """Close the browser, and wait until nothing of it is under way to the server, where the next person's requests count.

        Tabs close one after another, and each that is left takes over the stream of the one before: none gets through.
        """
        self.context.set_offline(True)
        self.context.close()
        with urllib.request.urlopen(self.origin + "/quiet") as answer:  # what was sent before it has arrived before it
            answer.read()
        end = time.monotonic() + PATIENCE
        while self.town.streams:
            assert time.monotonic() < end, f"{self.town.streams} streams are still open"
            time.sleep(0.01)  # a real server notices in its own time that a connection is gone

    def passes(self, seconds: float, tabs: Sequence[Tab] = ()) -> None:
        """Let time pass, on the server and in every tab: as the tabs tick, so that what one asks in a second is answered in it."""
        clock = self.town.clock
        assert isinstance(clock, FakeClock)
        while seconds > 0:
            step = min(seconds, 1)
            seconds -= step
            clock.advance(step)
            self.context.clock.run_for(round(step * 1000))
            for page in self.context.pages:
                self.is_answered(page)
        for tab in tabs:
            tab.settle()

    def is_answered(self, page: Page) -> None:
        """Wait until a page has been told all that it asked; one that leaves for another asks anew there."""
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(Error):
                if not page.evaluate("window.unheard"):
                    return
            assert time.monotonic() < end, f"{page.url} still waits for an answer"
            page.wait_for_timeout(5)


class Tab:
    """One page of a person."""

    def __init__(self, person: Person, page: Page, path: str | None) -> None:
        self.person = person
        self.page = page
        self.dialog = page.locator(DIALOG)
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        if path is not None:
            page.goto(person.origin + path)
        if path != "/quiet":
            self.settle()

    def beside(self, page: Page) -> Tab:
        """Return a window that this page opened."""
        return Tab(self.person, page, None)

    def settle(self) -> None:
        """Wait until the script has started and what was asked has been answered."""
        self.until("Boolean(window.session) && session.state !== 'unknown'")
        self.person.is_answered(self.page)

    def sign_in(self, user: str = "alice") -> None:
        """Sign in from this page without leaving it."""
        self.page.evaluate("(user) => fetch(`/login?user=${user}&return_to=/quiet`, {method: 'POST'})", user)

    def passes(self, seconds: float) -> None:
        self.person.passes(seconds, [self])

    @property
    def state(self) -> str:
        return str(self.page.evaluate("session.state"))

    @property
    def left(self) -> float | None:
        left: float | None = self.page.evaluate("session.remaining()")
        return left

    def becomes(self, state: str) -> None:
        """Wait for a state; the answer to a request may be on its way."""
        self.until("session.state", state)

    def until(self, expression: str, wanted: object = True) -> None:
        """Wait until the page says so: asked from here, since the page's timers stand still and its policy forbids eval."""
        end = time.monotonic() + PATIENCE
        while (found := self.page.evaluate(expression)) != wanted:
            assert time.monotonic() < end, f"{expression} is {found!r}, not {wanted!r}"
            self.page.wait_for_timeout(5)

    def button(self, name: str) -> Any:
        return self.dialog.get_by_role("button", name=name)

    def link(self, name: str) -> Any:
        return self.dialog.get_by_role("link", name=name)

    def shows(self, title: str) -> None:
        expect(self.dialog).to_have_count(1)
        expect(self.dialog).to_be_visible()
        expect(self.dialog.get_by_role("heading")).to_have_text(title)

    def shows_nothing(self) -> None:
        expect(self.dialog.filter(visible=True)).to_have_count(0)
