"""The behaviour rules L1-L27, word for word as code, tests and docs cite them; the docs table is generated from here.

Words: *inactivity_timeout* ends by silence; *absolute_lifetime* is a hard age since authentication; *touch* records
activity; *renew* gives the same session a new token; *rotate* mints a new session JWT; *extend* moves the inactivity
deadline on request; *end* terminates. `*_timeout` is silence, `*_lifetime` a hard age, `*_interval` how often we act,
`*_at` an instant. Nothing "expires" without saying by which clock.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RULES"]

RULES: Final[dict[str, str]] = {
    "L1": (
        "`now` is read once per request from the injected wall clock and handed down. Times are UTC. A deadline "
        "is reached at `now >= deadline`. Clocks of nodes may differ by `clock_skew` (30 s): a JWT `iat`/`nbf` or "
        "a stored time up to that far ahead is normal; `exp` and deadlines get no leeway; every bound below holds "
        "up to the skew. A stored time further ahead is some clock's fault, and whose cannot be told: a proof of "
        "identity is then not fresh, deadlines stand as recorded, and nobody is logged out by it."
    ),
    "L2": (
        "A record carries the limits that held at its last full authentication. Each limit in force is the "
        "smaller of the stored and the configured one: a cut applies at the next request, a raise only to "
        "sessions begun afterwards (the Auth0 rule). A cut is computed, never written back: where configured < "
        "stored, the inactivity deadline in force is `min(recorded, last_seen_at + configured + touch_interval)`, "
        "extended or not. `limits=` may be a plain function `(subject, claims) -> Limits`, called at login, at "
        "each touch and at each JWT rotation, so that a cut for one user acts within touch_interval and a cut in "
        "the settings at the next request; it does no I/O (what needs a query goes into claims at login). An "
        "authority's ceiling (`session_expiry`, provider `expires_at`) caps both, 30 s early, is taken at login "
        "and kept across refreshes; where the provider itself moves the end of its session (it was extended, by "
        "us or elsewhere), ours follows, and a ceiling that has passed ends nothing before the provider was asked."
    ),
    "L3": (
        "Absolute deadline = `authenticated_at` + absolute_lifetime. `authenticated_at` is when the user last "
        "proved who they are in full: our `login()`, or the provider's own time (`auth_time`, Kratos "
        "`authenticated_at`, Stytch `started_at` or a first factor shown again since), never the moment we adopted "
        "a provider session. Nothing else moves it: not activity, extend, renew, rotate, step-up, DBSC refresh or status."
    ),
    "L4": (
        "Activity records `last_seen_at` and, with `rolling=True`, moves the inactivity deadline as L5 says; "
        "never to an earlier instant, never past the absolute deadline. `rolling=False` (the Stytch default): "
        "only extend moves it."
    ),
    "L5": (
        "A touch is due when touch_interval has passed since `last_seen_at`, or when `min(now + "
        "inactivity_timeout, absolute deadline)` lies beyond the recorded inactivity deadline; in one write it "
        "records `last_seen_at = now` and the deadline `max(recorded, min(now + inactivity_timeout + "
        "touch_interval, absolute deadline))`. Login, continue and extend record the exact instant. Hence a "
        "session never ends earlier than inactivity_timeout after its last activity, at most one touch_interval "
        "later, and exactly on time after login, continue and extend. `touch_interval` defaults to min(60 s, "
        "inactivity_timeout / 20). What is shown (`inactivity_deadline`, status) is what is enforced. "
        "`inactivity_timeout=None` means no limit by silence. Nonsense combinations are refused at start-up."
    ),
    "L6": (
        "Activity is an ACTIVE request to a route not marked `no_touch`. It is recorded when the request opens, "
        "before the view, so that one that fails, is cancelled or streams was activity. Not activity: exempt "
        "routes, refused requests, our own endpoints (continue is L7), prefetch and prerender (`Sec-Purpose`, "
        "`Purpose`), polls that say so (`Session-Activity: none`), DBSC refreshes, OPTIONS, WebSocket pings. "
        '`activity="user"` narrows it to navigations, unsafe methods and `continue`, so that a poll nobody marked '
        "cannot keep a session alive; the browser script then reports the user."
    ),
    "L7": (
        "`session.extend(minutes)` in server code sets the inactivity deadline to exactly now + minutes "
        "(5..527040, anything else is refused; blank leaves it unchanged), capped by the absolute deadline; it "
        "may shorten, and later activity may raise it again. `POST continue` sets now + the inactivity_timeout in "
        "force, and leaves a later deadline that `login(minutes=)` or `extend` has set; a `minutes` in its body is "
        "also bound by `max_continue` (default: the inactivity_timeout in force), more is refused: neither a page "
        "nor a thief widens the policy. `login(minutes=)` sets the first deadline. An ended session cannot be "
        "extended (Stytch, Kratos)."
    ),
    "L8": (
        "Every request with a session is re-authenticated: token verified, record read (store or near cache), "
        "limits checked, then the authority's `verify` (user still active, password unchanged, provider session "
        "alive). `verify_interval` is 0 for the local authority; each remote authority documents its own default; "
        "when it last ran is process memory, not a write. A session JWT never stands in for the record except "
        "under L17."
    ),
    "L9": (
        "The session JWT (`typ: session+jwt`; iss, aud, sid, sub, iat, nbf, exp, jti, auth_time, acr, amr) lives "
        "300 s (`jwt_lifetime`) and never past the deadline in force. It is rotated on a request when less than "
        "half of `jwt_lifetime` is left and a new one would live longer, when its key or listed claims changed, "
        "when it would outlive the deadline, or when it is missing; rotation is not activity. status, list and "
        "jwks never set a cookie; `no_touch` routes rotate but do not renew. One signature per process, session "
        "and rotation: a missing cookie is answered with the one already minted. A device-bound session gets it "
        "only from its refresh endpoint; a request answered under L17 never gets one. `sub` is pairwise (a keyed "
        'hash of the subject) unless `jwt_subject="plain"` is set; custom claims enter only when listed (NIST '
        "800-63B-4 §5.1.1: no clear personal data in a cookie). The JWT alone never authenticates here: it must "
        "stand beside a good token of the same `sid`; a mismatch is TAMPERED, but where it names an id that this "
        "session had before (L12): it was on its way while another tab stepped up or logged in, and counts as "
        "missing. It is verified beside the token on each request (the verdict cached) to see whose it is and "
        "whether it is due; `verify_jwt(text)` is public for the user's other services. Symmetric keys never "
        "appear in jwks.json."
    ),
    "L10": (
        "The token is `version . id . generation . MAC`: a random 128+ bit id, a generation counter, a MAC under "
        "a server key over version, purpose, cookie name, id and generation; only the canonical encoding is "
        "accepted. Keys are a list: the first signs, all verify; a token verified by a later key is re-issued "
        "under the first on the next response. A new key is first deployed at the *end* of the list everywhere, "
        "then moved to the front (`check` and the docs say so). A forged or malformed token is refused without a "
        "store call. Two cookies of our name with different values are TAMPERED whatever their order; equal "
        "values count once. The store sees one hash of the id, people see another (`session.id`)."
    ),
    "L11": (
        "Renewal (`renewal_interval`, default 1 h, None = off) happens on a request that counts as activity, "
        "never on a WebSocket handshake or prefetch; it increments the generation by compare-and-swap; deadlines "
        "do not move. Whoever presents the previous generation receives the same successor until `renewal_grace` "
        "(30 s) after the successor was first *presented*; so a lost response logs nobody out. The first "
        "presentation is recorded once, with the touch if one is due. Previous after the grace, or older: "
        'REPLAYED; `on_replay="end"` (default) ends the session, `"refuse"` only refuses; both send a CRITICAL '
        "event. (It catches a thief who comes late, not one who polls inside every grace: the docs say so.) A "
        "generation newer than a *cached* record forces a read of the store; still newer there (a fail-over lost "
        "the renewal): only we can have signed it, so it is accepted and recorded."
    ),
    "L12": (
        "`login()` mints a new id; the session that came with the request, of whatever subject, is ended when the "
        "response with the new cookie starts, without grace. Same subject: a full re-authentication, claims and "
        "`created_at` kept, limits and `authenticated_at` new. Other subject: nothing is carried over. "
        "`step_up(factors)` mints a new id too, records the factors and freshness, and leaves both deadlines. A "
        "client-chosen id is never adopted."
    ),
    "L13": (
        'Logout cannot be undone. Touch and save are "update only if alive"; renew "only if alive and same '
        'generation"; end needs only the id; none creates a row. A response that would set a cookie of ours re-'
        "reads the record at its start and sets none if the session has ended. Held for every store, several "
        "processes, sync and async. `end` and login use the strongest durability the store has (SQLite "
        "`synchronous=FULL`, PostgreSQL `synchronous_commit=on`, Redis WAIT where there are replicas); what a "
        "store cannot promise (a Redis fail-over may lose the last writes) stands in its docstring and in the "
        "fault table."
    ),
    "L14": (
        "A record has two counters: `generation` (the token's; only renew moves it) and `revision` (moved by "
        "every write of claims or data). Those are written by compare-and-swap on `revision` with retry; a touch "
        "moves neither; a slow request that only read cannot lose another's write."
    ),
    "L15": (
        "Refusal. Navigation of any method (`Sec-Fetch-Mode: navigate`; without it GET/HEAD that accept html): "
        "303 to the login URL with `reason` and, for GET/HEAD, the path and query as return parameter, for other "
        "methods the path of a same-origin Referer. htmx: 401 + `HX-Redirect`, return parameter = path of `HX-"
        "Current-URL`. Anything else, prefetch included: 401 `application/problem+json` with reason and login "
        'URL, without return parameter, `WWW-Authenticate: Session error="..."` (RFC 9110 §15.5.2). All `no-'
        "store`. WebSocket is refused before accept. Never 307/308; a POST body is not replayed. The return "
        "parameter is called `next` where a bridged login reads `next` (Django, Flask-Login), else `return_to`; "
        "it is always a path on this host, read back by `safe_return_to()`. `refusal=` lets the app render any of "
        "these."
    ),
    "L16": (
        "Reasons are values, not exceptions: ACTIVE, ANONYMOUS, UNKNOWN, TAMPERED, INACTIVITY_TIMEOUT, "
        "LIFETIME_EXCEEDED, REVOKED, REPLAYED, UNAVAILABLE. Outside they read `inactivity`, `lifetime`, "
        "`signed_out` (UNKNOWN, TAMPERED, REVOKED and REPLAYED alike), `unavailable`; ANONYMOUS has none. "
        "`fresh_login` is the reason of `fresh_login_required`. Where both deadlines have passed the earlier one "
        "names it. The first refusal by a deadline ends the record, for good (a later raise or a clock set back "
        "does not revive it). An ended record keeps id hash, subject, times and reason, nothing else, for "
        "`ended_retention` (24 h) on every store, so that verdicts do not depend on the store; the TTL a store "
        "gets is the recorded end plus that, moved by the write that moves the deadline."
    ),
    "L17": (
        "Store or authority down (any exception of a store call counts): 503 + Retry-After on protected routes, "
        "never anonymous access, never a login redirect; a fault never deletes a cookie; public and optional "
        "routes are served with verdict UNAVAILABLE and no user. Reads work, writes fail: requests are served, "
        "touches are kept and retried, renewal waits, login answers 503. A deadline of silence that passed while "
        "this process could not reach the store is judged as if it fell one touch_interval after recovery (never "
        "past the absolute deadline): an outage logs nobody out. Logout while down: the browser's cookies are "
        "deleted, the answer is 503 and says so, the end is retried until stored. Per route a stale answer from a "
        "still valid session JWT may be allowed (`on_unavailable`): marked unverified, read-only session, never "
        "fresh, never re-minted, so bounded by `jwt_lifetime`. A provider's 401 that is not a proof of logout is "
        "not treated as one."
    ),
    "L18": (
        "Caches. A response on which the session was looked at gets `Vary: Cookie` (merged; `Authorization` too "
        "where a header was read); on a protected route also `Cache-Control: private, no-cache` unless the app "
        "set its own; one that sets a cookie gets `private, no-store` unless the app was as strict. One Set-"
        "Cookie per name. No cookie on OPTIONS, nor on an exempt route whose view did not use the session."
    ),
    "L19": (
        "Cookies: `__Host-` name, Secure, HttpOnly, SameSite=Lax, Path=/, no Max-Age. Persistent (setting, or "
        "`login(persistent=True)` with its own limits): Max-Age = seconds to the absolute deadline, at most 400 "
        "days, so a touch needs no Set-Cookie. The bound cookie of a device-bound session has Max-Age = "
        "jwt_lifetime. `cookie_name` must differ between apps on one host (ports do not separate cookies); "
        "`cookie_domain` switches to `__Secure-`; `cookie_samesite`, `cookie_partitioned` are checked at start-"
        "up. Secure is always set and the request's scheme is never consulted, except that a login over plain "
        'http off localhost is logged as "the browser will drop this cookie"; `insecure_dev=True` drops Secure '
        'and the prefix. `transport="header"` (off by default) accepts the token as `Authorization: Session ...` '
        "and never from a cookie on the same request. Over 4096 bytes is an error in `login()` and at each write "
        "of claims, before anything is stored."
    ),
    "L20": (
        "CSRF. State-changing endpoints of ours are POST or DELETE and need `Sec-Fetch-Site: same-origin`; "
        "without that header an Origin whose host equals Host (scheme not weaker) or that stands in "
        "`trusted_origins`; with neither header they are refused where a cookie authenticates "
        '(`csrf_without_headers="allow"` changes it; our test clients send the header). `same-site` and `null` '
        "are not trusted. `status`, `list` and `refresh` refuse `cross-site`. `login()` inside a cross-site "
        "unsafe request is refused unless the view is marked or an authority's bound state vouches. Back-channel, "
        "event and DBSC endpoints and header transport are exempt: they prove themselves."
    ),
    "L21": (
        "Routes: `session_exempt` (no cookie read, no store call unless the view uses the session; in async "
        "adapters it is opened by `await session.open()`), `session_required` / `session_optional`, "
        "`fresh_login_required(within=)` (freshness from authentication time), `no_touch`. `default_policy` is "
        '`"required"`; where a framework\'s own login is bridged (L23) it is `"optional"`, and `"required"` there '
        "honours Django's `login_not_required`. Open in any case: the login URL (path or route name), our "
        "endpoints, `exempt_paths`, the framework's static endpoint, and CORS preflights (OPTIONS with Origin and "
        "Access-Control-Request-Method) where no view would answer them: CORS middleware, the framework's own "
        "answer to OPTIONS, a 404 or 405; a view that takes OPTIONS itself is judged like any other, since "
        "anybody can send those two headers. `exempt_paths` are exact, or a prefix where they end in `/*`. "
        'Patterns match the decoded path below the mount (`PATH_INFO`; `scope["path"]` without `root_path`), '
        "never a URL built from Host. If the endpoint cannot be determined, the strictest rule holds. An app "
        "route under `endpoint_prefix`, an unreachable marker and a middleware outside CORSMiddleware are "
        "reported at start-up."
    ),
    "L22": (
        "Defaults satisfy NIST 800-63B-4 AAL2: inactivity 60 min, absolute 24 h. Presets aal1 (30 d, no silence "
        "limit) / aal2 / aal3 (12 h, 15 min) count touch_interval inside the figure; a setting, `limits=` answer "
        "or `max_continue` beyond a preset's SHALL is refused."
    ),
    "L23": (
        "The framework never knows more than we do. Where a login is bridged (contrib.auth, Flask-Login), "
        "`request.user` / `current_user` is authenticated on a request only if our verdict is ACTIVE, the "
        "subjects are equal, and the framework's session carries the link to this very session (stored in its "
        "data, so that key cycling does not matter). Otherwise the request sees the anonymous user, whatever "
        "`sessionid`, `session` or `remember_token` says; a remember cookie is never a login. The framework "
        "session is flushed only on a verdict proven by the record. A framework session that was never linked "
        "gets our session once: after a login signal outside our middleware (Django's `force_login` leaves a one-"
        "time mark in its data), until the date `adopt_existing_until` (installation day), and under our pytest "
        "plugin (Flask-Login's test client sends no signal); once linked it is never again accepted without its "
        "session of ours. Users from a request loader or API token are not touched."
    ),
    "L24": (
        "A provider cannot undo our end. An ended session leaves a mark by (authority, provider session id) until "
        "the provider's own expiry; such a provider session is adopted again only if its authentication time is "
        "later than the end. After LIFETIME_EXCEEDED the login URL demands a new authentication (`prompt=login` + "
        "`max_age=0` with `auth_time` checked, `refresh=true`); after INACTIVITY_TIMEOUT too unless "
        "`silent_sso=True`. If the provider names another user than the record, the record is ended and a new one "
        "begun."
    ),
    "L25": (
        "`logout`, `end` and `extend` act at once. `login` and `step_up` create the record at once; the cookie "
        "goes out and the old session ends when the response starts; if the app raises instead, no cookie is set "
        "and the new record is ended. Claims are saved when the response starts (or by `save()`). A store inside "
        "the app's own transaction applies `end` after it, outside it."
    ),
    "L26": (
        "Cookies are deleted only by logout: a late refusal must not wipe a login made meanwhile, and a dead "
        "cookie does no harm. The framework's own session data (Flask `session`, Starlette `request.session`, "
        "Django flush) is cleared at logout, at a proven end, and when another subject logs in. `Clear-Site-Data` "
        "is an option, default off (its `cookies` reaches the whole registrable domain)."
    ),
    "L27": (
        "There are no anonymous sessions: nothing is stored and no cookie set before login; writing claims or "
        "data on an anonymous session is an error that says so."
    ),
}
