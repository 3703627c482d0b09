"""Auth0StandIn: an Auth0 tenant for those who develop and test offline: sign-in, both logouts, the Sessions API.

What differs from an OpenID provider in general is as Auth0 documents it: a slash ends the issuer, every application of the
tenant gets the same `sid`, logout tokens say `typ: JWT` and have a `trace_id`, `/v2/logout` compares return URLs without their
query. Sessions end at once here; Auth0's API is eventually consistent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from session_middleware.testing.stand_ins._faults import Answer
from session_middleware.testing.stand_ins._openid_world import ProviderSession
from session_middleware.testing.stand_ins.openid import Fields, OpenIDStandIn, as_json, page

__all__ = ["Auth0StandIn"]


class Auth0StandIn(OpenIDStandIn):
    """One Auth0 tenant as a WSGI callable; serve it with `served` and give its URL to `Auth0Authority` as domain.

    Args:
        tenant_logout_urls: the tenant's list of return URLs after a logout.
        more: as of `OpenIDStandIn`.

    Attributes:
        management_clients: id and secret of machine-to-machine applications.
        revoked: what was ended through the API, by session id.

    Example:
        >>> tenant = Auth0StandIn()
        >>> tenant.add_client("shop", "a secret", ["https://shop.example/session/callback"])
        >>> tenant.management_clients["operator"] = "another secret"
    """

    logout_typ = "JWT"
    slash = "/"

    def __init__(self, *, tenant_logout_urls: Iterable[str] = (), **more: Any) -> None:
        super().__init__(**more)
        self.tenant_logout_urls = tuple(tenant_logout_urls)
        self.management_clients: dict[str, str] = {}
        self.revoked: list[str] = []
        self._bearers: set[str] = set()

    def logout_tokens(self, sid: str, **claims: Any) -> dict[str, str]:
        """End a session as an operator would; return what is told to each application that used it."""
        return super().logout_tokens(sid, **{"trace_id": uuid4().hex, **claims})

    def forget_management_tokens(self) -> None:
        """Let no token for the Management API serve any more."""
        self._bearers.clear()

    def endpoints(self) -> dict[str, str]:
        """The addresses in the discovery document, by name."""
        return {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/oauth/token",
            "jwks_uri": "/.well-known/jwks.json",
            "end_session_endpoint": "/oidc/logout",
            "revocation_endpoint": "/oauth/revoke",
        }

    def routes(self) -> dict[tuple[str, str], Callable[[Mapping[str, Any], Fields, str], Answer]]:
        """What it answers: by method and path."""
        ours = super().routes()
        return {
            **ours,
            ("POST", "/oauth/token"): ours[("POST", "/token")],
            ("POST", "/oauth/revoke"): ours[("POST", "/revoke")],
            ("GET", "/.well-known/jwks.json"): ours[("GET", "/jwks")],
            ("GET", "/oidc/logout"): ours[("GET", "/logout")],
            ("GET", "/v2/logout"): self._v2_logout,
        }

    def _v2_logout(self, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        allowed = self.tenant_logout_urls
        if "client_id" in query:
            client = self.clients.get(query["client_id"])
            allowed = client.logout_uris if client is not None else ()
        target = query.get("returnTo")
        if target is not None and target.partition("?")[0].partition("#")[0] not in allowed:
            return page("Oops!, something went wrong", "<p>The returnTo URL is not in the list.</p>", 400)
        self.forget(environ)
        target = target or (allowed[0] if "client_id" in query and allowed else None)
        return Answer(302, b"", (("Location", target),)) if target else page("OK", "")

    def authenticated(self, environ: Mapping[str, Any], form: Fields) -> str | None:
        """Return the client that a token request comes from, machine-to-machine applications included."""
        id = form.get("client_id", "")
        if form.get("grant_type") == "client_credentials":
            return id if self.management_clients.get(id) == form.get("client_secret", "") != "" else None
        return super().authenticated(environ, form)

    def granted(self, client: str, form: Fields) -> Answer:
        """Answer a grant of a client that has proved who it is."""
        if form.get("grant_type") != "client_credentials":
            return super().granted(client, form)
        if form.get("audience") != f"{self.issuer}api/v2/":
            return as_json({"error": "access_denied", "error_description": "Service not found"}, 403)
        bearer = f"management-{uuid4().hex}"
        self._bearers.add(bearer)
        return as_json({"access_token": bearer, "expires_in": 86_400, "token_type": "Bearer"})

    # --- the Sessions API --------------------------------------------------------------------------------------

    def elsewhere(self, method: str, path: str, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        """Answer the Management API."""
        parts = [unquote(part) for part in path.split("/")]
        if parts[:3] != ["", "api", "v2"]:
            return as_json({"error": "not_found"}, 404)
        if environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ") not in self._bearers:
            return _refusal(401, "Unauthorized", "Invalid token")
        match (method, *parts[3:]):
            case ("GET", "sessions", id):
                session = self.world.live(id)
                return _missing() if session is None else as_json(_described(session, self))
            case ("DELETE", "sessions", id):
                return self._ended([id], 202)
            case ("POST", "sessions", id, "revoke"):
                return self._ended([id], 202)
            case ("GET", "users", user, "sessions"):
                return self._listed(user, query)
            case ("DELETE", "users", user, "sessions"):
                return self._ended([session.sid for session in self._of(user)], 202)
        return _missing()

    def _of(self, user: str) -> list[ProviderSession]:
        sessions = [session for session in self.world.sessions.values() if session.subject == user]
        return [session for session in sessions if self.world.live(session.sid) is not None]

    def _ended(self, ids: list[str], status: int) -> Answer:
        for id in ids:
            session = self.world.end(id)
            if session is not None:
                self.revoked.append(id)
                for token in [t for t, grant in self.world.refresh_tokens.items() if grant.sid == id]:
                    del self.world.refresh_tokens[token]
        return Answer(status)

    def _listed(self, user: str, query: Fields) -> Answer:
        found, take = self._of(user), int(query.get("take", "50"))
        ids = [session.sid for session in found]
        begin = ids.index(query["from"]) + 1 if query.get("from") in ids else 0
        shown = found[begin : begin + take]
        document: dict[str, Any] = {"sessions": [_described(session, self) for session in shown]}
        if begin + take < len(found):
            document["next"] = shown[-1].sid
        return as_json(document)


def _described(session: ProviderSession, tenant: Auth0StandIn) -> dict[str, Any]:
    world = tenant.world

    def at(instant: float) -> str:
        return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return {
        "id": session.sid,
        "user_id": session.subject,
        "created_at": at(session.auth_time),
        "updated_at": at(session.seen_at),
        "authenticated_at": at(session.auth_time),
        "idle_expires_at": at(session.seen_at + world.idle),
        "expires_at": at(session.auth_time + world.lifetime),
        "last_interacted_at": at(session.seen_at),
        "device": {"initial_user_agent": "a browser", "initial_ip": "192.0.2.7", "initial_asn": "64496"},
        "clients": [{"client_id": client} for client in session.clients],
        "authentication": {"methods": [{"name": "pwd", "timestamp": at(session.auth_time)}]},
        "cookie": {"mode": "persistent"},
    }


def _refusal(status: int, error: str, message: str) -> Answer:
    return as_json({"statusCode": status, "error": error, "message": message}, status)


def _missing() -> Answer:
    return _refusal(404, "Not Found", "The session does not exist.")
