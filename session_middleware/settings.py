"""Settings: every option, its unit, its default and its check, in one frozen object for all frameworks."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, Literal

from session_middleware.errors import SettingsError

__all__ = ["AAL3_OVERALL", "EXTEND_MAX_MINUTES", "EXTEND_MIN_MINUTES", "Limits", "Settings", "Timing", "seconds"]

Duration = timedelta | float | int
Policy = Literal["required", "optional"]

#: Bounds of `session.extend(minutes)` (L7; the range Stytch documents for `session_duration_minutes`).
EXTEND_MIN_MINUTES, EXTEND_MAX_MINUTES = 5, 527_040

#: Browsers cap cookie lifetimes at 400 days (RFC 6265bis §5.5).
COOKIE_MAX_AGE = 400 * 86_400

#: NIST SP 800-63B-4 §2.1.3, §2.2.3, §2.3.3: (overall, silence) in seconds; touch_interval is counted inside (L22).
_AAL: dict[str, tuple[float, float | None]] = {
    "aal1": (30 * 86_400.0, None),
    "aal2": (86_400.0, 3_600.0),
    "aal3": (12 * 3_600.0, 900.0),
}
#: The one figure of the table above that is a SHALL, so that more is refused and not only warned about.
AAL3_OVERALL = 12 * 3_600.0

_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
_PATH_HOSTILE = re.compile(r"[\x00-\x20\x7f\\]")


def seconds(name: str, value: object, *, least: float = 0.0, most: float = math.inf) -> float:
    """Read a duration given as `timedelta` or as seconds.

    Args:
        name: the setting, for the message.
        value: a `timedelta` or a number of seconds.
        least: the smallest value allowed, in seconds.
        most: the largest value allowed, in seconds.

    Returns:
        Seconds as a float.

    Raises:
        SettingsError: it is no duration, not finite, or out of range.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        raise SettingsError(name, value, "is not a duration.", "Give a timedelta or a number of seconds.")
    if not math.isfinite(number) or number < least or number > most:
        limit = f"between {least:g} and {most:g}" if most != math.inf else f"of at least {least:g}"
        raise SettingsError(name, value, "is out of range.", f"Give a finite number of seconds {limit}.")
    return number


#: Where people sign in unless told otherwise; an authority with a login route of its own replaces it.
DEFAULT_LOGIN_URL = "/login"


@dataclass(frozen=True, slots=True)
class Limits:
    """The two clocks of a session (L2).

    Args:
        inactivity_timeout: seconds or `timedelta` of silence that end the session; None means no limit by silence.
        absolute_lifetime: seconds or `timedelta` since authentication after which it ends in any case.

    Raises:
        SettingsError: a value is no positive duration.
    """

    inactivity_timeout: float | None
    absolute_lifetime: float

    def __init__(self, inactivity_timeout: Duration | None, absolute_lifetime: Duration) -> None:
        silence = None if inactivity_timeout is None else seconds("inactivity_timeout", inactivity_timeout, least=1.0)
        object.__setattr__(self, "inactivity_timeout", silence)
        object.__setattr__(self, "absolute_lifetime", seconds("absolute_lifetime", absolute_lifetime, least=1.0))

    def capped(self, other: Limits) -> Limits:
        """Return the smaller of each limit (L2)."""
        mine, theirs = self.inactivity_timeout, other.inactivity_timeout
        silence = mine if theirs is None else theirs if mine is None else min(mine, theirs)
        if silence == mine and self.absolute_lifetime <= other.absolute_lifetime:
            return self
        return Limits(silence, min(self.absolute_lifetime, other.absolute_lifetime))


@dataclass(frozen=True, slots=True)
class Timing:
    """The checked durations in float seconds, as the core takes them; made by Settings."""

    touch_interval: float
    rolling: bool
    renewal_interval: float | None
    renewal_grace: float
    jwt_lifetime: float
    ended_retention: float
    max_continue: float | None
    clock_skew: float
    retry_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Every option of the package. Durations are `timedelta` or seconds and are kept as float seconds.

    Example:
        >>> settings = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"], inactivity_timeout=900)
        >>> settings.touch_interval
        45.0

    Raises:
        SettingsError: a value, or two values together, make no sense; the message names field, value and fix.
    """

    # Keys. The first signs, all verify (L10). Empty: the framework's own secret, where there is one.
    secret_keys: Sequence[str | bytes] = field(default=(), repr=False)

    # The two clocks and how often we act (L2-L5, L7, L22). `aal` fills in what is not given.
    aal: Literal["aal1", "aal2", "aal3"] | None = None
    inactivity_timeout: Duration | Literal["default"] | None = "default"
    absolute_lifetime: Duration | None = None
    touch_interval: Duration | None = None
    rolling: bool = True
    max_continue: Duration | None = None
    limits: Callable[[str, Mapping[str, Any]], Limits] | None = None  # Any: claims are the app's own JSON values
    persistent: bool = False
    persistent_limits: Limits | None = None
    max_sessions: int | None = None
    on_max_sessions: Literal["evict", "refuse"] = "evict"
    clock_skew: Duration = 30
    ended_retention: Duration = 86_400

    # Renewal of the token (L11).
    renewal_interval: Duration | None = 3_600
    renewal_grace: Duration = 30
    on_replay: Literal["end", "refuse"] = "end"

    # The session JWT (L9).
    jwt_lifetime: Duration = 300
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_keys: Sequence[Any] = field(default=(), repr=False)  # Any: JwtKey; settings import nothing of ours
    jwt_subject: Literal["pairwise", "plain"] = "pairwise"
    jwt_subject_key: str | bytes | None = field(default=None, repr=False)
    jwt_claims: Sequence[str] = ()

    # What counts as activity (L6).
    activity: Literal["request", "user"] = "request"
    socket_activity: Literal["app", "message"] = "app"

    # Who may come in (L21), and where the others are sent (L15).
    default_policy: Policy | None = None
    exempt_paths: Sequence[str] = ()
    login_url: str | Callable[[Any], str] = DEFAULT_LOGIN_URL  # Any: core.exchange.RequestFacts
    return_param: str | None = None
    refusal: Callable[[Any, Any], Any] | None = None  # (RequestFacts, Refusal) -> Reply | None
    endpoint_prefix: str = "/session"
    sse: bool = False
    logout_urls: Sequence[str] = ("/",)
    logout_urls_by_client: Mapping[str, Sequence[str]] = field(default_factory=dict)

    # Cookies (L19) and where a credential may come from.
    cookie_name: str = "session"
    cookie_domain: str | None = None
    cookie_samesite: Literal["Lax", "Strict", "None"] = "Lax"
    cookie_partitioned: bool = False
    insecure_dev: bool = False
    transport: Literal["cookie", "header"] = "cookie"
    clear_site_data: Sequence[str] = ()

    # Cross-site requests (L20) and addresses.
    trusted_origins: Sequence[str] = ()
    csrf_without_headers: Literal["refuse", "allow"] = "refuse"
    client_address: Callable[[Any], str | None] | None = None  # Any: core.exchange.RequestFacts

    # Faults (L17) and the authority (L8).
    on_unavailable: Literal["refuse", "stale"] = "refuse"
    retry_after: Duration = 5
    verify_interval: Duration | None = None
    silent_sso: bool = False

    # Existing logins (L23): an ISO date (YYYY-MM-DD) until which an unlinked framework session is adopted once.
    adopt_existing_until: str | None = None

    #: The durations above as float seconds, and the configured limits where no `limits=` function is given.
    timing: Timing = field(init=False, repr=False, compare=False)
    default_limits: Limits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, prefix: str = "SESSION_LIFETIME_", **given: Any) -> Settings:
        """Read settings from prefixed keys of a mapping: Flask config, the environment, a Django dict.

        Args:
            mapping: where to look; keys are the setting's name in capitals behind the prefix. Text values are
                read as JSON where the setting is not text (`"900"`, `"true"`, `'["a", "b"]'`); durations are seconds.
            prefix: what stands before the name; `""` reads plain lower-case names.
            given: settings that win over the mapping.

        Returns:
            The settings.

        Raises:
            SettingsError: a prefixed key names no setting, or its value makes no sense.
        """
        names = {f.name for f in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in mapping.items():
            if not isinstance(key, str) or not key.startswith(prefix):
                continue
            name = key[len(prefix) :].lower()
            if name not in names:
                raise _unknown(key, name, names, prefix)
            values[name] = _from_text(name, value)
        for name in given:
            if name not in names:
                raise _unknown(name, name, names, "")
        return cls(**{**values, **given})

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with some settings changed; derived values that were filled in stay as they are."""
        return replace(self, **changes)

    @property
    def max_age_limits(self) -> Limits:
        """The configured limits of a persistent login."""
        return self.persistent_limits or self.default_limits

    @property
    def token_cookie(self) -> str:
        """The full name of the session cookie (L19)."""
        return self._prefix + self.cookie_name

    @property
    def jwt_cookie(self) -> str:
        """The full name of the session JWT's cookie (L19)."""
        return self._prefix + self.cookie_name + "_jwt"

    @property
    def _prefix(self) -> str:
        if self.insecure_dev:
            return ""
        return "__Secure-" if self.cookie_domain else "__Host-"


_TEXT = {
    "aal",
    "on_max_sessions",
    "on_replay",
    "jwt_issuer",
    "jwt_audience",
    "jwt_subject",
    "jwt_subject_key",
    "activity",
    "socket_activity",
    "default_policy",
    "login_url",
    "return_param",
    "endpoint_prefix",
    "cookie_name",
    "cookie_domain",
    "cookie_samesite",
    "transport",
    "csrf_without_headers",
    "on_unavailable",
    "adopt_existing_until",
}


def _from_text(name: str, value: Any) -> Any:
    if not isinstance(value, str) or name in _TEXT:
        return value
    if name == "secret_keys" and not value.lstrip().startswith("["):
        return [value]
    if name == "inactivity_timeout" and value == "default":
        return value
    try:
        return json.loads(value)
    except ValueError:
        shown = "***" if name in ("secret_keys", "jwt_keys") else value
        raise SettingsError(
            name, shown, "is not readable.", 'Write it as JSON, for example 900, true or ["a"].'
        ) from None


def _unknown(key: str, name: str, names: set[str], prefix: str) -> SettingsError:
    near = difflib.get_close_matches(name, names, n=1)
    hint = (
        f"Did you mean {prefix + (near[0].upper() if prefix.isupper() else near[0])}?"
        if near
        else "See the settings page for the names."
    )
    return SettingsError(key, "...", "is not a setting.", hint)


def _choice(settings: Settings, name: str, *allowed: object) -> None:
    value = getattr(settings, name)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Give one of {', '.join(map(repr, allowed))}."
        raise SettingsError(name, value, "is not known.", hint)


def _check(settings: Settings) -> None:
    """Check every value, fill in what depends on others, and freeze sequences."""

    def put(name: str, value: object) -> None:
        object.__setattr__(settings, name, value)

    _check_keys(settings, put)
    _check_clocks(settings, put)
    _check_choices(settings, put)
    _check_number(settings)
    _check_paths(settings, put)
    _check_cookies(settings, put)


def _check_number(settings: Settings) -> None:
    most = settings.max_sessions
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise SettingsError(
            "max_sessions", most, "is no number of sessions.", "Give a whole number from 1 up, or None for no limit."
        )


def _check_keys(settings: Settings, put: Callable[[str, object], None]) -> None:
    keys = settings.secret_keys
    if isinstance(keys, (str, bytes)):
        raise SettingsError("secret_keys", "***", "is one key, not a list.", "Write secret_keys=[key].")
    checked = [_checked_key("secret_keys", f"key {position}", key) for position, key in enumerate(keys)]
    if len(set(checked)) != len(checked):
        raise SettingsError(
            "secret_keys", "***", "names the same key twice.", "List each key once, the signing key first."
        )
    put("secret_keys", tuple(checked))
    put("jwt_keys", tuple(settings.jwt_keys))
    if settings.jwt_subject_key is not None:
        if settings.jwt_subject == "plain":
            raise SettingsError(
                "jwt_subject_key", "***", 'makes nothing where jwt_subject is "plain".', "Leave one of the two out."
            )
        put("jwt_subject_key", _checked_key("jwt_subject_key", "key", settings.jwt_subject_key))


def _checked_key(name: str, which: str, key: object) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise SettingsError(name, type(key).__name__, "is not text or bytes.", "Give str or bytes keys.")
    raw = key.encode() if isinstance(key, str) else bytes(key)
    if len(raw) < 32 or len(set(raw)) < 8:
        raise SettingsError(
            name,
            f"<{which}, {len(raw)} bytes>",
            "is too short or too uniform for HMAC-SHA-256 (RFC 2104 §3; 32 bytes with at least 8 different ones).",
            'Make one with: python -c "import secrets; print(secrets.token_urlsafe(48))"',
        )
    return raw


def _check_clocks(settings: Settings, put: Callable[[str, object], None]) -> None:
    _choice(settings, "aal", None, "aal1", "aal2", "aal3")
    _choice(settings, "rolling", True, False)
    overall, silence = _AAL[settings.aal or "aal2"]

    given_silence = settings.inactivity_timeout
    if given_silence == "default":
        timeout = silence
    elif given_silence is None:
        timeout = None
    else:
        timeout = seconds("inactivity_timeout", given_silence, least=1.0)

    usual_touch = 60.0 if timeout is None else min(60.0, timeout / 20)
    interval = settings.touch_interval
    touch = usual_touch if interval is None else seconds("touch_interval", interval)
    if timeout is not None and touch >= timeout:
        raise SettingsError(
            "touch_interval",
            interval,
            f"is not shorter than inactivity_timeout ({timeout:g} s), so silence could not be told from activity.",
            f"Give at most {timeout / 2:g}, or leave it out for {usual_touch:g}.",
        )
    if settings.aal is not None and given_silence == "default" and timeout is not None:
        timeout -= touch  # L22: the preset's figure is what is promised, so the touch interval counts inside it

    given_age = settings.absolute_lifetime
    absolute = overall if given_age is None else seconds("absolute_lifetime", given_age, least=1.0)
    if timeout is not None and timeout > absolute:
        if given_silence != "default":
            raise SettingsError(
                "inactivity_timeout",
                timeout,
                f"is longer than absolute_lifetime ({absolute:g} s) and could never be reached.",
                "Shorten it, or give None for no limit by silence.",
            )
        timeout = absolute  # the default silence under a short absolute lifetime
    persistent = settings.persistent_limits
    if persistent is not None and not isinstance(persistent, Limits):
        raise SettingsError("persistent_limits", persistent, "is not Limits.", "Give Limits(...).")
    ages = [("absolute_lifetime", absolute)]
    if persistent is not None:
        ages.append(("persistent_limits", persistent.absolute_lifetime))
    for name, age in ages:
        if settings.aal == "aal3" and age > AAL3_OVERALL:
            raise SettingsError(
                name, age, "is beyond what aal3 allows (NIST SP 800-63B-4 §2.3.3: 12 hours).", "Give at most 43200."
            )

    grace = seconds("renewal_grace", settings.renewal_grace, least=1.0)
    renewal = settings.renewal_interval
    if renewal is not None:
        renewal = seconds("renewal_interval", renewal, least=1.0)
        if renewal <= grace:
            raise SettingsError(
                "renewal_interval",
                renewal,
                f"is not longer than renewal_grace ({grace:g} s).",
                "Give at least twice the grace, or None to turn renewal off.",
            )
    most = settings.max_continue
    if most is not None:
        most = seconds("max_continue", most, least=EXTEND_MIN_MINUTES * 60.0)
        if most > absolute:
            raise SettingsError(
                "max_continue", most, f"is longer than absolute_lifetime ({absolute:g} s).", "Give at most that."
            )
    if settings.verify_interval is not None:
        put("verify_interval", seconds("verify_interval", settings.verify_interval))
    if settings.limits is not None and not callable(settings.limits):
        raise SettingsError("limits", settings.limits, "is not a function.", "Give (subject, claims) -> Limits.")

    timing = Timing(
        touch_interval=touch,
        rolling=settings.rolling,
        renewal_interval=renewal,
        renewal_grace=grace,
        jwt_lifetime=seconds("jwt_lifetime", settings.jwt_lifetime, least=10.0, most=3_600.0),
        ended_retention=seconds("ended_retention", settings.ended_retention, least=60.0),
        max_continue=most,
        clock_skew=seconds("clock_skew", settings.clock_skew, most=300.0),
        retry_after=seconds("retry_after", settings.retry_after, least=1.0),
    )
    put("inactivity_timeout", timeout)
    put("absolute_lifetime", absolute)
    put("default_limits", Limits(timeout, absolute))
    put("timing", timing)
    for each in fields(timing):
        put(each.name, getattr(timing, each.name))


def _check_choices(settings: Settings, put: Callable[[str, object], None]) -> None:
    _choice(settings, "on_replay", "end", "refuse")
    _choice(settings, "on_max_sessions", "evict", "refuse")
    _choice(settings, "jwt_subject", "pairwise", "plain")
    _choice(settings, "activity", "request", "user")
    _choice(settings, "socket_activity", "app", "message")
    _choice(settings, "default_policy", None, "required", "optional")
    _choice(settings, "csrf_without_headers", "refuse", "allow")
    _choice(settings, "transport", "cookie", "header")
    _choice(settings, "on_unavailable", "refuse", "stale")
    for name in ("persistent", "cookie_partitioned", "insecure_dev", "sse"):
        _choice(settings, name, True, False)
    put("jwt_claims", tuple(settings.jwt_claims))
    reserved = {"iss", "aud", "sid", "sub", "iat", "nbf", "exp", "jti", "auth_time", "acr", "amr"} & set(
        settings.jwt_claims
    )
    if reserved:
        raise SettingsError(
            "jwt_claims", sorted(reserved), "are written by us (RFC 7519 §4.1).", "Name your own claims."
        )
    allowed = {"cache", "cookies", "storage", "executionContexts", "*"}
    put("clear_site_data", tuple(settings.clear_site_data))
    if not set(settings.clear_site_data) <= allowed:
        raise SettingsError(
            "clear_site_data", settings.clear_site_data, "has an unknown type.", f"Use {sorted(allowed)}."
        )
    origins = tuple(settings.trusted_origins)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s?#@\\]+", origin):
            raise SettingsError(
                "trusted_origins", origin, "is not an origin.", "Write scheme://host[:port], nothing after."
            )
    put("trusted_origins", tuple(o.lower() for o in origins))
    until = settings.adopt_existing_until
    if until is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", until):
        raise SettingsError(
            "adopt_existing_until", until, "is not a date.", "Write the day of installation, YYYY-MM-DD."
        )


def _check_paths(settings: Settings, put: Callable[[str, object], None]) -> None:
    paths = settings.exempt_paths
    if isinstance(paths, str):
        raise SettingsError("exempt_paths", paths, "is one path, not a list.", f"Write exempt_paths=[{paths!r}].")
    for path in paths:
        if (
            not path.startswith("/")
            or _PATH_HOSTILE.search(path)
            or "*" in path[:-1]
            or (path.endswith("*") and not path.endswith("/*"))
        ):
            raise SettingsError(
                "exempt_paths",
                path,
                "is not a path.",
                "Write an exact path like '/health', or a prefix like '/static/*'.",
            )
    put("exempt_paths", tuple(paths))
    prefix = settings.endpoint_prefix
    if not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix or _PATH_HOSTILE.search(prefix):
        raise SettingsError("endpoint_prefix", prefix, "is not a path prefix.", "Write it like '/session'.")
    url = settings.login_url
    if isinstance(url, str) and (not url or _PATH_HOSTILE.search(url) or url.startswith("//")):
        raise SettingsError(
            "login_url", url, "is neither a path nor a route name.", "Write '/login' or the route's name."
        )
    if settings.return_param is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", settings.return_param):
        raise SettingsError(
            "return_param", settings.return_param, "is not a parameter name.", "Write letters like 'return_to'."
        )
    for name, urls in [("logout_urls", settings.logout_urls), *settings.logout_urls_by_client.items()]:
        for target in [urls] if isinstance(urls, str) else urls:
            if isinstance(urls, str) or not re.fullmatch(
                r"(?:https?://[^\s\\/?#@]+(?:[/?][^\s\\#]*)?)|(?:/(?![/\\])[^\s\\#]*)", target
            ):
                raise SettingsError(
                    "logout_urls" if name == "logout_urls" else f"logout_urls_by_client[{name!r}]",
                    target,
                    "is not a list of URLs to return to after logout.",
                    "Write ['/'] or ['https://app.example/bye']; entries match exactly.",
                )
    put("logout_urls", tuple(settings.logout_urls))
    put("logout_urls_by_client", {k: tuple(v) for k, v in settings.logout_urls_by_client.items()})


def _check_cookies(settings: Settings, put: Callable[[str, object], None]) -> None:
    name = settings.cookie_name
    if not _COOKIE_NAME.match(name) or len(name) > 64:
        raise SettingsError(
            "cookie_name", name, "is not a cookie name (RFC 6265bis §4.1.1).", "Use letters, digits, - and _."
        )
    if name.lower().startswith(("__host-", "__secure-")):
        raise SettingsError("cookie_name", name, "has the prefix already.", "Leave it out: we add it.")
    _choice(settings, "cookie_samesite", "Lax", "Strict", "None")
    if settings.cookie_domain is not None:
        if not _HOST.match(settings.cookie_domain.lstrip(".")):
            raise SettingsError(
                "cookie_domain", settings.cookie_domain, "is not a host name.", "Write it like 'example.org'."
            )
        put("cookie_domain", settings.cookie_domain.lstrip(".").lower())
    if settings.insecure_dev and (settings.cookie_samesite == "None" or settings.cookie_partitioned):
        raise SettingsError(
            "insecure_dev",
            True,
            "drops Secure, which SameSite=None and Partitioned need.",
            "Use it only with cookie_samesite 'Lax' or 'Strict' and cookie_partitioned=False.",
        )
    if settings.cookie_partitioned and settings.cookie_domain:
        raise SettingsError(
            "cookie_partitioned", True, "wants a __Host- cookie.", "Leave out cookie_domain (CHIPS recommends __Host-)."
        )
