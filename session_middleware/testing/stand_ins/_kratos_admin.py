"""The admin listener of the Kratos stand-in: sessions by id and by identity."""

from __future__ import annotations

import hmac
import re

from session_middleware.testing.stand_ins._faults import Answer
from session_middleware.testing.stand_ins._kratos_wire import KratosCall, Problem, as_json, empty, no_route
from session_middleware.testing.stand_ins._kratos_world import KratosWorld

__all__ = ["AdminListener"]

SESSION = re.compile(r"/admin/sessions/([^/]+)")
EXTEND = re.compile(r"/admin/sessions/([^/]+)/extend")
SESSIONS_OF = re.compile(r"/admin/identities/([^/]+)/sessions")

#: The words that `expand` takes (session/expand.go).
EXPANDABLE = ("identity", "devices")


class AdminListener:
    """Answers `/admin/...`; see `KratosStandIn` for the arguments."""

    def __init__(self, world: KratosWorld, *, token: str | None, faster_session_extend: bool) -> None:
        self.world = world
        self._token = token
        self._faster_session_extend = faster_session_extend

    def answer(self, call: KratosCall) -> Answer:
        """Answer one request.

        Raises:
            Problem: an error in Kratos' shape.
        """
        if call.path in ("/health/alive", "/health/ready", "/admin/health/alive", "/admin/health/ready"):
            return as_json({"status": "ok"})
        if self._token is not None and not hmac.compare_digest(call.bearer.encode(), self._token.encode()):
            raise Problem(401, "Access credentials are not valid.")
        if found := EXTEND.fullmatch(call.path):
            return self._extend(call, found[1])
        if found := SESSION.fullmatch(call.path):
            return self._session(call, found[1])
        if found := SESSIONS_OF.fullmatch(call.path):
            return self._sessions_of(call, found[1])
        return no_route()

    def _extend(self, call: KratosCall, id: str) -> Answer:
        if call.method != "PATCH":
            raise Problem(405)
        self.world.extend(id)
        if self._faster_session_extend:
            return empty()
        return as_json(self.world.as_json(self.world.row(id), with_identity=False))

    def _session(self, call: KratosCall, id: str) -> Answer:
        row = self.world.row(id)
        if call.method == "DELETE":
            row.flag = False  # the row is kept
            return empty()
        if call.method != "GET":
            raise Problem(405)
        wanted = [pair.partition("=")[2] for pair in call.query.split("&") if pair.startswith("expand=")]
        if set(wanted) - set(EXPANDABLE):
            raise Problem(400, f"Could not parse expand option: {wanted}")
        # Without expand=identity Kratos does not load whether the identity is disabled, and calls the session active.
        return as_json(self.world.as_json(row, with_identity="identity" in wanted))

    def _sessions_of(self, call: KratosCall, identity: str) -> Answer:
        rows = self.world.sessions_of(identity)
        if call.method == "DELETE":
            if not rows:
                raise Problem(404, message="Unable to locate the resource")
            for row in rows:
                del self.world.rows[row.id]
            return empty()
        if call.method != "GET":
            raise Problem(405)
        wanted = call.parameter("active")
        if wanted not in ("", "true", "false"):
            raise Problem(400, "could not parse parameter active")
        shown = [row for row in rows if not wanted or row.is_active(self.world.now) is (wanted == "true")]
        return as_json([self.world.as_json(row) for row in shown])
