"""The load: people who sign in, look at their page and sign out; thieves with old cookies; forgers; visitors."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator

from benchmarks.faults.ledger import Answer, Ledger, Visit

__all__ = ["audit", "people"]

#: Seconds for which a browser waits for an answer: longer than any timeout of ours.
_PATIENCE = 15.0

#: Browsers that one person is signed in with at a time, at most.
_BROWSERS = 4

_HEADERS = {
    "Sec-Fetch-Site": "same-origin",
    "Accept": "text/plain",
    "Host": "app.example",
    "X-Forwarded-Proto": "https",
}


class Line:
    """A connection to the app that is opened again where it was lost."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)

    def ask(
        self, kind: str, method: str, path: str, cookies: dict[str, str]
    ) -> tuple[Answer, bytes, dict[str, str | None]]:
        """Send a request; return what came, its body, and the cookies it set, None for one that it deletes."""
        headers = dict(_HEADERS)
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        began = time.monotonic()
        try:
            self._connection.request(method, path, b"" if method == "POST" else None, headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return Answer(kind, 0, began, time.monotonic()), b"", {}
        changes: dict[str, str | None] = {}
        for line in response.headers.get_all("Set-Cookie") or ():
            pair, *attributes = line.split(";")
            name, _, value = pair.partition("=")
            gone = any(attribute.strip().lower() == "max-age=0" for attribute in attributes)
            changes[name] = None if gone else value
        return Answer(kind, response.status, began, time.monotonic()), body, changes

    def close(self) -> None:
        self._connection.close()


def _taken(visit: Visit, changes: dict[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            visit.cookies.pop(name, None)
        else:
            visit.cookies[name] = value


class Person:
    """Somebody with a few browsers.

    Args:
        number: tells people apart.
        port: of the app.
        ledger: where everything is written down.
    """

    def __init__(self, number: int, port: int, ledger: Ledger) -> None:
        self._chance = random.Random(number)
        self._number = number
        self._line = Line(port)
        self._ledger = ledger
        self._serial = itertools.count()
        self._disappointed = False  # by the last answer; whoever reads that it does not work waits a moment
        self.visits: list[Visit] = []

    def live(self, over: threading.Event) -> None:
        """Sign in, look, sign out, until it is over."""
        while not over.wait(self._chance.uniform(0.01, 0.05)):
            if self._disappointed and over.wait(self._chance.uniform(0.1, 0.5)):
                break
            what = self._chance.random()
            if not self.visits or (what < 0.1 and len(self.visits) < _BROWSERS):
                self._sign_in()
            elif what > 0.95:
                self._sign_out(self.visits.pop(self._chance.randrange(len(self.visits))))
            else:
                self.look(self._chance.choice(self.visits))
        self.close()

    def close(self) -> None:
        """Close the connection; it is opened again where it is needed."""
        self._line.close()

    def look(self, visit: Visit) -> None:
        """Open the page."""
        answer, body, changes = self._line.ask("page", "GET", "/me", visit.cookies)
        self._disappointed = answer.is_bad
        deletes = None in changes.values()
        if not self._ledger.page(visit, answer, body, deletes):
            with contextlib.suppress(ValueError):
                self.visits.remove(visit)
        _taken(visit, changes)

    def _sign_in(self) -> None:
        subject = f"user-{self._number}-{next(self._serial)}"
        answer, _, changes = self._line.ask("login", "POST", f"/login?subject={subject}", {})
        self._disappointed = answer.is_bad
        given = {name: value for name, value in changes.items() if value is not None}
        self._ledger.login(answer, bool(given))
        if answer.status == 200:
            self.visits.append(Visit(subject, answer.finished, given))

    def _sign_out(self, visit: Visit) -> None:
        answer, _, _ = self._line.ask("logout", "POST", "/logout", visit.cookies)
        self._disappointed = answer.is_bad
        self._ledger.logout(visit, answer)


def _steal(number: int, port: int, ledger: Ledger, over: threading.Event) -> None:
    """Try copies of cookies after the logout, and tokens that were never given to anybody."""
    chance, line = random.Random(-1 - number), Line(port)
    while not over.wait(chance.uniform(0.02, 0.06)):
        known = len(ledger.ended)
        if not known:
            continue
        copy = ledger.ended[max(0, known - 1 - int(chance.expovariate(0.1)))]  # recent ones above all
        if chance.random() < 0.1:
            forged = {
                name: value[:-1] + ("A" if value[-1] != "A" else "Q") for name, value in copy.visit.cookies.items()
            }
            ledger.forged(line.ask("forged", "GET", "/me", forged)[0])
        else:
            ledger.thief(copy, line.ask("thief", "GET", "/me", copy.visit.cookies)[0])
    line.close()


def _visit(port: int, ledger: Ledger, over: threading.Event) -> None:
    """Look at the page that is for everybody."""
    line = Line(port)
    while not over.wait(0.05):
        ledger.note(line.ask("public", "GET", "/public", {})[0])
    line.close()


@contextlib.contextmanager
def people(count: int, port: int, ledger: Ledger) -> Iterator[tuple[list[Person], Callable[[], None]]]:
    """Have people use an app until the block ends, or until what is given beside them is called."""
    over = threading.Event()
    crowd = [Person(number, port, ledger) for number in range(count)]
    threads = [threading.Thread(target=person.live, args=(over,)) for person in crowd]
    threads += [threading.Thread(target=_steal, args=(number, port, ledger, over)) for number in range(3)]
    threads.append(threading.Thread(target=_visit, args=(port, ledger, over)))

    def stop() -> None:
        over.set()
        for thread in threads:
            thread.join()

    for thread in threads:
        thread.start()
    try:
        yield crowd, stop
    finally:
        stop()


def audit(crowd: list[Person], port: int, ledger: Ledger) -> tuple[int, int]:
    """Once all is normal: look at every page again, and try every copy; return how many of each."""
    looked = 0
    for person in crowd:
        for visit in list(person.visits):
            person.look(visit)
            looked += 1
        person.close()
    line = Line(port)
    for copy in list(ledger.ended):
        answer = line.ask("thief", "GET", "/me", copy.visit.cookies)[0]
        (ledger.thief if copy.acknowledged else ledger.owed)(copy, answer)
    line.close()
    return looked, len(ledger.ended)
