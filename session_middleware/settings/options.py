"""Settings: every option, its unit and its default, in one frozen object for all frameworks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from session_middleware.settings.choices import check_choices, check_number
from session_middleware.settings.clocks import FILLED_IN, check_clocks
from session_middleware.settings.durations import Duration, Limits, Timing
from session_middleware.settings.keys import check_keys
from session_middleware.settings.places import check_cookies, check_paths
from session_middleware.settings.text import from_text, unknown

__all__ = ["DEFAULT_LOGIN_URL", "Policy", "Settings"]

Policy = Literal["required", "optional"]

#: Where people sign in unless told otherwise; an authority with a login route of its own replaces it.
DEFAULT_LOGIN_URL = "/login"


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
    fresh_login_url: str | Callable[[Any], str] | None = None  # Any: as above; None: login_url
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

    #: What was given of the options that are filled in from others, so that a copy fills them in anew.
    _given: Mapping[str, Any] = field(init=False, repr=False, compare=False)  # Any: not checked yet

    def __post_init__(self) -> None:
        object.__setattr__(self, "_given", {name: getattr(self, name) for name in FILLED_IN})
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
        names = {f.name for f in fields(cls) if f.init}
        values: dict[str, Any] = {}
        for key, value in mapping.items():
            if not isinstance(key, str) or not key.startswith(prefix):
                continue
            name = key[len(prefix) :].lower()
            if name not in names:
                raise unknown(key, name, names, prefix)
            values[name] = from_text(name, value)
        for name in given:
            if name not in names:
                raise unknown(name, name, names, "")
        return cls(**{**values, **given})

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with some settings changed, as if all had been given at once: what was filled in is so anew."""
        return replace(self, **{**self._given, **changes})

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


def _check(settings: Settings) -> None:
    """Check every value, fill in what depends on others, and freeze sequences."""

    def put(name: str, value: object) -> None:
        object.__setattr__(settings, name, value)

    check_keys(settings, put)
    check_clocks(settings, put)
    check_choices(settings, put)
    check_number(settings)
    check_paths(settings, put)
    check_cookies(settings, put)
