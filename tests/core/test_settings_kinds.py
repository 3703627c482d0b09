"""Every setting, given a value of each wrong kind: refused with field, value and fix, or accepted where that is documented."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from session_middleware.commands.check import run
from session_middleware.core.jwt_key import JwtKey
from session_middleware.errors import SettingsError
from session_middleware.settings import Settings

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"


async def awaited(*given: object) -> None:
    """What nobody would await."""


class Awaited:
    """A callable object whose call must be awaited."""

    async def __call__(self, *given: object) -> None: ...


async def streamed(*given: object) -> Any:
    yield given


def plain(*given: object) -> None:
    """What may be called, as far as can be seen."""


KINDS: dict[str, Any] = {
    "int": 300,
    "huge": 10**400,
    "float": 0.5,
    "true": True,
    "text": "x",
    "empty": "",
    "half": "a\udcff",
    "bytes": b"x",
    "list": ["x"],
    "ints": [5],
    "empties": [""],
    "halves": ["/\ud800"],
    "lists": [[]],
    "nothing": [],
    "dict": {"x": 1},
    "None": None,
    "object": object(),
    "async": awaited,
    "partial": functools.partial(awaited, 1),
    "callable": Awaited(),
    "stream": streamed,
    "function": plain,
    "class": Settings,
}

DURATIONS = {
    *("inactivity_timeout", "absolute_lifetime", "touch_interval", "max_continue", "clock_skew", "ended_retention"),
    *("renewal_interval", "renewal_grace", "jwt_lifetime", "retry_after", "verify_interval"),
}
SWITCHES = {"rolling", "persistent", "sse", "cookie_partitioned", "insecure_dev", "silent_sso"}
FUNCTIONS = {"limits", "refusal", "client_address"}
LISTS = {"secret_keys", "jwt_keys", "jwt_claims", "exempt_paths", "logout_urls", "clear_site_data", "trusted_origins"}

#: What each kind is accepted by; everything else refuses it.
ACCEPTED: dict[str, set[str]] = {
    "int": {*DURATIONS, "max_sessions"},
    "float": {"touch_interval", "clock_skew", "verify_interval"},  # the others have a smallest value above it
    "true": SWITCHES,
    "text": {
        "login_url",
        "fresh_login_url",
        "jwt_issuer",
        "jwt_audience",
        "return_param",
        "cookie_name",
        "cookie_domain",
    },
    "list": {"jwt_claims"},
    "nothing": LISTS,
    "None": {
        *("aal", "inactivity_timeout", "absolute_lifetime", "touch_interval", "max_continue", "persistent_limits"),
        *("max_sessions", "renewal_interval", "jwt_issuer", "jwt_audience", "jwt_subject_key", "default_policy"),
        *("fresh_login_url", "return_param", "cookie_domain", "verify_interval", "adopt_existing_until", *FUNCTIONS),
    },
    "function": {"login_url", "fresh_login_url", *FUNCTIONS},
    "class": {"login_url", "fresh_login_url", *FUNCTIONS},
}

NAMES = [field.name for field in fields(Settings) if field.init]


def _made(name: str, value: Any) -> Settings:
    return Settings(**{"secret_keys": [KEY], name: value})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_each_kind_is_accepted_where_documented_and_refused_elsewhere(name: str, kind: str) -> None:
    """Bad input: no other exception than SettingsError, which names the field and what to write; no silent nonsense."""
    if name in ACCEPTED.get(kind, ()):
        _made(name, KINDS[kind])
        return
    with pytest.raises(SettingsError) as caught:
        _made(name, KINDS[kind])
    assert caught.value.field == name or caught.value.field.startswith(f"{name}[")
    assert len(caught.value.fix) > 8
    assert repr(caught.value.value) in str(caught.value)


@pytest.mark.parametrize("name", sorted(SWITCHES))
def test_a_switch_is_on_or_off(name: str) -> None:
    """0 and 1, as an environment holds them, are the two; what is kept is a bool."""
    for given in (0, 1):
        assert getattr(_made(name, given), name) is bool(given)
        assert getattr(Settings.from_mapping({f"S_{name.upper()}": str(given)}, prefix="S_"), name) is bool(given)
    with pytest.raises(SettingsError):
        _made(name, "no")


NONSENSE: list[tuple[str, Any, str]] = [
    ("return_param", "reason", "return_param"),
    ("return_param", "aal", "return_param"),
    ("adopt_existing_until", "2026-02-30", "adopt_existing_until"),
    ("adopt_existing_until", "2026-13-01", "adopt_existing_until"),
    ("adopt_existing_until", "9999-12-31", "adopt_existing_until"),
    ("adopt_existing_until", "20260201", "adopt_existing_until"),
    ("adopt_existing_until", "٢٠٢٦-02-01", "adopt_existing_until"),
    ("jwt_audience", ["a", "b"], "jwt_audience"),
    ("jwt_claims", "role", "jwt_claims"),
    ("secret_keys", {KEY: 1}, "secret_keys"),
    ("secret_keys", bytearray(b"x" * 40), "secret_keys"),
    ("jwt_keys", [KEY], "jwt_keys"),
    ("endpoint_prefix", "/a%20b", "endpoint_prefix"),
    ("endpoint_prefix", "/a?b", "endpoint_prefix"),
    ("endpoint_prefix", "/a/..", "endpoint_prefix"),  # a browser takes it for "/"
    ("endpoint_prefix", "/.", "endpoint_prefix"),
    ("endpoint_prefix", "/{name}", "endpoint_prefix"),
    ("endpoint_prefix", "/session/*", "endpoint_prefix"),
    ("endpoint_prefix", "/ä", "endpoint_prefix"),  # servers decode it differently
    ("endpoint_prefix", "/\ud800", "endpoint_prefix"),
    ("login_url", "/a\r\nb", "login_url"),
    ("fresh_login_url", "/a\r\nb", "fresh_login_url"),
    ("logout_urls_by_client", ["a"], "logout_urls_by_client"),
    ("logout_urls_by_client", {5: ["/"]}, "logout_urls_by_client"),
    ("logout_urls_by_client", {"a": "/x"}, "logout_urls_by_client['a']"),
    ("logout_urls_by_client", {"logout_urls": [5]}, "logout_urls_by_client['logout_urls']"),
]


@pytest.mark.parametrize(("name", "value", "field"), NONSENSE, ids=[f"{f}-{i}" for i, (_, _, f) in enumerate(NONSENSE)])
def test_nonsense_of_the_right_kind_is_refused(name: str, value: Any, field: str) -> None:
    """Bad input: the field is the one that is wrong, and no key is shown."""
    with pytest.raises(SettingsError) as caught:
        _made(name, value)
    assert caught.value.field == field
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("day", [date(2026, 2, 1), datetime(2026, 2, 1, 12)])  # a day has no zone
def test_a_date_is_told_how_it_is_written(day: date) -> None:
    """The fix is the text that the setting wants."""
    with pytest.raises(SettingsError, match="Write '2026-02-01'"):
        _made("adopt_existing_until", day)
    assert _made("adopt_existing_until", "2028-02-29").adopt_existing_until == "2028-02-29"


def test_any_collection_is_a_list() -> None:
    """A tuple, a set and a generator hold values as well as a list does."""

    def checked(values: Sequence[str] | Mapping[str, str] | set[str]) -> tuple[str, ...]:
        return _made("jwt_claims", values).jwt_claims  # type: ignore[return-value]  # a tuple since it was checked

    assert checked(("a", "b")) == ("a", "b")
    assert checked({"a"}) == ("a",)
    assert checked(name for name in "ab") == ("a", "b")  # type: ignore[arg-type]
    assert _made("jwt_keys", [JwtKey.hs256(KEY.encode())]).jwt_keys


def test_check_reports_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`session-middleware check` builds the settings, and so meets every one of these errors."""
    (tmp_path / "odd_settings.py").write_text(
        f"from session_middleware import Settings\nsettings = Settings(secret_keys=[{KEY!r}], jwt_audience=['a'])\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match="jwt_audience"):
        run("odd_settings:settings")
