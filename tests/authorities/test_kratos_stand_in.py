"""The Kratos stand-in is as Kratos is: driven by the official client, and its unpleasant parts one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ory_kratos_client as official
import pytest

from tests.authorities.kratos_operations import check_calls
from tests.authorities.kratos_world import HOUR, NOWHERE, World, at, password, unknown_fields, world


@pytest.fixture
def here() -> Iterator[World]:
    with world(lifespan=24 * HOUR, allowed_return_urls=["https://app.example/in"]) as made:
        yield made


@pytest.fixture
def alice(here: World) -> Any:
    return here.kratos.begin_session(here.kratos.add_identity("alice@example.org", "correct horse"))


# --- its shapes, judged by the official client -------------------------------------------------------------------


def test_every_answer_fits_the_official_models(here: World, alice: Any) -> None:
    """What the stand-in answers is parsed by the official client, and holds no field that its models do not know."""
    other = here.kratos.begin_session(alice.identity)
    begun = here.frontend.create_native_login_flow()
    for answer in (
        here.frontend.to_session(cookie=alice.cookie),
        here.frontend.to_session(x_session_token=alice.token),
        here.frontend.list_my_sessions(x_session_token=alice.token),
        here.frontend.create_browser_logout_flow(cookie=alice.cookie),
        begun,
        here.frontend.create_browser_login_flow(refresh=True, cookie=alice.cookie),
        here.frontend.update_login_flow(begun.id, password("alice@example.org", "correct horse")),
        here.identities.get_session(alice.id, expand=["identity", "devices"]),
        here.identities.extend_session(alice.id),
        here.identities.list_identity_sessions(alice.identity, active=True),
        here.frontend.disable_my_other_sessions(x_session_token=alice.token),
    ):
        assert unknown_fields(answer) == []
    assert here.frontend.disable_my_session(other.id, x_session_token=alice.token) is None
    assert here.identities.disable_session(alice.id) is None
    assert here.identities.delete_identity_sessions(alice.identity) is None


def test_the_official_client_passes_the_check_of_requests(here: World, alice: Any) -> None:
    """What the official client sends is what the check of our own requests takes for right."""
    flow = here.frontend.create_native_login_flow(refresh=True, aal="aal1", x_session_token=alice.token)
    here.frontend.update_login_flow(flow.id, password("alice@example.org", "correct horse"), alice.token)
    here.frontend.to_session(cookie=alice.cookie)
    here.identities.get_session(alice.id, expand=["identity"])
    here.identities.extend_session(alice.id)
    here.frontend.perform_native_logout(official.PerformNativeLogoutBody(session_token=alice.token))
    assert check_calls(here.kratos.calls) == {
        "create_native_login_flow",
        "update_login_flow",
        "to_session",
        "get_session",
        "extend_session",
        "perform_native_logout",
    }


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "complaint"),
    [
        ("PUT", "/admin/sessions/x/extend", {}, b"", "no operation"),
        ("GET", "/self-service/login/api?refresh=yes", {}, b"", "refresh"),
        ("GET", "/self-service/login/browser?fresh=true", {}, b"", "no parameter 'fresh'"),
        ("GET", "/self-service/login/flows", {}, b"", "needs"),
        ("GET", "/sessions/whoami", {"Authorization": "Bearer x"}, b"", "does not read"),
        ("GET", "/sessions/whoami", {}, b"{}", "has no body"),
        ("DELETE", "/self-service/logout/api", {"Content-Type": "application/json"}, b'{"session_token": 5}', "string"),
        ("DELETE", "/self-service/logout/api", {}, b'{"session_token": "x"}', "a body of type"),
    ],
)
def test_a_request_that_fits_no_operation_is_found(
    here: World, method: str, path: str, headers: dict[str, str], body: bytes, complaint: str
) -> None:
    """The check of requests refuses a wrong method, parameter, type, credential and body."""
    here.browser.request(method, here.public_url + path, headers=headers, body=body, retries=False)
    with pytest.raises((AssertionError, ValueError), match=complaint):
        check_calls(here.kratos.calls)


# --- whoami --------------------------------------------------------------------------------------------------------


def test_whoami_says_who_is_signed_in(here: World, alice: Any) -> None:
    """The session, its times, its factor and its identity come from the row; the identity's id is in a header too."""
    answer = here.frontend.to_session_with_http_info(cookie=alice.cookie)
    session = answer.data
    assert (session.id, session.active, session.identity.id) == (alice.id, True, alice.identity)
    assert at(here, session.expires_at) == 24 * HOUR
    assert at(here, session.authenticated_at) == at(here, session.issued_at) == 0
    assert session.authenticator_assurance_level == "aal1"
    assert answer.headers["X-Kratos-Authenticated-Identity-Id"] == alice.identity
    assert answer.headers["Cache-Control"] == "private, no-cache, no-store, must-revalidate"


def test_the_token_goes_before_the_cookie_and_the_cookie_before_the_bearer(here: World) -> None:
    """X-Session-Token wins over the cookie, the cookie over Authorization."""
    held = [here.kratos.begin_session(here.kratos.add_identity(name, "x")) for name in ("token", "cookie", "bearer")]
    headers = {
        "X-Session-Token": held[0].token,
        "Cookie": held[1].cookie,
        "Authorization": f"Bearer {held[2].token}",
    }
    answered = []
    for name in list(headers):
        answered.append(here.browser.request("GET", here.public_url + "/sessions/whoami", headers=headers).json()["id"])
        del headers[name]
    assert answered == [credential.id for credential in held]


@pytest.mark.parametrize("end", ["nothing", "unknown", "revoked", "over", "disabled", "mistake", "database"])
def test_whoami_says_401_for_every_reason_alike(here: World, alice: Any, end: str) -> None:
    """No credential, an unknown one, a session that ended, and faults of Kratos' own all look the same, without an id."""
    token = {"nothing": None, "unknown": "ory_st_unknown"}.get(end, alice.token)
    {
        "revoked": lambda: here.kratos.revoke(alice.id),
        "over": lambda: here.clock.advance(hours=24),
        "disabled": lambda: here.kratos.disable(alice.identity),
        "mistake": here.kratos.faults.deny_by_mistake,
        "database": here.kratos.faults.lose_database,
    }.get(end, lambda: None)()
    with pytest.raises(official.exceptions.UnauthorizedException) as refused:
        here.frontend.to_session(x_session_token=token)
    body = json.loads(refused.value.body)
    assert official.ErrorGeneric.from_dict(body).error.code == 401
    assert set(body["error"]) == {"code", "status", "reason", "message"}
    assert "Ory-Error-Id" not in refused.value.headers


def test_a_mistaken_401_passes(here: World, alice: Any) -> None:
    """A 401 by mistake says nothing about the next call."""
    here.kratos.faults.deny_by_mistake(times=2)
    for _ in range(2):
        with pytest.raises(official.exceptions.UnauthorizedException):
            here.frontend.to_session(cookie=alice.cookie)
    assert here.frontend.to_session(cookie=alice.cookie).id == alice.id


def test_a_missing_second_factor_is_a_403(here: World) -> None:
    """Whoever has a second factor and has not passed it is told where to go."""
    bob = here.kratos.begin_session(here.kratos.add_identity("bob", "x", totp_code="123456"))
    with pytest.raises(official.exceptions.ForbiddenException) as refused:
        here.frontend.to_session(cookie=bob.cookie)
    body = json.loads(refused.value.body)
    target = f"{here.public_url}/self-service/login/browser?aal=aal2"
    assert body["error"]["id"] == refused.value.headers["Ory-Error-Id"] == "session_aal2_required"
    assert body["redirect_browser_to"] == body["error"]["details"]["redirect_browser_to"] == target


def test_required_aal1_never_asks_for_a_second_factor() -> None:
    """With `required_aal: aal1` whoami answers a session without its second factor."""
    with world(required_aal="aal1") as here:
        bob = here.kratos.begin_session(here.kratos.add_identity("bob", "x", totp_code="123456"))
        assert here.frontend.to_session(cookie=bob.cookie).id == bob.id


def test_a_tokenizer_template_that_is_not_there(here: World, alice: Any) -> None:
    """No templates are configured, so `tokenize_as` is a 400."""
    with pytest.raises(official.exceptions.BadRequestException):
        here.frontend.to_session(cookie=alice.cookie, tokenize_as="mine")


# --- the cookie ----------------------------------------------------------------------------------------------------


def set_cookie(answer: Any) -> str | None:
    return dict(answer.headers).get("Set-Cookie")


def test_whoami_sets_the_cookie_again_after_an_extension(here: World, alice: Any) -> None:
    """Where the row lives longer than the cookie says, a new cookie comes; one that is up to date is left alone."""
    assert set_cookie(here.frontend.to_session_with_http_info(cookie=alice.cookie)) is None
    here.clock.advance(hours=1)
    here.identities.extend_session(alice.id)
    line = set_cookie(here.frontend.to_session_with_http_info(cookie=alice.cookie))
    assert line is not None
    value, _, attributes = line.partition("; ")
    assert value.startswith("ory_kratos_session=")
    assert value != alice.cookie
    assert "Max-Age=86400; HttpOnly; SameSite=Lax" in attributes
    assert set_cookie(here.frontend.to_session_with_http_info(cookie=value)) is None


def test_a_token_is_never_answered_with_a_cookie(here: World, alice: Any) -> None:
    """An API client gets no cookie after an extension."""
    here.clock.advance(hours=1)
    here.identities.extend_session(alice.id)
    assert set_cookie(here.frontend.to_session_with_http_info(x_session_token=alice.token)) is None


def test_a_cookie_that_was_not_replaced_dies_though_its_row_lives(here: World, alice: Any) -> None:
    """Extending the row is not enough: a cookie value older than the lifespan cannot be read (ory/kratos issue 4441)."""
    here.clock.advance(hours=23)
    here.identities.extend_session(alice.id)
    here.clock.advance(hours=2)
    with pytest.raises(official.exceptions.UnauthorizedException):
        here.frontend.to_session(cookie=alice.cookie)
    assert here.frontend.to_session(x_session_token=alice.token).id == alice.id


def test_a_cookie_that_is_not_persistent_may_grow_older() -> None:
    """Without `session.cookie.persistent` the value is read for gorilla's 30 days, and lasts as long as the browser."""
    with world(cookie_persistent=False, lifespan=24 * HOUR) as here:
        alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
        here.clock.advance(hours=23)
        here.identities.extend_session(alice.id)
        here.clock.advance(hours=2)
        line = set_cookie(here.frontend.to_session_with_http_info(cookie=alice.cookie))
        assert line is not None
        assert "Max-Age" not in line


@pytest.mark.parametrize("change", ["forged", "unreadable"])
def test_a_cookie_that_cannot_be_read_spoils_a_good_bearer(here: World, alice: Any, change: str) -> None:
    """whoami fails on renewing a cookie that it cannot read, even where a token has proven the session."""
    cookie = alice.cookie[:-1] + ("0" if alice.cookie[-1] != "0" else "1") if change == "forged" else "x"
    headers = {"Cookie": cookie if "=" in cookie else "ory_kratos_session=x", "X-Session-Token": alice.token}
    assert here.browser.request("GET", here.public_url + "/sessions/whoami", headers=headers).status == 500


# --- extension -----------------------------------------------------------------------------------------------------


def test_an_extension_counts_from_now(here: World, alice: Any) -> None:
    """expires_at becomes now + lifespan, not the old expiry + lifespan; the other times stay."""
    here.clock.advance(hours=5)
    session = here.identities.extend_session(alice.id)
    assert [at(here, t) for t in (session.expires_at, session.authenticated_at, session.issued_at)] == [
        24 * HOUR,
        -5 * HOUR,
        -5 * HOUR,
    ]


@pytest.mark.parametrize("faster", [False, True])
def test_an_extension_that_comes_too_early_is_a_success_without_effect(faster: bool) -> None:
    """Too early is answered as success: 200 with the session, or 204 with faster_session_extend; only a look tells."""
    options = {"lifespan": 24 * HOUR, "earliest_possible_extend": 2 * HOUR, "faster_session_extend": faster}
    with world(**options) as here:
        alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
        seen = []
        for _ in range(2):
            answer = here.identities.extend_session_with_http_info(alice.id)
            seen.append((answer.status_code, at(here, here.identities.get_session(alice.id).expires_at)))
            here.clock.advance(hours=23)
        status = 204 if faster else 200
        assert seen == [(status, 24 * HOUR), (status, 24 * HOUR)]
        answer = here.identities.extend_session_with_http_info(alice.id)
        assert (answer.status_code, answer.data is None) == (status, faster)


@pytest.mark.parametrize(("end", "returns"), [("over", True), ("revoked", False), ("cleaned", None)])
def test_extending_a_dead_row(here: World, alice: Any, end: str, returns: bool | None) -> None:
    """An expired row comes back to life, a revoked one stays ended, one that was cleaned up is a 404."""
    if end == "revoked":
        here.kratos.revoke(alice.id)
    else:
        here.clock.advance(hours=25)
    if end == "cleaned":
        here.kratos.clean_up()
        with pytest.raises(official.exceptions.NotFoundException):
            here.identities.extend_session(alice.id)
    else:
        assert here.identities.extend_session(alice.id).active is returns


def test_whoever_loses_the_race_gets_a_404(here: World, alice: Any) -> None:
    """On CockroachDB the loser of two extensions is told 404, and the session has been extended by the other."""
    here.clock.advance(hours=5)
    here.kratos.lose_races()
    with pytest.raises(official.exceptions.NotFoundException):
        here.identities.extend_session(alice.id)
    assert at(here, here.identities.get_session(alice.id).expires_at) == 24 * HOUR


@pytest.mark.parametrize(("id", "status"), [("no-uuid", 400), (NOWHERE, 404)])
def test_ids_that_name_nothing(here: World, id: str, status: int) -> None:
    """What is no UUID is a 400, an unknown one a 404, on extend, read and delete."""
    for ask in (here.identities.extend_session, here.identities.get_session, here.identities.disable_session):
        with pytest.raises(official.ApiException) as refused:
            ask(id)
        assert refused.value.status == status


def test_the_public_listener_does_not_extend(here: World, alice: Any) -> None:
    """The admin routes are not on the public listener."""
    path = f"/admin/sessions/{alice.id}/extend"
    assert here.browser.request("PATCH", here.public_url + path).status == 404


def test_the_admin_token() -> None:
    """With a token the admin listener answers nobody without it."""
    with world(admin_token="ory_pat_right") as here:
        alice = here.kratos.begin_session(here.kratos.add_identity("alice", "x"))
        assert here.identities.get_session(alice.id).id == alice.id
        assert here.browser.request("GET", f"{here.admin_url}/admin/sessions/{alice.id}").status == 401


# --- ends ----------------------------------------------------------------------------------------------------------


def test_a_revoked_row_is_kept(here: World, alice: Any) -> None:
    """After a deletion the row says that it is not active; deleting it again is no error."""
    for _ in range(2):
        here.identities.disable_session(alice.id)
    assert here.identities.get_session(alice.id).active is False


def test_only_with_its_identity_does_a_session_look_disabled(here: World, alice: Any) -> None:
    """Without expand=identity the admin listener calls the session of a disabled person active."""
    here.kratos.disable(alice.identity)
    looks = [here.identities.get_session(alice.id, expand=expand).active for expand in (None, ["identity"])]
    assert looks == [True, False]


def test_all_sessions_of_an_identity(here: World, alice: Any) -> None:
    """They are listed, and deleted with their rows; a second time there is nothing to delete."""
    other = here.kratos.begin_session(alice.identity)
    here.kratos.revoke(other.id)
    listed = [here.identities.list_identity_sessions(alice.identity, active=only) for only in (None, True, False)]
    assert [{session.id for session in found} for found in listed] == [{alice.id, other.id}, {alice.id}, {other.id}]
    here.identities.delete_identity_sessions(alice.identity)
    with pytest.raises(official.exceptions.NotFoundException):
        here.identities.get_session(alice.id)
    with pytest.raises(official.exceptions.NotFoundException):
        here.identities.delete_identity_sessions(alice.identity)


def test_ones_own_other_sessions(here: World, alice: Any) -> None:
    """A holder may end their other sessions, one or all, but not the one they hold."""
    others = [here.kratos.begin_session(alice.identity) for _ in range(3)]
    with pytest.raises(official.exceptions.BadRequestException):
        here.frontend.disable_my_session(alice.id, x_session_token=alice.token)
    here.frontend.disable_my_session(others[0].id, x_session_token=alice.token)
    here.frontend.disable_my_session(NOWHERE, x_session_token=alice.token)
    assert {session.id for session in here.frontend.list_my_sessions(x_session_token=alice.token)} == {
        other.id for other in others[1:]
    }
    assert here.frontend.disable_my_other_sessions(x_session_token=alice.token).count == 2


def test_a_browser_logs_out_in_two_steps(here: World, alice: Any) -> None:
    """The URL of the second step is bound to the session by its token; the cookie goes with it."""
    flow = here.frontend.create_browser_logout_flow(cookie=alice.cookie, return_to="https://app.example/in/bye")
    wrong = here.get(
        flow.logout_url.replace(flow.logout_token, "other"), cookie=alice.cookie, accept="application/json"
    )
    bare = here.get("/self-service/logout", cookie=alice.cookie, accept="application/json")
    assert (wrong.status, bare.status) == (403, 400)
    done = here.get(flow.logout_url, cookie=alice.cookie)
    assert (done.status, done.headers["Location"]) == (303, "https://app.example/in/bye")
    assert done.headers["Set-Cookie"].startswith("ory_kratos_session=; Path=/; ")
    again = here.get(flow.logout_url, cookie=alice.cookie, accept="application/json")
    assert (again.status, again.json()["error"]["id"]) == (401, "session_inactive")


def test_a_program_logs_out_by_token(here: World, alice: Any) -> None:
    """A second time is no error; an unknown token is a 403."""
    for _ in range(2):
        here.frontend.perform_native_logout(official.PerformNativeLogoutBody(session_token=alice.token))
    assert here.kratos.session(alice.id)["active"] is False
    with pytest.raises(official.exceptions.ForbiddenException):
        here.frontend.perform_native_logout(official.PerformNativeLogoutBody(session_token="ory_st_unknown"))


def test_who_was_disabled_may_still_log_out(here: World, alice: Any) -> None:
    """Logout does not look whether the person was disabled."""
    here.kratos.disable(alice.identity)
    assert here.frontend.create_browser_logout_flow(cookie=alice.cookie).logout_token


def test_logout_without_a_session(here: World) -> None:
    """The first step of a logout needs a session."""
    with pytest.raises(official.exceptions.UnauthorizedException):
        here.frontend.create_browser_logout_flow()
