"""What goes wrong at Kratos, by name."""

from __future__ import annotations

from session_middleware.testing.stand_ins._faults import Answer, Faults
from session_middleware.testing.stand_ins._kratos_wire import Problem, no_session

__all__ = ["KratosFaults"]

#: Part of the path of the one endpoint that calls every fault of its own a missing session.
WHOAMI = "/sessions/whoami"


class KratosFaults(Faults):
    """What goes wrong at the stand-in from now on; of several faults that meet a call, the one set last is taken.

    In each method `only` is part of the path that is met ("/admin/" meets the admin listener, "" everything), and
    `times` says how many calls, None until `clear()`.
    """

    def be_down(self, *, only: str = "", times: int | None = None) -> None:
        """Close the connection without an answer."""
        self.set(hang_up=True, only=only, times=times)

    def be_slow(self, seconds: float, *, only: str = "", times: int | None = None) -> None:
        """Do what is asked at once, and say so that many seconds later."""
        self.set(seconds=seconds, only=only, times=times)

    def limit_rate(self, reset: int = 5, *, only: str = "", times: int | None = None) -> None:
        """Answer 429 as Ory Network does, with `x-ratelimit-reset` in seconds."""
        said = (("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", str(reset)))
        self.set(Problem(429, "Too many requests.").answer(said), only=only, times=times)

    def deny_by_mistake(self, *, times: int | None = 1) -> None:
        """Let whoami say 401 to whoever asks, as it does when its database is late (ory/kratos issue 3250)."""
        self.set(no_session().answer(), only=WHOAMI, times=times)

    def lose_database(self) -> None:
        """Let whoami say 401, as for a session that ended, and everything else 500."""
        self.set(Problem(500, "The server could not complete the request.").answer())
        self.set(no_session().answer(), only=WHOAMI)

    def garble(self, body: bytes = b"<html>bad gateway</html>", *, only: str = "", times: int | None = None) -> None:
        """Answer 200 with a body that is none of Kratos'."""
        self.set(Answer(200, body, (("Content-Type", "text/html"),)), only=only, times=times)

    def fail(self, status: int = 503, *, only: str = "", times: int | None = None) -> None:
        """Answer with an error status, as a gateway in front of Kratos does."""
        self.set(Problem(status).answer(), only=only, times=times)
