"""Every endpoint: what guards it, what it needs to know, and who answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from session_middleware import provider_routes
from session_middleware.authorities.routes import Endpoint
from session_middleware.core.exchange import Exchange, RequestFacts, RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_cross_site, may_change_state
from session_middleware.core.refusal import Reply
from session_middleware.core.replies import (
    problem,
    wrong_method,
)
from session_middleware.core.tokens import derive
from session_middleware.endpoints.call import Call, ReadBody
from session_middleware.endpoints.mine import Mine
from session_middleware.endpoints.state import State
from session_middleware.engine import Engine
from session_middleware.errors import SettingsError, StoreUnavailable

__all__ = ["ROUTES", "Endpoints"]


@dataclass(frozen=True, slots=True)
class Route:
    """What holds for one endpoint and method.

    Attributes:
        answer: the method of `Endpoints` that answers.
        guard: "same_origin" where state changes, "cross_site" where only what another site asks is refused (L20).
        needs: "nothing" does not look at the session; "look" takes any verdict; "known" answers 503 where none can be
            reached (L17); "active" moreover refuses whoever is not signed in (L15).
        cookies: whether the answer may set cookies (L9).
    """

    answer: Callable[[Endpoints, Call], Awaitable[Reply]]
    guard: Literal["none", "cross_site", "same_origin"]
    needs: Literal["nothing", "look", "known", "active"]
    cookies: bool = False
    rules: RouteRules = field(init=False)

    def __post_init__(self) -> None:
        rules = RouteRules(policy="optional", touch=False, on_unavailable="refuse", sets_cookies=self.cookies)
        object.__setattr__(self, "rules", rules)


class Endpoints(State, Mine):
    """Answers requests below `endpoint_prefix`.

    The adapter asks `owns`, hands the exchange to `answer`, then calls `engine.close` and adds what that returns.

    Attributes:
        prefix: what the path of each of our endpoints begins with, its last slash included.
    """

    __slots__ = ("_routes",)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.prefix = engine.settings.endpoint_prefix + "/"
        self._routes = _with(engine.provider_routes, type(engine.authority).__name__)
        keys = engine.settings.secret_keys
        self._user_keys = [derive(k if isinstance(k, bytes) else k.encode(), "user of a page") for k in keys]

    def owns(self, path: str) -> bool:
        """Say whether a path, decoded and below the mount, is for us to answer."""
        return path.startswith(self.prefix)

    async def answer(self, x: Exchange, read_body: ReadBody) -> Reply:
        """Answer a request whose path we own; it opens the exchange and leaves closing it to the adapter."""
        facts = x.facts
        name, id = _named(facts.path[len(self.prefix) :])
        methods = self._routes.get(name)
        if methods is None or facts.websocket:
            return problem(facts, 404, "not_found", "There is nothing at this address.")
        route = methods.get("GET" if facts.method == "HEAD" else facts.method)
        if route is None:
            return wrong_method(facts, methods)
        if route.guard == "none":
            return await self._answer(route, Call(x, read_body, id))
        if not self._may_come(facts, route):
            self.engine.tell("csrf_blocked", x, endpoint=name, origin=(facts.header("origin") or "")[:200])
            reply = problem(facts, 403, "csrf", "This request was made by another site.")
        else:
            reply = await self._answer(route, Call(x, read_body, id))
        return reply.with_headers((("Vary", "Sec-Fetch-Site, Origin"),))

    def _may_come(self, facts: RequestFacts, route: Route) -> bool:
        if route.guard == "same_origin":
            return may_change_state(facts, self.engine.settings)
        return not is_cross_site(facts, self.engine.settings)

    async def _answer(self, route: Route, call: Call) -> Reply:
        x, engine = call.x, self.engine
        try:
            if route.needs != "nothing":
                await engine.open(x, route.rules)
                await engine.authenticate(x)  # not done yet where exempt_paths covers our prefix
            if x.verdict is Verdict.UNAVAILABLE and route.needs != "look":
                return self.engine.unavailable(x)
            if route.needs == "active" and not x.is_active:
                return self._refused(x)
            return await route.answer(self, call)
        except StoreUnavailable:
            return self.engine.unavailable(x)
        except provider_routes.BodyTooLong:
            return problem(x.facts, 413, "too_large", "The request body is too large.")
        except provider_routes.NoLength:
            return problem(x.facts, 411, "length_required", "This server needs to be told the length of the body.")


def _named(rest: str) -> tuple[str, str]:
    """Return the name of an endpoint from what follows the prefix, and the id in it, "" where there is none."""
    parts = rest.split("/")
    if parts[0] == "list" and len(parts) in (2, 3) and parts[1] not in ("", "end-others"):
        return "/".join(["list", "{id}", *parts[2:]]), parts[1]
    return rest, ""


#: Every endpoint: name below the prefix -> method -> what holds. HEAD is answered as GET.
ROUTES: Final[Mapping[str, Mapping[str, Route]]] = {
    "status": {"GET": Route(Endpoints._status, "cross_site", "known")},
    "events": {"GET": Route(Endpoints._events, "cross_site", "active")},
    "continue": {"POST": Route(Endpoints._continue, "same_origin", "active", cookies=True)},
    "refresh": {"POST": Route(Endpoints._refresh, "cross_site", "active", cookies=True)},
    "jwks.json": {"GET": Route(Endpoints._jwks, "none", "nothing")},
    "client.js": {"GET": Route(Endpoints._client, "none", "nothing")},
    "logout": {
        "GET": Route(Endpoints._confirm_logout, "none", "nothing"),
        "POST": Route(Endpoints._log_out, "same_origin", "look"),
    },
    "signed-out": {"GET": Route(Endpoints._signed_out, "none", "known")},
    "list": {"GET": Route(Endpoints._list, "cross_site", "active")},
    "list/end-others": {"POST": Route(Endpoints._end_others, "same_origin", "active")},
    "list/{id}": {"DELETE": Route(Endpoints._end_one, "same_origin", "active")},
    "list/{id}/end": {"POST": Route(Endpoints._end_one, "same_origin", "active")},
}


def _with(more: Sequence[Endpoint], whose: str) -> Mapping[str, Mapping[str, Route]]:
    """Return every endpoint of ours, and those that the authority brings.

    Raises:
        SettingsError: it brings one that we have.
    """
    routes = {name: dict(methods) for name, methods in ROUTES.items()}
    for endpoint in more:
        methods = routes.setdefault(endpoint.path, {})
        if endpoint.method in methods:
            raise SettingsError(
                "authority", whose, f"brings {endpoint.method} {endpoint.path}, which is ours.", "Rename its route."
            )
        methods[endpoint.method] = Route(_handled_by(endpoint), endpoint.guard, endpoint.needs, cookies=True)
    return routes


def _handled_by(endpoint: Endpoint) -> Callable[[Endpoints, Call], Awaitable[Reply]]:
    async def answer(endpoints: Endpoints, call: Call) -> Reply:
        return await provider_routes.answer(endpoints.engine, call.x, endpoint, call.read_body)

    return answer
