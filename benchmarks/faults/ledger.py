"""What the users of an app saw, written down while they see it; and what was wrong with it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Answer", "Ended", "Ledger", "Visit"]


@dataclass(slots=True)
class Visit:
    """One signed-in browser, used by one thread.

    Attributes:
        subject: whose it is.
        began: when the login was answered; seconds of `time.monotonic`, as all instants here.
        cookies: by name.
    """

    subject: str
    began: float
    cookies: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """A copy of a browser's cookies from just before its logout, as a thief would have it.

    Attributes:
        visit: the browser it was.
        finished: when the logout was answered.
        acknowledged: whether the answer said that it is stored; else the app owes it, and said so.
    """

    visit: Visit
    finished: float
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got.

    Attributes:
        kind: "page" (of who is signed in), "login", "logout", "public", "thief", "forged".
        status: of HTTP; 0 where none came.
        began: when it was sent.
        finished: when the answer was there.
    """

    kind: str
    status: int
    began: float
    finished: float

    @property
    def is_bad(self) -> bool:
        """Whether the user could not do what they wanted because of a fault."""
        return self.kind in ("page", "login", "logout", "public") and (self.status == 0 or self.status >= 500)


@dataclass
class Ledger:
    """Notes of all threads, and what they amount to.

    Attributes:
        lease: seconds within which an acknowledged end may not have arrived in other processes.
        forgets: whether the fault itself takes sessions away, so that a session begun before it may be gone.
        fault_at: when the fault began; infinity before.
        lost: sessions, begun before such a fault, that were refused after it without a logout.
        let_in: what was accepted and should not have been.
        signed_out: what was refused, or whose cookie was deleted, and should not have been.
    """

    lease: float
    forgets: bool = False
    fault_at: float = float("inf")
    answers: list[Answer] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    lost: int = 0
    within_lease: int = 0
    let_in: list[str] = field(default_factory=list)
    signed_out: list[str] = field(default_factory=list)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answer: Answer) -> None:
        """Write down an answer."""
        with self._mutex:
            self.answers.append(answer)

    def page(self, visit: Visit, answer: Answer, body: bytes, deletes: bool) -> bool:
        """Judge the page of a browser that should be signed in; return whether it still is."""
        self.note(answer)
        if deletes:
            self._wrong(self.signed_out, f"{answer.status} deleted the cookie of a session that had not ended")
        if answer.status == 200 and body != visit.subject.encode():
            self._wrong(self.let_in, "one user saw another's page")
        if answer.status not in (303, 401):
            return True
        if answer.status == 401 and self.forgets and visit.began < self.fault_at + 1:
            with self._mutex:
                self.lost += 1
        else:
            since = answer.began - visit.began
            self._wrong(self.signed_out, f"{answer.status} for a session of {since:.1f} s that had not ended")
        return False

    def login(self, answer: Answer, has_cookie: bool) -> None:
        """Judge a login."""
        self.note(answer)
        if answer.status != 200 and has_cookie:
            self._wrong(self.let_in, f"a login answered with {answer.status} set a cookie")

    def logout(self, visit: Visit, answer: Answer) -> None:
        """Judge a logout, and keep what a thief may try."""
        self.note(answer)
        if answer.status in (200, 503):
            with self._mutex:
                self.ended.append(Ended(visit, answer.finished, answer.status == 200))

    def thief(self, copy: Ended, answer: Answer) -> None:
        """Judge what a copy of the cookies got after the logout."""
        self.note(answer)
        if answer.status != 200 or not copy.acknowledged:
            return
        late = answer.began - copy.finished
        if late <= self.lease:
            with self._mutex:
                self.within_lease += 1
        else:
            self._wrong(self.let_in, f"accepted {late:.1f} s after a logout that was acknowledged")

    def forged(self, answer: Answer) -> None:
        """Judge what a token that is not ours got."""
        self.note(answer)
        if answer.status == 200:
            self._wrong(self.let_in, "a forged token was accepted")

    def owed(self, copy: Ended, answer: Answer) -> None:
        """Judge a copy whose logout the app owed, once all is normal again."""
        self.note(answer)
        if answer.status == 200:
            self._wrong(self.let_in, "a logout that the app owed was never stored")

    def _wrong(self, where: list[str], what: str) -> None:
        with self._mutex:
            where.append(what)

    # --- what it amounts to -----------------------------------------------------------------------------------------

    def statuses(self, kinds: Iterable[str], since: float, until: float) -> Counter[int]:
        """Return how often each status was seen by requests that began within a time."""
        chosen = set(kinds)
        return Counter(one.status for one in self.answers if one.kind in chosen and since <= one.began < until)

    def last_bad(self) -> float:
        """Return when the last answer was there that a fault was to blame for."""
        with self._mutex:
            return max((one.finished for one in self.answers if one.is_bad), default=float("-inf"))

    def slowest(self, since: float, until: float) -> float:
        """Return the longest time that a page took, of requests that began within a time."""
        took = (one.finished - one.began for one in self.answers if one.kind == "page" and since <= one.began < until)
        return max(took, default=0.0)

    def is_normal(self, seconds: float) -> bool:
        """Say whether nothing bad was seen for so long."""
        return time.monotonic() - self.last_bad() >= seconds
