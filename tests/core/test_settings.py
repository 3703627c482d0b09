"""Settings: every refusal names field, value and fix; presets and derived values are what the docs say (L5, L19, L22)."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from session_middleware.errors import SessionError, SettingsError
from session_middleware.settings import Limits, Settings, seconds

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"


def settings(**given: Any) -> Settings:
    return Settings(secret_keys=[KEY], **given)


def test_defaults_are_aal2() -> None:
    """L22: by default 60 minutes of silence and 24 hours, touched once a minute."""
    made = settings()
    assert made.default_limits == Limits(3600, 86400)
    assert made.timing.touch_interval == 60
    assert (made.token_cookie, made.jwt_cookie) == ("__Host-session", "__Host-session_jwt")


@pytest.mark.parametrize(
    ("aal", "silence", "age"),
    [("aal1", None, 30 * 86400), ("aal2", 3540, 86400), ("aal3", 855, 43200)],
)
def test_presets_count_the_touch_interval_inside(aal: Any, silence: float | None, age: float) -> None:
    """L22: a preset's figure is what is promised, one touch interval included."""
    assert settings(aal=aal).default_limits == Limits(silence, age)


def test_touch_interval_follows_a_short_timeout() -> None:
    """L5: touch_interval is the smaller of a minute and a twentieth of the timeout."""
    assert settings(inactivity_timeout=timedelta(minutes=10)).timing.touch_interval == 30
    assert settings(inactivity_timeout=None).timing.touch_interval == 60
    assert settings(inactivity_timeout=600, touch_interval=0).timing.touch_interval == 0


def test_the_default_silence_yields_to_a_short_age() -> None:
    """A lifetime shorter than the default silence is not an error of the user's."""
    assert settings(absolute_lifetime=600).default_limits == Limits(600, 600)


def test_cookie_prefix() -> None:
    """L19: a domain switches to __Secure-, insecure_dev drops the prefix."""
    assert settings(cookie_domain=".Example.org").token_cookie == "__Secure-session"
    assert settings(cookie_domain=".Example.org").cookie_domain == "example.org"
    assert settings(insecure_dev=True, cookie_name="sid").jwt_cookie == "sid_jwt"


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"secret_keys": KEY}, "secret_keys"),
    ({"secret_keys": [b"short"]}, "secret_keys"),
    ({"secret_keys": ["a" * 64]}, "secret_keys"),
    ({"secret_keys": [5]}, "secret_keys"),
    ({"secret_keys": [KEY, KEY]}, "secret_keys"),
    ({"jwt_subject_key": "short"}, "jwt_subject_key"),
    ({"jwt_subject_key": 5}, "jwt_subject_key"),
    ({"jwt_subject_key": KEY, "jwt_subject": "plain"}, "jwt_subject_key"),
    ({"aal": "aal4"}, "aal"),
    ({"aal": "aal3", "absolute_lifetime": 13 * 3600}, "absolute_lifetime"),
    ({"aal": "aal3", "persistent_limits": Limits(None, 86400)}, "persistent_limits"),
    ({"persistent_limits": 86400}, "persistent_limits"),
    ({"inactivity_timeout": "900"}, "inactivity_timeout"),
    ({"inactivity_timeout": True}, "inactivity_timeout"),
    ({"inactivity_timeout": 0}, "inactivity_timeout"),
    ({"inactivity_timeout": float("nan")}, "inactivity_timeout"),
    ({"inactivity_timeout": float("inf")}, "inactivity_timeout"),
    ({"inactivity_timeout": 7200, "absolute_lifetime": 3600}, "inactivity_timeout"),
    ({"inactivity_timeout": 60, "touch_interval": 60}, "touch_interval"),
    ({"touch_interval": -1}, "touch_interval"),
    ({"absolute_lifetime": -5}, "absolute_lifetime"),
    ({"renewal_interval": 30, "renewal_grace": 30}, "renewal_interval"),
    ({"jwt_lifetime": 7200}, "jwt_lifetime"),
    ({"max_continue": 60}, "max_continue"),
    ({"max_continue": 90000}, "max_continue"),
    ({"clock_skew": 3600}, "clock_skew"),
    ({"limits": 5}, "limits"),
    ({"verify_interval": -1}, "verify_interval"),
    ({"on_replay": "ignore"}, "on_replay"),
    ({"rolling": "yes"}, "rolling"),
    ({"default_policy": "require"}, "default_policy"),
    ({"jwt_claims": ["sub"]}, "jwt_claims"),
    ({"clear_site_data": ["everything"]}, "clear_site_data"),
    ({"trusted_origins": ["https://a.example/"]}, "trusted_origins"),
    ({"trusted_origins": ["https://*.example"]}, "trusted_origins"),
    ({"trusted_origins": ["https://b\u00fccher.example"]}, "trusted_origins"),
    ({"trusted_origins": ["https://a.example:65536"]}, "trusted_origins"),
    ({"trusted_origins": ["https://a.example:"]}, "trusted_origins"),
    ({"adopt_existing_until": "tomorrow"}, "adopt_existing_until"),
    ({"exempt_paths": "/health"}, "exempt_paths"),
    ({"exempt_paths": ["health"]}, "exempt_paths"),
    ({"exempt_paths": ["/a*"]}, "exempt_paths"),
    ({"exempt_paths": ["/*/a"]}, "exempt_paths"),
    ({"exempt_paths": ["/a?b=1"]}, "exempt_paths"),
    ({"exempt_paths": ["/a#b"]}, "exempt_paths"),
    ({"exempt_paths": ["/a/../b"]}, "exempt_paths"),
    ({"exempt_paths": ["/a/."]}, "exempt_paths"),
    ({"exempt_paths": ["/a%20b"]}, "exempt_paths"),
    ({"exempt_paths": ["/health "]}, "exempt_paths"),
    ({"endpoint_prefix": "session"}, "endpoint_prefix"),
    ({"endpoint_prefix": "/"}, "endpoint_prefix"),
    ({"login_url": "//evil.example"}, "login_url"),
    ({"login_url": ""}, "login_url"),
    ({"fresh_login_url": "//evil.example"}, "fresh_login_url"),
    ({"fresh_login_url": ""}, "fresh_login_url"),
    ({"return_param": "a b"}, "return_param"),
    ({"logout_urls": "/"}, "logout_urls"),
    ({"logout_urls": ["//evil.example"]}, "logout_urls"),
    ({"logout_urls": ["https://app.example/*"]}, "logout_urls"),
    ({"logout_urls_by_client": {"a": ["javascript:alert(1)"]}}, "logout_urls_by_client['a']"),
    ({"cookie_name": "a b"}, "cookie_name"),
    ({"cookie_name": "__Host-a"}, "cookie_name"),
    ({"cookie_name": "a_jwt"}, "cookie_name"),
    ({"cookie_name": "A_JWT"}, "cookie_name"),
    ({"cookie_samesite": "lax"}, "cookie_samesite"),
    ({"cookie_domain": "a b"}, "cookie_domain"),
    ({"cookie_partitioned": True, "cookie_domain": "example.org"}, "cookie_partitioned"),
    ({"insecure_dev": True, "cookie_samesite": "None"}, "insecure_dev"),
]


@pytest.mark.parametrize(("given", "field"), NONSENSE, ids=[f"{f}-{i}" for i, (_, f) in enumerate(NONSENSE)])
def test_nonsense_is_refused_with_field_and_fix(given: dict[str, Any], field: str) -> None:
    """A value that makes no sense names its field and what to write instead, and never shows a secret."""
    with pytest.raises(SettingsError) as caught:
        Settings(**{"secret_keys": [KEY], **given})
    assert caught.value.field == field
    assert len(caught.value.fix) > 8
    assert KEY not in str(caught.value)


def test_a_near_miss_is_named() -> None:
    """Unknown names and choices say what was probably meant."""
    with pytest.raises(SettingsError, match="SESSION_LIFETIME_ABSOLUTE_LIFETIME"):
        Settings.from_mapping({"SESSION_LIFETIME_ABSOLUT_LIFETIME": 5})
    with pytest.raises(SettingsError, match="inactivity_timeout"):
        Settings.from_mapping({"inactivity_timout": 5}, prefix="")
    with pytest.raises(SettingsError, match="See the settings page"):
        Settings.from_mapping({}, zzz=1)
    with pytest.raises(SettingsError, match="Did you mean 'Lax'"):
        settings(cookie_samesite="Lx")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("SESSION_LIFETIME_DEFAULT_LIMITS", "5", "is not a setting"),
        ("SESSION_LIFETIME_TIMING", "5", "is not a setting"),
        ("SESSION_LIFETIME_EXEMPT_PATHS", "[" * 100_000, "is not readable"),
    ],
    ids=["derived", "timed", "deep"],
)
def test_a_mapping_is_refused_with_no_other_error(key: str, value: str, says: str) -> None:
    """Bad input: what is derived cannot be given, and lists in lists are no list, however many."""
    with pytest.raises(SettingsError, match=says):
        Settings.from_mapping({key: value})


def test_from_mapping_reads_text() -> None:
    """The environment holds text: numbers, lists and booleans are read as JSON, a lone key as one key."""
    made = Settings.from_mapping(
        {
            "SESSION_LIFETIME_SECRET_KEYS": KEY,
            "SESSION_LIFETIME_INACTIVITY_TIMEOUT": "900",
            "SESSION_LIFETIME_EXEMPT_PATHS": '["/health"]',
            "SESSION_LIFETIME_COOKIE_NAME": "sid",
            "SESSION_LIFETIME_ROLLING": "false",
            "OTHER": "1",
            5: "x",  # type: ignore[dict-item]  # some mappings hold anything
        },
        login_url="/in",
    )
    assert (made.default_limits.inactivity_timeout, made.exempt_paths, made.rolling) == (900, ("/health",), False)
    assert (made.cookie_name, made.login_url) == ("sid", "/in")
    assert Settings.from_mapping({"S_SECRET_KEYS": f'["{KEY}"]', "S_INACTIVITY_TIMEOUT": "default"}, prefix="S_")
    with pytest.raises(SettingsError, match=r"\*\*\*"):
        Settings.from_mapping({"S_SECRET_KEYS": "[oops"}, prefix="S_")


def test_repr_shows_no_secret() -> None:
    """ASVS 16.2.5: printing settings shows no key."""
    assert KEY not in repr(settings())


def test_limits_take_the_smaller_of_each() -> None:
    """L2: each limit in force is the smaller of two; None is no limit."""
    assert Limits(None, 10).capped(Limits(5, 20)) == Limits(5, 10)
    assert Limits(5, 10).capped(Limits(None, 20)) == Limits(5, 10)
    assert Limits(5, 20).capped(Limits(7, 10)) == Limits(5, 10)
    assert Limits(None, 20).capped(Limits(None, 10)) == Limits(None, 10)


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("https://a.example:80", "https://a.example:80"),
        ("HTTPS://A.Example:08443", "https://a.example:8443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_trusted_origin_is_kept_as_browsers_write_it(given: str, header: str) -> None:
    """L20: what is compared with the header Origin has no usual port and no capitals (RFC 6454 §6.2)."""
    assert settings(trusted_origins=[given]).trusted_origins == (header,)


def test_an_exempt_path_is_decoded() -> None:
    """L21: paths are compared decoded, so one with a blank or letters of any alphabet is written with them."""
    assert settings(exempt_paths=["/a b", "/\u00fc/*", "/100%"]).exempt_paths == ("/a b", "/\u00fc/*", "/100%")
    with pytest.raises(SettingsError, match="Write '/a b'"):
        settings(exempt_paths=["/a%20b"])


def test_replace_keeps_what_was_filled_in() -> None:
    """A copy with one setting changed keeps the other values."""
    made = settings(inactivity_timeout=600).replace(absolute_lifetime=7200)
    assert made.default_limits == Limits(600, 7200)
    assert made.max_age_limits == made.default_limits
    assert made.replace(persistent_limits=Limits(None, 7200)).max_age_limits == Limits(None, 7200)


@pytest.mark.parametrize(
    "given",
    [
        {"absolute_lifetime": 30},
        {"aal": "aal2", "touch_interval": 2000},
        {"aal": "aal3", "absolute_lifetime": 40},
        {"inactivity_timeout": None},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "change",
    [
        {"cookie_name": "sid"},
        {"aal": "aal1"},
        {"inactivity_timeout": 30, "touch_interval": 0},
        {"absolute_lifetime": 3599},
    ],
    ids=str,
)
def test_replace_is_as_if_all_had_been_given_at_once(given: dict[str, Any], change: dict[str, Any]) -> None:
    """L5, L22: nothing is refused over what nobody gave, and what nobody gave follows from what is there now."""
    assert settings(**given).replace(**change) == settings(**{**given, **change})


def test_replace_follows_a_shorter_silence() -> None:
    """L5: the touch interval that was filled in is of the silence that is there now."""
    assert settings().replace(inactivity_timeout=30).touch_interval == 1.5
    copy = pickle.loads(pickle.dumps(settings()))
    assert copy.replace(aal="aal3").default_limits == Limits(855, 43200)


def test_touch_interval_follows_a_silence_that_the_age_cuts_short() -> None:
    """L5: nobody is touched less often than they can be silent."""
    assert settings(absolute_lifetime=30).touch_interval == 1.5


def test_seconds_says_the_range() -> None:
    """A bounded duration names both bounds."""
    with pytest.raises(SettingsError, match="between 1 and 5"):
        seconds("x", 9, least=1, most=5)


def test_an_error_can_be_handed_on_by_a_worker() -> None:
    """What a process pool pickles arrives as it was, whatever the exception."""
    for fault in (SettingsError("minutes", 3, "is too few.", "Give 5."), SessionError("no", code="ended")):
        arrived = pickle.loads(pickle.dumps(fault))
        assert (type(arrived), str(arrived), arrived.code) == (type(fault), str(fault), fault.code)


@pytest.mark.parametrize(
    "given", [{"secret_keys": [KEY + "\udcff"]}, {"secret_keys": [KEY], "jwt_subject_key": KEY + "\udcff"}]
)
def test_a_key_that_is_no_unicode_is_not_shown(given: dict[str, Any]) -> None:
    """Bad input: a byte that is not UTF-8 in the environment, say; neither the error nor what led to it holds the key."""
    with pytest.raises(SettingsError, match="Unicode") as caught:
        Settings(**given)
    assert KEY not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
