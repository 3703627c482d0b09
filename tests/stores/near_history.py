"""What several processes do at random through near caches, written down; and what must hold of it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from session_middleware.core.lifetime import Verdict
from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.stores import store_from_url
from tests.stores.near_servers import Process

#: Where the browsers' cookies are kept for all processes, and whose they are.
_JARS, _SUBJECTS = "browsers", "subjects"

#: Signed-in sessions at a time, and subjects that have them.
_SESSIONS, _PEOPLE = 32, 8


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was done.

    Attributes:
        kind: "login", "request", "logout" or "end_all".
        session: the browser's name; of "end_all" the subject.
        subject: whose it is.
        began: seconds of the clock that all processes of a machine share.
        finished: when it was acknowledged.
        accepted: of a request, whether it was; of the others, whether it was acknowledged at all.
        verdict: of a request.
    """

    kind: str
    session: str
    subject: str
    began: float
    finished: float
    accepted: bool
    verdict: str = ""


def live(url: str, port: int, number: int, seconds: float, lease: float) -> tuple[list[Event], dict[str, float]]:
    """Be one process for so long; return what it did, and figures of its cache.

    Args:
        url: of the store.
        port: of the Redis by which the processes share their browsers.
        number: of this process.
        seconds: how long.
        lease: of its near cache, seconds.
    """
    logging.getLogger("session_middleware").setLevel(logging.CRITICAL)  # who is refused is in the history
    chance = random.Random(number)
    shared: Any = redis.Redis(port=port, decode_responses=True)
    process = Process(
        store_from_url(url),
        time.time,
        lease=lease,
        renewal_interval=3,
        renewal_grace=1.5,
        touch_interval=2,
    )
    process.open()
    history: list[Event] = []
    until, made, asked = time.monotonic() + seconds, 0, 0
    while time.monotonic() < until:
        names = shared.hkeys(_JARS)
        if len(names) < _SESSIONS:
            made += 1
            subject = f"user-{chance.randrange(_PEOPLE)}"
            name, began = f"{number}.{made}", time.monotonic()
            jar = process.login(subject)
            if not jar:
                continue  # refused: a connection was cut
            history.append(Event("login", name, subject, began, time.monotonic(), True))
            shared.hset(_SUBJECTS, name, subject)
            shared.hset(_JARS, name, jar)
            continue
        what = chance.random()
        name = chance.choice(names)
        subject = shared.hget(_SUBJECTS, name) or ""
        if what < 0.002:
            history.append(_ending("end_all", subject, subject, lambda who=subject: _end_all(process, who)))
            continue
        jar = shared.hget(_JARS, name)
        if jar is None:
            continue
        if what < 0.02:
            history.append(_ending("logout", name, subject, lambda own=jar: _logout(process, own)))
        for _ in range(20):  # most of them cost no trip
            began = time.monotonic()
            verdict, after = process.request(jar)
            active = verdict is Verdict.ACTIVE
            history.append(Event("request", name, subject, began, time.monotonic(), active, verdict.name))
            asked += 1
            if verdict is Verdict.UNAVAILABLE:
                break
            if not active:
                shared.hdel(_JARS, name)
                break
            if after != jar:
                jar = after
                if shared.hexists(_JARS, name):
                    shared.hset(_JARS, name, jar)
    state = process.near.state
    figures = {"requests": asked, "trips": process.counted.total, "lost": state.lost, "worst_lag": state.worst_lag or 0}
    process.stop()
    return history, figures


def _logout(process: Process, jar: str) -> None:
    process.request(jar, "logout")
    if isinstance(process.fault, StoreUnavailable):
        raise process.fault  # it is retried, and not acknowledged


def _end_all(process: Process, subject: str) -> None:
    run_sync(process.engine.end_all(subject, time.time()))


def _ending(kind: str, session: str, subject: str, call: Any) -> Event:  # Any: a call without arguments
    began = time.monotonic()
    try:
        call()
    except StoreUnavailable:
        return Event(kind, session, subject, began, time.monotonic(), False)
    return Event(kind, session, subject, began, time.monotonic(), True)


def around(history: Iterable[Event], found: Event) -> list[Event]:
    """Return, in order, what else was done to the session of a finding: its last ten requests before it, and logins and ends."""
    own = sorted(
        (
            event
            for event in history
            if event.session == found.session or (event.kind == "end_all" and event.session == found.subject)
        ),
        key=lambda event: event.began,
    )
    requests = [event for event in own if event.kind == "request" and event.began <= found.began]
    return [event for event in own if event.kind != "request" or event in requests[-10:]]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a history shows.

    Attributes:
        late: accepted requests that began more than a lease after an acknowledged end of their session.
        early: requests refused before anybody began to end their session; 503 is no refusal.
        lags: for each session ended by an acknowledged end, seconds from there to the beginning of the last request
            that was accepted; 0 where none was.
    """

    late: Sequence[Event]
    early: Sequence[Event]
    lags: Sequence[float]


def judge(history: Iterable[Event], lease: float) -> Findings:
    """Compare what was accepted and refused with what had been acknowledged."""
    events = sorted(history, key=lambda event: event.began)
    logins = [event for event in events if event.kind == "login"]
    asked = {event.session: event.began for event in logins}
    created = {event.session: event.finished for event in logins}
    begun: dict[str, float] = {}  # when somebody first began to end a session
    ended: dict[str, float] = {}  # when its end was first acknowledged
    for event in events:
        if event.kind == "logout":
            names = [event.session]
        elif event.kind == "end_all":
            names = [one.session for one in logins if one.subject == event.subject]
        else:
            continue
        for name in names:
            if asked[name] < event.finished:  # a login may be in the store before it is acknowledged
                begun.setdefault(name, event.began)  # the first, since they are in order
            if event.accepted and created[name] < event.began:
                ended[name] = min(ended.get(name, event.finished), event.finished)
    late, early = [], []
    last = dict.fromkeys(ended, 0.0)
    for event in events:
        if event.kind != "request":
            continue
        if event.accepted and event.session in ended:
            lag = event.began - ended[event.session]
            last[event.session] = max(last[event.session], lag)
            if lag > lease:
                late.append(event)
        elif (
            not event.accepted
            and event.verdict != "UNAVAILABLE"
            and event.finished < begun.get(event.session, float("inf"))
        ):
            early.append(event)
    return Findings(late, early, sorted(last.values()))
