"""What Kratos says is read strictly: anything but what its API promises is a fault of its own, and never a verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware.authorities.base import Alive, Attached, Shown
from session_middleware.authorities.calls import Calls, ProviderFault
from session_middleware.authorities.kratos import KratosAuthority
from session_middleware.authorities.kratos.doubt import LAPSE, REMEMBERED, Doubts
from session_middleware.authorities.kratos.server import Kratos
from session_middleware.authorities.kratos.session import read_session
from session_middleware.core.record import SessionRecord
from session_middleware.runtime import ThreadRuntime, run_sync
from session_middleware.testing.reference_record import reference_record
from tests.authorities.kratos_world import World, world

GOOD: dict[str, Any] = {
    "id": "3a1f0c8e-0d6f-4a43-9a0b-6f3f4c1f9d11",
    "active": True,
    "expires_at": "2027-01-16T08:00:00Z",
    "authenticated_at": "2027-01-15T08:00:00Z",
    "identity": {"id": "b0f2f9c0-4b6e-4c3d-9a6e-0c8f5f1f9d12", "traits": {"email": "a@example.org"}},
    "authentication_methods": [{"method": "password", "aal": "aal1", "completed_at": "2027-01-15T08:00:00Z"}],
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-15T08:00:00Z", 0.0),
        ("2027-01-15T08:00:00.5Z", 0.5),
        ("2027-01-15T08:00:00.123456789Z", 0.123456),  # Go writes nanoseconds
        ("2027-01-15T10:00:00.25+02:00", 0.25),
    ],
)
def test_instants_as_go_writes_them(text: str, seconds: float) -> None:
    """RFC 3339 with any number of decimals and any offset."""
    assert read_session({**GOOD, "expires_at": text}).expires_at == pytest.approx(1_800_000_000.0 + seconds, abs=1e-6)


def test_what_is_read() -> None:
    """Id, user, times and factors; a provider is named where one took part."""
    methods = [
        *GOOD["authentication_methods"],
        {"method": "oidc", "provider": "google", "aal": "aal1"},
        {"aal": "aal2"},
    ]
    session = read_session({**GOOD, "authentication_methods": methods})
    assert (session.id, session.identity) == (GOOD["id"], GOOD["identity"]["id"])
    assert session.expires_at - session.authenticated_at == 86_400
    assert session.factors == (
        {"type": "password", "aal": "aal1", "at": "2027-01-15T08:00:00Z"},
        {"type": "oidc", "aal": "aal1", "provider": "google"},
    )
    assert "example.org" not in repr(session)


@pytest.mark.parametrize("absent", ["identity", "authentication_methods"])
@pytest.mark.parametrize("value", [None, "left out"])
def test_what_may_be_missing(absent: str, value: Any) -> None:
    """The admin listener leaves the identity out unless it is asked for; methods may be null."""
    document = {**GOOD, absent: value}
    if value == "left out":
        del document[absent]
    assert read_session(document).id == GOOD["id"]


BAD: list[tuple[str, Any]] = [
    ("id", None),
    ("id", ""),
    ("id", 7),
    ("id", "x" * 65),
    ("active", None),
    ("active", "true"),
    ("active", 1),
    ("expires_at", None),
    ("expires_at", 1_800_000_000),
    ("expires_at", "soon"),
    ("expires_at", "2027-01-16T08:00:00"),
    ("expires_at", "0001-01-01T00:00:00Z"),
    ("authenticated_at", "0001-01-01T00:00:00Z"),
    ("authenticated_at", ""),
    ("identity", {"id": ""}),
    ("identity", {"id": 5}),
    ("authentication_methods", "password"),
    ("authentication_methods", ["password"]),
    ("authentication_methods", {"method": "password"}),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_what_is_not_a_session(name: str, value: Any) -> None:
    """A field of the wrong kind is garbage, and its value is not repeated."""
    with pytest.raises(ProviderFault) as fault:
        read_session({**GOOD, name: value})
    assert fault.value.kind == "garbage"
    assert name.partition("_")[0] in str(fault.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON), st.booleans())
def test_any_json_is_a_session_or_a_fault(fields: dict[str, Any], on_top: bool) -> None:
    """Nothing that Kratos could send raises anything else."""
    with suppress(ProviderFault):
        read_session({**GOOD, **fields} if on_top else fields)


# --- over the wire -------------------------------------------------------------------------------------------------


@pytest.fixture
def here() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def authority(here: World) -> Iterator[KratosAuthority]:
    made = KratosAuthority(here.public_url, admin_url=here.admin_url, app_url="https://app.example")
    made.attach(Attached(ThreadRuntime(), here.clock, lambda purpose: (b"key",)))
    yield made
    made.close()


SHOWN = Shown({"ory_kratos_session": "x"})


def record_of(here: World) -> SessionRecord:
    held = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
    expires = here.clock() + 60
    return reference_record(0).evolve(authority="kratos", provider_session=held.id, ceiling=expires)


@pytest.mark.parametrize("status", [200, 201, 204, 302, 400, 403, 404, 405, 410, 422])
def test_an_unexpected_status_is_no_verdict(here: World, authority: KratosAuthority, status: int) -> None:
    """Whatever else whoami answers, nobody is vouched for and nobody is gone."""
    here.kratos.faults.fail(status)
    for ask in (authority.adopt(SHOWN, 0.0), authority.verify(record_of(here), SHOWN, 0.0)):
        with pytest.raises(ProviderFault) as fault:
            run_sync(ask)
        assert fault.value.kind == "garbage"


def kratos_of(here: World) -> Kratos:
    to = Attached(ThreadRuntime(), here.clock, lambda purpose: (b"key",))
    return Kratos(Calls(here.public_url), Calls(here.admin_url), "ory_kratos_session").attached(to)


CALLS: dict[str, Callable[[Kratos], Any]] = {
    "whoami": lambda kratos: kratos.whoami(SHOWN),
    "denies_session": lambda kratos: kratos.denies_session(SHOWN),
    "log_out": lambda kratos: kratos.log_out(SHOWN),
    "log_out by token": lambda kratos: kratos.log_out(Shown(headers={"x-session-token": "x"})),
    "session": lambda kratos: kratos.session(GOOD["id"]),
    "extend": lambda kratos: kratos.extend(GOOD["id"]),
    "revoke": lambda kratos: kratos.revoke(GOOD["id"]),
    "sessions_of": lambda kratos: kratos.sessions_of(GOOD["id"]),
    "revoke_all": lambda kratos: kratos.revoke_all(GOOD["id"]),
}
ADMIN = ["session", "extend", "revoke", "sessions_of", "revoke_all"]


@pytest.mark.parametrize("name", CALLS)
def test_no_call_takes_an_answer_that_it_does_not_know(here: World, name: str) -> None:
    """A status that Kratos has no reason to send is garbage, whatever was asked."""
    kratos = kratos_of(here)
    here.kratos.faults.fail(418)
    with pytest.raises(ProviderFault, match="418") as fault:
        run_sync(CALLS[name](kratos))
    assert fault.value.kind == "garbage"
    kratos.close()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("name", ADMIN)
def test_a_refused_admin_token_is_the_operators(here: World, name: str, status: int) -> None:
    """401 and 403 of the admin listener say nothing about anybody's session."""
    kratos = kratos_of(here)
    here.kratos.faults.fail(status)
    with pytest.raises(ProviderFault) as fault:
        run_sync(CALLS[name](kratos))
    assert fault.value.kind == "credentials"
    kratos.close()


def test_a_logout_whose_second_step_fails_is_told_again(here: World) -> None:
    """The session ends with the second step; where that fails, nothing is claimed."""
    kratos = kratos_of(here)
    held = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
    name, _, value = held.cookie.partition("=")
    here.kratos.faults.fail(418, only="/self-service/logout")
    here.kratos.faults.set(times=1)
    with pytest.raises(ProviderFault):
        run_sync(kratos.log_out(Shown({name: value})))
    here.kratos.faults.clear()
    run_sync(kratos.log_out(Shown({name: value})))
    assert here.kratos.session(held.id)["active"] is False
    run_sync(kratos.log_out(Shown({name: value})))  # over already, which is no fault
    kratos.close()


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b'{"id": 1}', b"[" * 100_000])
def test_a_body_that_is_none_is_no_verdict(here: World, authority: KratosAuthority, body: bytes) -> None:
    """A 200 without a session in it is a fault, for every question that reads one."""
    record = record_of(here)
    here.kratos.faults.garble(body)
    for ask in (
        authority.adopt(SHOWN, 0.0),
        authority.verify(record, SHOWN, 0.0),
        authority.extend(record, SHOWN, here.clock(), None),
        authority.list(GOOD["id"], 0.0) if body != b"[]" else authority.adopt(SHOWN, 0.0),
        authority.end(record, SHOWN, "logout", 0.0),
    ):
        with pytest.raises(ProviderFault):
            run_sync(ask)


def test_a_session_without_its_identity_vouches_for_nobody(here: World, authority: KratosAuthority) -> None:
    """whoami always names the identity; a session without one is no proof of who is there."""
    here.kratos.faults.garble(json.dumps({**GOOD, "identity": None}).encode())
    with pytest.raises(ProviderFault, match="identity"):
        run_sync(authority.adopt(SHOWN, 0.0))


def test_a_200_that_says_inactive_vouches_for_nobody(here: World, authority: KratosAuthority) -> None:
    """Kratos answers 401 for those; an inactive one in a 200 is treated the same."""
    here.kratos.faults.garble(json.dumps({**GOOD, "active": False}).encode())
    vouch: Any = run_sync(authority.adopt(SHOWN, 0.0))
    assert vouch.alive is Alive.GONE


def test_ids_are_only_ever_a_part_of_a_path(here: World, authority: KratosAuthority) -> None:
    """What is put into a path cannot become another one, or a query."""
    record = record_of(here).evolve(provider_session="../identities/x?y=1#z")
    with pytest.raises(ProviderFault):
        run_sync(authority.end(record, Shown(), "revoked", 0.0))
    [call] = here.kratos.calls
    assert (call.path, call.query) == ("/admin/sessions/../identities/x?y=1#z", "")


# --- doubt ---------------------------------------------------------------------------------------------------------


def test_doubt_is_settled_by_time_alone() -> None:
    """Thirty seconds of the same answer settle it; a clock set back, a pause or another credential begin anew."""
    doubts = Doubts()
    assert [doubts.is_settled("s", "c", now) for now in (0.0, 10.0, 29.9, 30.0)] == [False, False, False, True]
    assert not doubts.is_settled("s", "another", 30.0)
    assert not doubts.is_settled("s", "c", 20.0)
    assert not doubts.is_settled("s", "c", 20.0 + LAPSE + 1)
    assert doubts.is_settled("s", "c", 20.0 + LAPSE + 31)
    doubts.clear("s", "c")
    assert not doubts.is_settled("s", "c", 20.0 + LAPSE + 32)


def test_doubts_do_not_pile_up() -> None:
    """Whoever shows ever new credentials fills no memory; all doubt begins anew instead, which ends nobody."""
    doubts = Doubts()
    for n in range(REMEMBERED + 10):
        assert not doubts.is_settled("s", str(n), 0.0)
    assert len(doubts._runs) <= REMEMBERED
    assert not doubts.is_settled("s", "0", 40.0)
