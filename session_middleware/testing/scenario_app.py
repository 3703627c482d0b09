"""The app that every scenario of `AdapterContract` runs against: its routes, and what they answer.

A mode of your own builds these routes in its framework, all under `Settings.login_url="/login"`. Query parameters are
the arguments; answers are JSON, `describe(session)` unless said otherwise.

| route | marker | does |
|---|---|---|
| GET, POST /me | none | nothing |
| GET /open | `@session_optional` | nothing |
| GET /exempt | `@session_exempt` | does not use the session; `{"exempt": true}` |
| GET /exempt-using | `@session_exempt` | uses the session (asynchronous: `await session.open()` first) |
| GET /poll | `@no_touch` | nothing |
| GET /fresh | `@fresh_login_required(within=300)` | nothing |
| GET /stale | `@session_required(on_unavailable="stale")` | nothing |
| GET /login | none | text/html, `<h1>login</h1>` |
| POST /login | `@session_optional` | `session.login(**login_arguments(query))` |
| | | its query: subject, minutes, persistent, claims, limits, provider (fields of `ProviderSession`) |
| POST /bound-login | `@session_optional(cross_site_login=True)` | the same |
| POST /step-up | none | `session.step_up([{"type": "otp"}])` |
| POST /sign-out | `@session_optional` | `session.logout()`; `{"ok": true}` |
| POST /extend?minutes= | none | `session.extend(float(minutes))`; SettingsError: 400, other SessionError: 409, `{"error": code}` |
| POST /claims?set= | none | `session.update_claims(**set)` |
| POST /data?set= | none | `session.data.update(set)` |
| POST /end-others | none | `{"ended": session.end_others()}` |
| POST /login-then-fail?subject= | `@session_optional` | logs in, then raises RuntimeError |
| POST /login-then-refuse?subject= | `@session_optional` | logs in, then raises what the framework itself answers with 403 |
| | | (`abort(403)`, `HTTPException(403)`, `PermissionDenied`); where there is no framework, anything |
| POST /login-then-error?subject= | `@session_optional` | logs in, then answers 500 with any page |
| GET /fail | none | raises RuntimeError |
| GET /headers | `@session_optional` | reads `session.verdict`; own `Vary: Accept-Encoding`, `Cache-Control: public, max-age=60` |
| GET /own-cookie | none | sets its own cookie `app=1` |
| GET /return-to | `@session_optional` | `{"to": safe_return_to(request)}` |
| anything else | | 404 by the framework |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from session_middleware.core.lifetime import Verdict
from session_middleware.core.provider import ProviderSession
from session_middleware.session import AsyncSession, Session
from session_middleware.settings import Limits

__all__ = ["describe", "login_arguments"]


def describe(session: Session | AsyncSession) -> dict[str, Any]:  # Any: JSON
    """Return what a view can see of its session, as JSON that the scenarios compare; times in seconds."""
    x = session._x
    # Not `session.data`: that hands out a copy to be saved, and the way without one is the one that is hot.
    data = None
    if session.verdict is Verdict.ACTIVE and x.record is not None:
        data = dict(x.record.data if x.data is None else x.data)
    at, silence, age = session.authenticated_at, session.inactivity_deadline, session.absolute_deadline
    return {
        "subject": session.subject,
        "verdict": session.verdict.name,
        "is_active": session.is_active,
        "is_verified": session.is_verified,
        "claims": dict(session.claims),
        "data": data,
        "id": session.id,
        "authenticated_at": at.timestamp() if at else None,
        "inactivity_deadline": silence.timestamp() if silence else None,
        "absolute_deadline": age.timestamp() if age else None,
        "fresh": session.is_fresh(300),
    }


def login_arguments(query: Mapping[str, str]) -> dict[str, Any]:  # Any: keyword arguments of login()
    """Read the arguments of `session.login` from query parameters: those named above; claims, limits, provider as JSON."""
    arguments: dict[str, Any] = {"subject": query["subject"]}
    if "minutes" in query:
        arguments["minutes"] = float(query["minutes"])
    if "persistent" in query:
        arguments["persistent"] = query["persistent"] == "1"
    if "claims" in query:
        arguments["claims"] = json.loads(query["claims"])
    if "limits" in query:
        arguments["limits"] = Limits(*json.loads(query["limits"]))
    if "provider" in query:
        arguments["provider"] = ProviderSession(**json.loads(query["provider"]))
    return arguments
