"""The public listener of the Kratos stand-in: whoami, one's own sessions, and logout."""

from __future__ import annotations

import hmac
from urllib.parse import urlencode

from session_middleware.testing.stand_ins._faults import Answer
from session_middleware.testing.stand_ins._kratos_login import LoginFlows
from session_middleware.testing.stand_ins._kratos_wire import KratosCall, Problem, as_json, empty, no_session, redirect
from session_middleware.testing.stand_ins._kratos_world import KratosWorld, Row

__all__ = ["PublicListener"]


class PublicListener:
    """Answers what browsers and apps may reach."""

    def __init__(self, world: KratosWorld) -> None:
        self.world = world
        self.flows = LoginFlows(world)

    def answer(self, call: KratosCall) -> Answer:
        """Answer one request.

        Raises:
            Problem: an error in Kratos' shape.
        """
        match call.method, call.path:
            case _, "/health/alive" | "/health/ready":
                return as_json({"status": "ok"})
            case _, "/sessions/whoami":
                return self._whoami(call)
            case "GET", "/sessions":
                row = self._mine(call)
                others = (other for other in self.world.sessions_of(row.identity.id) if other is not row)
                return as_json([self.world.as_json(other) for other in others if other.is_active(self.world.now)])
            case "DELETE", "/sessions":
                return self._end_others(call)
            case "DELETE", path if path.startswith("/sessions/"):
                return self._end_other(call, path.removeprefix("/sessions/"))
            case "GET", "/self-service/logout/browser":
                return self._begin_logout(call)
            case "GET", "/self-service/logout":
                return self._finish_logout(call)
            case "DELETE", "/self-service/logout/api":
                return self._logout_by_token(call)
        return self.flows.answer(call)

    # --- sessions ------------------------------------------------------------------------------------------------

    def _whoami(self, call: KratosCall) -> Answer:
        row = self._mine(call)
        if self.world.lacks_factor(row):
            target = f"{call.base_url}/self-service/login/browser?aal=aal2"
            raise Problem(
                403,
                "The session has not passed the second factor that its identity has.",
                id="session_aal2_required",
                message="Session does not fulfill the requested Authenticator Assurance Level",
                details={"redirect_browser_to": target},
                beside={"redirect_browser_to": target},
            )
        if call.parameter("tokenize_as"):
            raise Problem(400, "There is no tokenizer template of this name.")
        headers = [("X-Kratos-Authenticated-Identity-Id", row.identity.id)]
        if call.cookie(self.world.cookie_name) is not None:
            sealed = self.world.open_cookie(call)
            if sealed is None:  # RefreshCookie fails on what it cannot read, even where a token has proven the session
                raise Problem(500, "The session cookie could not be read.")
            if sealed["expires_at"] < row.expires_at:
                headers.append(self.world.cookie_line(row))
        return as_json(self.world.as_json(row), headers=headers)

    def _mine(self, call: KratosCall) -> Row:
        row = self.world.asking(call)
        if row is None:
            raise no_session()
        return row

    def _end_others(self, call: KratosCall) -> Answer:
        row = self._mine(call)
        others = [other for other in self.world.sessions_of(row.identity.id) if other is not row and other.flag]
        for other in others:
            other.flag = False
        return as_json({"count": len(others)})

    def _end_other(self, call: KratosCall, id: str) -> Answer:
        row = self._mine(call)
        if id == row.id:
            raise Problem(400, message="cannot revoke current session")
        for other in self.world.sessions_of(row.identity.id):
            if other.id == id:
                other.flag = False
        return empty()

    # --- logout --------------------------------------------------------------------------------------------------

    def _begin_logout(self, call: KratosCall) -> Answer:
        row = self._signed_in(call)
        query = {"token": row.logout_token}
        if target := self.flows.return_to(call):
            query["return_to"] = target
        return as_json(
            {
                "logout_url": f"{call.base_url}/self-service/logout?{urlencode(query)}",
                "logout_token": row.logout_token,
            }
        )

    def _finish_logout(self, call: KratosCall) -> Answer:
        token = call.parameter("token")
        if not token:
            return self.flows.forward(call, Problem(400, "Please include a token in the URL query."))
        row = self.world.asking(call, identity_loaded=False)
        if row is None:
            return self.flows.forward(call, self.flows.no_session())
        if not hmac.compare_digest(row.logout_token.encode(), token.encode()):
            return self.flows.forward(call, Problem(403, "The logout token is not that of the session."))
        row.flag = False
        headers = [self.world.cookie_deletion()]
        if call.is_json:
            return empty(headers)
        return redirect(self.flows.return_to(call) or f"{call.base_url}/ui/welcome", headers)

    def _logout_by_token(self, call: KratosCall) -> Answer:
        token = call.fields().get("session_token", "")
        for row in self.world.rows.values():
            if token and hmac.compare_digest(row.token.encode(), token.encode()):
                row.flag = False
                return empty()
        raise Problem(403, "The session token could not be found, or is malformed.")

    def _signed_in(self, call: KratosCall) -> Row:
        row = self.world.asking(call, identity_loaded=False)
        if row is None:
            raise self.flows.no_session()
        return row
