"""Markers and their rules (L21), what counts as activity (L6), and what came with a request (L9, L10)."""

from __future__ import annotations

import functools
import math
from threading import Lock
from typing import Any

import pytest

from session_middleware.core import credentials as credentials_module
from session_middleware.core.credentials import Credentials, Known
from session_middleware.core.exchange import Exchange, RouteRules, changed, is_activity, rules_of
from session_middleware.core.jwt import JwtKey, JwtKeys
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_ours
from session_middleware.core.tokens import TokenKeys, public_id_of
from session_middleware.decorators import (
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.errors import SettingsError
from tests.adapters.closed_over import Client

from .facts import Facts


def test_markers_return_what_they_mark() -> None:
    """Rule 4 of the house: markers are never wrappers."""

    def view() -> None: ...

    for marker in (session_exempt, session_required(), no_touch):
        view.__dict__.clear()
        assert marker(view) is view
    assert rules_of(view) == RouteRules(touch=False)
    assert rules_of(functools.partial(view)) == RouteRules(touch=False)
    assert rules_of(functools.partial(functools.partial(view))) == RouteRules(touch=False)
    assert rules_of(object()) is None


def test_what_answers_to_any_name_has_no_marker() -> None:
    """A mock, or a client of a database, looks like a `functools.partial` of a partial, without end."""
    assert rules_of(Client()) is None


class OpenView:
    @session_optional
    def __call__(self) -> None: ...


@no_touch
@session_required
class Poll(OpenView): ...


def test_a_marker_on_what_a_call_of_an_object_runs() -> None:
    """An object may be a view: the marker on its `__call__` says who may come in, that on its class what else holds."""
    assert rules_of(OpenView()) == RouteRules(policy="optional")
    assert rules_of(functools.partial(OpenView())) == RouteRules(policy="optional")
    assert rules_of(Poll()) == RouteRules(policy="optional", touch=False)
    assert rules_of(OpenView) is None, "to call the class makes an object, and runs no view"


def test_markers_merge_in_any_order() -> None:
    """L21: the order of markers does not matter."""

    @no_touch
    @session_optional(cross_site_login=True)
    def one() -> None: ...

    @session_optional(cross_site_login=True)
    @no_touch
    def two() -> None: ...

    assert rules_of(one) == rules_of(two) == RouteRules(policy="optional", touch=False, cross_site_login=True)

    @session_required(on_unavailable="stale")
    @fresh_login_required(within=60)
    @fresh_login_required(within=30)
    def three() -> None: ...

    assert rules_of(three) == RouteRules(policy="required", fresh_within=30, on_unavailable="stale")
    strict = RouteRules(on_unavailable="refuse").merged(RouteRules(on_unavailable="stale"))
    assert strict.on_unavailable == "refuse"


@pytest.mark.parametrize(
    "pair",
    [
        (session_exempt, session_required),
        (session_optional, session_exempt),
        (session_exempt, fresh_login_required(within=9)),
    ],
)
def test_contradictions_are_refused(pair: Any) -> None:
    """L21: two markers that contradict each other are an error where they stand."""

    def view() -> None: ...

    with pytest.raises(SettingsError, match="contradict"):
        pair[0](pair[1](view))


def test_classes_and_methods() -> None:
    """L21: class-based views are marked on the class; a subclass is marked without touching its parent."""

    @session_exempt
    class Parent:
        def get(self) -> None: ...

    @no_touch
    class Child(Parent): ...

    assert rules_of(Parent) == RouteRules(policy="exempt")
    assert rules_of(Child) == RouteRules(touch=False)
    no_touch(Parent.get)
    assert rules_of(Parent.get) == RouteRules(touch=False)


def test_a_marker_on_the_class_of_a_bound_method() -> None:
    """Where views of one class are registered one by one, its marker holds for each; one on the method goes before."""

    @fresh_login_required(within=60)
    class Admin:
        def index(self) -> None: ...

        @session_optional
        def sign_in(self) -> None: ...

        @classmethod
        def report(cls) -> None: ...

    class Plain:
        def index(self) -> None: ...

        @no_touch
        def count(self) -> None: ...

    asked = RouteRules(policy="required", fresh_within=60.0)
    assert rules_of(Admin().index) == asked
    assert rules_of(Admin.report) == asked
    assert rules_of(Admin().sign_in) == RouteRules(policy="optional")
    assert rules_of(Plain().index) is None
    assert rules_of(Plain().count) == RouteRules(touch=False)


def test_a_marker_on_the_class_of_a_wrapped_method() -> None:
    """`functools.wraps` copies what is marked on the method, not on its class: both hold, however many layers there are."""

    @session_required
    class Admin:
        def index(self) -> None: ...

        @no_touch
        def count(self) -> None: ...

    class Plain:
        @no_touch
        def count(self) -> None: ...

    def wrapped(view: Any) -> Any:
        return functools.wraps(view)(lambda: view())

    assert rules_of(wrapped(Admin().index)) == RouteRules(policy="required")
    assert rules_of(wrapped(wrapped(Admin().count))) == RouteRules(policy="required", touch=False)
    assert rules_of(session_optional(wrapped(Admin().count))) == RouteRules(policy="optional", touch=False)
    assert rules_of(wrapped(Plain().count)) == RouteRules(touch=False)
    assert rules_of(wrapped(Plain.count)) == RouteRules(touch=False)


def test_a_function_that_says_it_wraps_itself() -> None:
    """A mistake of somebody's, and no reason to search for ever."""

    def endpoint() -> None: ...

    endpoint.__wrapped__ = endpoint  # type: ignore[attr-defined]  # as a decorator may
    assert rules_of(no_touch(endpoint)) == RouteRules(touch=False)


class Blueprint:
    """What holds views and answers nothing by itself; it takes any attribute."""


def test_what_cannot_be_marked_says_so() -> None:
    """Bad input: the message names the thing and the fix; so do wrong arguments."""
    with pytest.raises(SettingsError, match="cannot be marked"):
        no_touch(len)
    with pytest.raises(SettingsError, match="cannot be marked"):
        session_required(Blueprint())
    with pytest.raises(SettingsError, match="within"):
        fresh_login_required(within="soon")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(SettingsError, match="'refuse' or 'stale'"):
        session_required(on_unavailable="maybe")  # type: ignore[call-overload]  # that is the point


@pytest.mark.parametrize(
    ("facts", "rules", "activity", "expected"),
    [
        (Facts(), RouteRules(), "request", True),
        (Facts(), RouteRules(touch=False), "request", False),
        (Facts("OPTIONS"), RouteRules(), "request", False),
        (Facts(session_activity="none"), RouteRules(), "request", False),
        (Facts(sec_purpose="prefetch;prerender"), RouteRules(), "request", False),
        (Facts(purpose="Prefetch"), RouteRules(), "request", False),
        (Facts(), RouteRules(), "user", False),
        (Facts(sec_fetch_mode="navigate"), RouteRules(), "user", True),
        (Facts("POST"), RouteRules(), "user", True),
        (Facts("POST"), RouteRules(touch=False), "user", False),
    ],
)
def test_what_counts_as_activity(facts: Facts, rules: RouteRules, activity: str, expected: bool) -> None:
    """L6: an ACTIVE request to a route not marked, and none of the exceptions."""
    assert is_activity(facts, rules, activity) is expected


def test_claims_seen_by_the_view() -> None:
    """A value of None removes; without a record there is nothing."""
    x = Exchange(Facts(), 1.0)
    assert x.claims == {}
    assert not x.is_active
    x.claim_changes = {"a": 1, "b": None}
    assert x.claims == {"a": 1}
    assert changed({"b": 2, "c": 3}, x.claim_changes) == {"a": 1, "c": 3}


ID = bytes(24)
SECRET = bytes(range(32))
TOKENS = TokenKeys([SECRET], "s")
JWTS = JwtKeys([JwtKey.hs256(SECRET)])


def reader() -> Credentials:
    return Credentials(
        TOKENS, JWTS, token_cookie="s", jwt_cookie="s_jwt", issuer="i", audience="a", clock_skew=30, mutex=Lock()
    )


def jwt(sid: str, now: int = 1000) -> str:
    return JWTS.mint(
        {"iss": "i", "aud": "a", "sid": sid, "sub": "u", "iat": now, "nbf": now, "exp": now + 300, "jti": "j"}
    )


def test_what_a_cookie_header_shows() -> None:
    """L9, L10: token and JWT of one session; anything twice is TAMPERED; a bad JWT is missing, and of another session it is told."""
    token, mine = TOKENS.sign(ID, 0), jwt(public_id_of(ID))
    read = reader().read
    known = read(f"s={token}; s_jwt={mine}", 1000.0)
    assert isinstance(known, Known)
    assert (known.jwt, known.jwt_expires) == (mine, 1300)
    assert read("", 1000.0) is Verdict.ANONYMOUS
    assert read(f"s_jwt={mine}", 1000.0) is Verdict.ANONYMOUS
    assert read("s=junk", 1000.0) is Verdict.TAMPERED
    assert read(f"s={token}; s={TOKENS.sign(ID, 1)}", 1000.0) is Verdict.TAMPERED
    assert read(f"s={token}; s_jwt={mine}; s_jwt=x", 1000.0) is Verdict.TAMPERED
    another = read(f"s={token}; s_jwt={jwt('other')}", 1000.0)
    assert isinstance(another, Known)
    assert (another.jwt, another.jwt_of_another, known.jwt_of_another) == (None, "other", None)
    assert isinstance(read(f"s={token}; s={token}", 1000.0), Known)
    for bad in (mine[:-2], "x.y.z", jwt(public_id_of(ID), 0)):
        without = read(f"s={token}; s_jwt={bad}", 1000.0)
        assert isinstance(without, Known)
        assert (without.jwt, without.jwt_expires) == (None, -math.inf)


def test_a_header_is_verified_once() -> None:
    """Design §6: what was verified is remembered under the exact header; what failed is not."""
    creds = reader()
    header = f"s={TOKENS.sign(ID, 0)}"
    assert creds.read(header, 1.0) is creds.read(header, 2.0)
    creds.read("s=junk", 1.0)
    assert list(creds.remembered) == [header]
    creds.read(header + "; other=" + "x" * 9000, 1.0)
    assert len(creds.remembered) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The older half goes when it is full."""
    monkeypatch.setattr(credentials_module, "REMEMBERED", 4)
    creds = reader()
    for number in range(9):
        creds.read(f"s={TOKENS.sign(bytes([number]) * 24, 0)}", 1.0)
    assert 2 <= len(creds.remembered) <= 4
    assert f"s={TOKENS.sign(bytes([8]) * 24, 0)}" in creds.remembered


def test_memory_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long headers fill it sooner, and what has gone is counted no more."""
    monkeypatch.setattr(credentials_module, "KEPT", 10_000)
    creds = reader()
    for number in range(60):
        creds.read(f"s={TOKENS.sign(bytes([number]) * 24, 0)}; other={'x' * 2_000}", 1.0)
        assert sum(map(len, creds.remembered)) < 13_000
    assert 2 <= len(creds.remembered) <= 6


def test_one_session_cannot_fill_the_memory() -> None:
    """A cookie that changes with every request, by design or on purpose, takes the place of its own predecessors alone."""
    creds = reader()
    other = f"s={TOKENS.sign(b'o' * 24, 0)}"
    creds.read(other, 1.0)
    for number in range(3 * credentials_module.KEPT_OF_ONE):
        creds.read(f"x={number}; s={TOKENS.sign(ID, 0)}", 1.0)
    assert len(creds.remembered) == credentials_module.KEPT_OF_ONE + 1
    assert other in creds.remembered
    assert f"x={number}; s={TOKENS.sign(ID, 0)}" in creds.remembered


def test_a_header_that_two_threads_read_at_once_is_remembered_once() -> None:
    """Whoever comes second adds nothing to what is counted."""
    creds = reader()
    header = f"s={TOKENS.sign(ID, 0)}"
    known = creds.read(header, 1.0)
    assert isinstance(known, Known)
    creds._remember(header, Known(known.presented, None, None))
    assert creds.remembered == {header: known}
    assert creds._bytes == len(header)


def test_the_authorization_header() -> None:
    """L19: `Authorization: Session <token>`; other schemes are not ours."""
    creds = reader()
    known = creds.read_header(f"Session {TOKENS.sign(ID, 0)}", 1.0)
    assert isinstance(known, Known)
    assert creds.read_header(f"Session {TOKENS.sign(ID, 0)}", 1.0) is known
    assert [is_ours(each) for each in ("Session x", "session", "Bearer x", "Basic eA==", "Sessions x", "")] == [
        *(True, True, False, False, False, False)
    ]
    assert creds.read_header("Session junk", 1.0) is Verdict.TAMPERED
