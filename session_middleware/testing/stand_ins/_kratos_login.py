"""Login flows of the Kratos stand-in: first and second factor, refresh, browser and API, with a page to fill in."""

from __future__ import annotations

import hmac
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from session_middleware.testing.stand_ins import _kratos_page as page
from session_middleware.testing.stand_ins._faults import Answer
from session_middleware.testing.stand_ins._kratos_wire import KratosCall, Problem, as_json, moment, no_route, redirect
from session_middleware.testing.stand_ins._kratos_world import Identity, KratosWorld, Row

__all__ = ["LoginFlows"]

#: Seconds in which a flow must be finished (`selfservice.flows.login.lifespan`).
FLOW_LIFESPAN = 3600.0

#: The cookie that a browser flow is bound to.
CSRF_COOKIE = "csrf_token_stand_in"


@dataclass(slots=True)
class Flow:
    """One attempt to sign in."""

    id: str
    kind: str  # "browser" or "api"
    refresh: bool
    aal: str
    issued_at: float
    request_url: str
    return_to: str
    csrf_token: str = field(repr=False)
    messages: list[dict[str, Any]] = field(default_factory=list)


class LoginFlows:
    """Begins flows, shows them and takes what the user filled in."""

    def __init__(self, world: KratosWorld) -> None:
        self.world = world
        self._flows: dict[str, Flow] = {}
        self._errors: dict[str, dict[str, Any]] = {}

    def answer(self, call: KratosCall) -> Answer:
        """Answer one request about flows, or for a page of the stand-in's own.

        Raises:
            Problem: an error in Kratos' shape.
        """
        match call.method, call.path:
            case "GET", "/self-service/login/browser":
                return self._begin_browser(call)
            case "GET", "/self-service/login/api":
                return as_json(self._flow_json(self._begin(call, "api"), call))
            case "GET", "/self-service/login/flows":
                return self._show(call)
            case "POST", "/self-service/login":
                return self._submit(call)
            case "GET", "/self-service/errors":
                if call.parameter("id") not in self._errors:
                    raise Problem(404)
                problem = self._errors[call.parameter("id")]
                return as_json({"id": call.parameter("id"), "error": problem["error"]})
            case "GET", "/ui/login":
                flow = self._flows.get(call.parameter("flow"))
                return page.login(None if flow is None else self._flow_json(flow, call))
            case "GET", "/ui/error":
                return page.error(self._errors.get(call.parameter("id")))
            case "GET", "/ui/welcome":
                return page.welcome()
        return no_route()

    # --- beginning -----------------------------------------------------------------------------------------------

    def _begin_browser(self, call: KratosCall) -> Answer:
        try:
            flow = self._begin(call, "browser")
        except Problem as problem:
            if problem.id == "session_already_available" and not call.is_json:
                return redirect(self.return_to(call) or f"{call.base_url}/ui/welcome")
            return self.forward(call, problem)
        cookies = []
        if call.cookie(CSRF_COOKIE) != flow.csrf_token:
            cookies = [self._csrf_line(flow.csrf_token)]
        if call.is_json:
            return as_json(self._flow_json(flow, call), headers=cookies)
        return redirect(f"{call.base_url}/ui/login?flow={flow.id}", cookies)

    def _begin(self, call: KratosCall, kind: str) -> Flow:
        return_to = self.return_to(call)
        aal = call.parameter("aal").lower() or "aal1"
        if aal not in ("aal1", "aal2"):
            raise Problem(400, f"Unable to parse AuthenticationMethod Assurance Level (AAL): {aal}")
        refresh = call.parameter("refresh").lower() in ("1", "t", "true")
        row = self.world.asking(call)
        if row is None:
            if aal == "aal2":
                raise _first_factor_first()
            refresh = False  # silently: there is nothing to refresh
        elif not refresh and aal <= row.aal:
            raise _signed_in_already()
        flow = Flow(
            id=str(uuid.uuid4()),
            kind=kind,
            refresh=refresh,
            aal=aal,
            issued_at=self.world.now,
            request_url=f"{call.base_url}{call.path}?{call.query}".rstrip("?"),
            return_to=return_to,
            csrf_token=(call.cookie(CSRF_COOKIE) or secrets.token_urlsafe(24)) if kind == "browser" else "",
        )
        self._flows[flow.id] = flow
        return flow

    def return_to(self, call: KratosCall, given: str | None = None) -> str:
        """Return the `return_to` of a request as an absolute URL, "" without one.

        Raises:
            Problem: it is not among `allowed_return_urls`.
        """
        wanted = call.parameter("return_to") if given is None else given
        if not wanted:
            return ""
        own = urlsplit(call.base_url)
        url = urlsplit(wanted)
        url = url._replace(scheme=url.scheme or own.scheme, netloc=url.netloc or own.netloc)
        for text in (*self.world.allowed_return_urls, call.base_url):
            allowed = urlsplit(text)
            host, allowed_host = url.netloc.lower(), allowed.netloc.lower()
            fits = host.endswith(allowed_host[1:]) if allowed_host.startswith("*") else host == allowed_host
            if fits and url.scheme == allowed.scheme and (url.path or "/").startswith(allowed.path or "/"):
                return url.geturl()
        raise Problem(
            400, f"Requested return_to URL {url.geturl()!r} is not allowed.", id="self_service_flow_return_to_forbidden"
        )

    # --- showing -------------------------------------------------------------------------------------------------

    def _show(self, call: KratosCall) -> Answer:
        flow = self._flow(call.parameter("id"))
        if flow.kind == "browser" and call.cookie(CSRF_COOKIE) != flow.csrf_token:
            raise _csrf_violation()
        return as_json(self._flow_json(flow, call))

    def _flow(self, id: str) -> Flow:
        flow = self._flows.get(id)
        if flow is None:
            raise Problem(404, message="Unable to locate the resource")
        if self.world.now >= flow.issued_at + FLOW_LIFESPAN:
            raise Problem(410, "The login flow expired.", id="self_service_flow_expired")
        return flow

    def _flow_json(self, flow: Flow, call: KratosCall) -> dict[str, Any]:
        row = self.world.asking(call) if flow.refresh else None
        return {
            "id": flow.id,
            "type": flow.kind,
            "expires_at": moment(flow.issued_at + FLOW_LIFESPAN),
            "issued_at": moment(flow.issued_at),
            "request_url": flow.request_url,
            "return_to": flow.return_to,
            "refresh": flow.refresh,
            "requested_aal": flow.aal,
            "state": "choose_method",
            "ui": {
                "action": f"{call.base_url}/self-service/login?flow={flow.id}",
                "method": "POST",
                "messages": flow.messages,
                "nodes": page.nodes(flow.aal, flow.csrf_token, "" if row is None else row.identity.identifier),
            },
        }

    # --- finishing -----------------------------------------------------------------------------------------------

    def _submit(self, call: KratosCall) -> Answer:
        try:
            flow = self._flow(call.parameter("flow"))
            row = self.world.asking(call)
            if row is None and flow.aal == "aal2":
                raise _first_factor_first()
            if row is not None and not flow.refresh and flow.aal <= row.aal:
                raise _signed_in_already()
            given = call.fields()
            if flow.kind == "browser" and not _same(given.get("csrf_token"), call.cookie(CSRF_COOKIE), flow.csrf_token):
                raise _csrf_violation()
        except Problem as problem:
            if problem.id == "session_already_available" and not call.is_json:
                return redirect(f"{call.base_url}/ui/welcome")
            return self.forward(call, problem)
        method = "totp" if flow.aal == "aal2" else "password"
        identity = self._proven(given, method, row)
        if identity is None:
            said = "The provided credentials are invalid."
            flow.messages[:] = [{"id": 4000006, "text": said, "type": "error"}]
            if flow.kind == "browser" and not call.is_json:
                return redirect(f"{call.base_url}/ui/login?flow={flow.id}")
            return as_json(self._flow_json(flow, call), 400)
        if not identity.active:
            return self.forward(call, Problem(401, "This account was disabled.", id="identity_disabled"))
        del self._flows[flow.id]
        return self._finish(call, flow, row, identity, method)

    def _proven(self, given: dict[str, str], method: str, row: Row | None) -> Identity | None:
        if given.get("method") != method:
            return None
        if method == "totp":
            return row.identity if row is not None and _same(given.get("totp_code"), row.identity.totp_code) else None
        for identity in self.world.identities.values():
            if identity.identifier == given.get("identifier"):
                return identity if _same(given.get("password"), identity.password) else None
        return None

    def _finish(self, call: KratosCall, flow: Flow, row: Row | None, identity: Identity, method: str) -> Answer:
        same = row is not None and row.identity is identity
        if row is None or not same:  # somebody else: a new session, and the old one is left as it is
            row = self.world.new_row(identity, call.headers.get("user-agent", ""))
        self.world.pass_factor(row, method, flow.aal)
        lacking = self.world.lacks_factor(row)
        session = self.world.as_json(row, with_identity=not lacking)
        if flow.kind == "api":
            return as_json({"session": session, "session_token": row.token})
        cookies = [self.world.cookie_line(row)]
        if not same:
            cookies.append(self._csrf_line(secrets.token_urlsafe(24)))
        target = flow.return_to or f"{call.base_url}/ui/welcome"
        if lacking:
            query = {"aal": "aal2", **({"return_to": flow.return_to} if flow.return_to else {})}
            target = f"{call.base_url}/self-service/login/browser?{urlencode(query)}"
        if not call.is_json:
            return redirect(target, cookies)
        if lacking:
            problem = Problem(
                422,
                "The browser has to go on elsewhere.",
                id="browser_location_change_required",
                message="browser location change required",
                beside={"redirect_browser_to": target},
            )
            return problem.answer(cookies)
        onwards = [{"action": "redirect_browser_to", "redirect_browser_to": target}]
        return as_json({"session": session, "continue_with": onwards}, headers=cookies)

    # --- errors --------------------------------------------------------------------------------------------------

    def forward(self, call: KratosCall, problem: Problem) -> Answer:
        """Answer an error: as JSON to programs, by the error page to browsers (selfservice/errorx)."""
        if call.is_json or call.path == "/self-service/login/api":
            return problem.answer()
        id = str(uuid.uuid4())
        self._errors[id] = problem.body()
        return redirect(f"{call.base_url}/ui/error?id={id}")

    def no_session(self) -> Problem:
        """Return what the self-service endpoints say without a session; other than whoami's 401 it has an id."""
        return Problem(401, "No active session was found in this request.", id="session_inactive")

    def _csrf_line(self, token: str) -> tuple[str, str]:
        return "Set-Cookie", f"{CSRF_COOKIE}={token}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"


def _same(given: str | None, *expected: str | None) -> bool:
    return all(
        given is not None and text is not None and hmac.compare_digest(given.encode(), text.encode())
        for text in expected
    )


def _first_factor_first() -> Problem:
    return Problem(401, "A higher assurance level needs a session.", id="session_aal1_required")


def _signed_in_already() -> Problem:
    reason = "A valid session was found: set `?refresh=true` to sign in again."
    return Problem(400, reason, id="session_already_available", message="you are already logged in")


def _csrf_violation() -> Problem:
    return Problem(403, "The csrf_token is not that of the cookie.", id="security_csrf_violation")
