"""Auth0 as a preset: its logout lists, its Sessions API, its limits; the stand-in judged by Auth0's own client."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx  # what auth0-python stands on
import httpx2
import pytest
from auth0.management.client import Auth0
from auth0.management.errors import NotFoundError, UnauthorizedError

from session_middleware import SessionError, Settings, SettingsError
from session_middleware.__main__ import main
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware
from session_middleware.authorities.auth0 import Auth0Authority, Management
from session_middleware.authorities.base import (
    NOTHING_SHOWN,
    Alive,
    Attached,
    Authority,
    Ends,
    Lists,
    SignsOut,
    Tokens,
    Vouch,
)
from session_middleware.authorities.calls import ProviderFault
from session_middleware.authorities.routes import Serves
from session_middleware.core.record import SessionRecord
from session_middleware.runtime import ThreadRuntime, run_sync
from session_middleware.sessions import Sessions
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import AuthorityContract, FakeClock
from session_middleware.testing.authority_contract import attach
from session_middleware.testing.browser import Answer as Response
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stage import KEY
from session_middleware.testing.stand_ins import served as on_loopback
from session_middleware.testing.stand_ins._faults import Answer
from session_middleware.testing.stand_ins.auth0 import Auth0StandIn
from tests.authorities.oidc_people import MODES, Person
from tests.authorities.oidc_town import ORIGIN, SECRET, Auth0Town, town_of

OPERATOR = Management("operator", "secret of the operator", verify_interval=60)


@pytest.fixture(params=MODES)
def town(request: pytest.FixtureRequest) -> Iterator[Auth0Town]:
    """A tenant, an application, and people."""
    with town_of(request.param, Auth0Town, tenant_logout_urls=[f"{ORIGIN}/bye"]) as town:
        town.provider.management_clients["operator"] = "secret of the operator"
        yield town


def asked_of(answer: Response) -> dict[str, str]:
    """The parameters of a redirect to the tenant."""
    query = urlsplit(answer.header("Location") or "").query
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}


def sign_out(person: Person, **fields: str) -> Response:
    """Press the button "Sign out"."""
    return person.app.submit("/session/logout", urlencode(fields).encode())


# --- the contract --------------------------------------------------------------------------------------------------------


class TestContract(AuthorityContract):
    """With credentials for the Sessions API it vouches for what lives there."""

    @pytest.fixture
    def tenant(self) -> Iterator[Auth0StandIn]:
        tenant = Auth0StandIn(clock=FakeClock())
        tenant.management_clients["operator"] = "secret of the operator"
        with on_loopback(tenant) as url:
            tenant.base_url = url
            yield tenant

    def _authority(self, tenant: Auth0StandIn) -> Auth0Authority:
        client = httpx2.AsyncClient(limits=httpx2.Limits(max_keepalive_connections=0))
        return Auth0Authority(tenant.base_url, "shop", "a secret", app_url=ORIGIN, management=OPERATOR, client=client)

    @pytest.fixture
    def authority(self, tenant: Auth0StandIn) -> Authority:
        return self._authority(tenant)

    @pytest.fixture
    def alive(self, tenant: Auth0StandIn, authority: Authority) -> SessionRecord:
        session, _ = tenant.world.sign_in("auth0|alice", None)
        found = reference_record(0).evolve(subject="auth0|alice", authority=authority.name)
        return found.evolve(provider_session=session.sid)

    @pytest.fixture
    def gone(self, alive: SessionRecord) -> SessionRecord:
        return alive.evolve(provider_session="sid-that-is-over")

    @pytest.fixture
    def cut_off(self, tenant: Auth0StandIn) -> Authority:
        authority = self._authority(tenant)
        authority._provider.calls.base_url = "http://127.0.0.1:9"
        return authority


def test_what_it_can_do() -> None:
    """It serves routes, signs out, keeps tokens, ends and lists; without credentials it lists nothing and says why."""
    authority = Auth0Authority("example.eu.auth0.com", "shop", "a secret", app_url=ORIGIN)
    for power in (Serves, SignsOut, Tokens, Ends, Lists):
        assert isinstance(authority, power)
    attach(authority)
    for call in (authority.list("auth0|alice", 0.0), authority.end_all("auth0|alice", 0.0)):
        with pytest.raises(SessionError, match="management"):
            run_sync(call)


# --- signing in and out --------------------------------------------------------------------------------------------------


def test_signing_in(town: Auth0Town) -> None:
    """The issuer ends with a slash, the secret goes in the body, and offline_access asks for no consent."""
    alice = town.person(scope="openid email offline_access")
    asked = parse_qs(urlsplit(alice.to_the_provider("/session/login?screen_hint=signup&organization=org_1")).query)
    assert "prompt" not in asked
    assert (asked["screen_hint"], asked["organization"]) == (["signup"], ["org_1"])
    assert served(alice.sign_in())["subject"] == "alice"


def test_signing_out(town: Auth0Town) -> None:
    """`/v2/logout` with client_id uses the application's list; the session there is over for all applications."""
    alice = town.person()
    served(alice.sign_in())
    answer = sign_out(alice)
    assert (answer.header("Location") or "").startswith(f"{town.issuer}v2/logout?")
    assert asked_of(answer) == {"client_id": "shop", "returnTo": f"{ORIGIN}/session/signed-out"}
    arrival = alice.there.visit(answer.header("Location") or "")
    assert arrival.url == f"{ORIGIN}/session/signed-out"
    assert town.provider.world.sessions == {}
    problem(alice.app.fetch("/me"), None)


def test_the_tenants_list(town: Auth0Town) -> None:
    """Without client_id the tenant's list holds, and only what it names is gone to."""
    settings = {"logout_urls": [f"{ORIGIN}/bye", f"{ORIGIN}/elsewhere"]}
    alice = town.person(settings=settings, tenant_logout=True, federated=True)
    served(alice.sign_in())
    answer = sign_out(alice, return_to=f"{ORIGIN}/bye")
    assert asked_of(answer) == {"returnTo": f"{ORIGIN}/bye", "federated": ""}
    assert alice.there.visit(answer.header("Location") or "").url == f"{ORIGIN}/bye"
    other = asked_of(sign_out(alice, return_to=f"{ORIGIN}/elsewhere"))
    refused = httpx2.get(f"{town.issuer}v2/logout", params=other)
    assert refused.status_code == 400


def test_the_application_that_asked(town: Auth0Town) -> None:
    """A return URL of our list for one application goes with its client id, so that Auth0 looks into the same list."""
    url = "https://wiki.example/bye"
    town.provider.add_client("wiki", "w", [], [url])
    alice = town.person(settings={"logout_urls_by_client": {"wiki": [url]}})
    served(alice.sign_in())
    answer = sign_out(alice, return_to=url, client_id="wiki")
    assert asked_of(answer) == {"client_id": "wiki", "returnTo": url}
    assert alice.there.visit(answer.header("Location") or "").url == url


def test_signing_out_by_openid(town: Auth0Town) -> None:
    """With logout="oidc" the hint of the ID token goes along."""
    alice = town.person(logout="oidc", federated=True)
    served(alice.sign_in())
    answer = sign_out(alice)
    asked = asked_of(answer)
    assert urlsplit(answer.header("Location") or "").path == "/oidc/logout"
    assert asked["id_token_hint"].count(".") == 2
    assert asked["federated"] == ""
    assert alice.there.visit(answer.header("Location") or "").url == f"{ORIGIN}/session/signed-out"


def test_being_signed_out(town: Auth0Town) -> None:
    """A logout token as Auth0 writes it ends the session of its `sid`."""
    alice = town.person()
    served(alice.sign_in())
    (sid,) = town.provider.world.sessions
    token = town.provider.logout_tokens(sid)["shop"]
    assert town.tell(alice.app.driver, token).status == 200
    problem(alice.app.fetch("/me"), "signed_out")


# --- the Sessions API ----------------------------------------------------------------------------------------------------


def test_a_session_that_is_gone_there(town: Auth0Town) -> None:
    """Once an interval Auth0 is asked; a session that it does not know any more is over here too."""
    alice = town.person(management=OPERATOR)
    served(alice.sign_in())
    town.provider.calls.clear()
    for _ in range(30):
        town.stage.clock.advance(10)
        served(alice.app.navigate("/me"))
    asked = [call for call in town.provider.calls if call.startswith("GET /api/v2/sessions/")]
    assert 4 <= len(asked) <= 6
    assert set(town.provider.calls) == set(asked)  # our own token serves on
    (sid,) = town.provider.world.sessions
    town.provider.logout_tokens(sid)
    town.stage.clock.advance(60)
    problem(alice.app.fetch("/me"), "signed_out")


@pytest.mark.parametrize(("more", "most"), [({}, 0), ({"management": OPERATOR}, 300 // 60)], ids=["silent", "asked"])
def test_a_thousand_requests_in_five_minutes(town: Auth0Town, more: dict[str, Any], most: int) -> None:
    """1,000 requests of one session in 300 s cost no call where nobody is to be asked, else one each interval (L8)."""
    alice = town.person(**more)
    served(alice.sign_in())
    town.provider.calls.clear()
    for _ in range(1_000):
        assert alice.app.navigate("/me").status == 200
        town.stage.clock.advance(0.3)
    asked = [call for call in town.provider.calls if call != "POST /oauth/token"]
    assert len(asked) <= most
    assert len(town.provider.calls) <= len(asked) + 1


def test_fifty_requests_at_once() -> None:
    """When an answer is due again, one call gets it for all that wait, on a loop and in threads."""
    with town_of("asgi_mode", Auth0Town) as town:
        town.provider.management_clients["operator"] = "secret of the operator"
        session, _ = town.provider.world.sign_in("auth0|alice", None)
        client = httpx2.AsyncClient(limits=httpx2.Limits(max_keepalive_connections=0))
        on_loop = town.authority(management=OPERATOR, client=client)
        attach(on_loop)
        blocking = town.authority(management=OPERATOR, client=httpx2.Client())
        blocking.attach(Attached(ThreadRuntime(), town.stage.clock, lambda purpose: (b"k" * 32,)))
        now = town.stage.clock()
        record = reference_record(0).evolve(authority=on_loop.name, provider_session=session.sid)

        async def together() -> list[Vouch]:
            return await asyncio.gather(*(on_loop.verify(record, NOTHING_SHOWN, now) for _ in range(50)))

        town.provider.faults.set(seconds=0.2, only="/api/v2")
        assert set(asyncio.run(together())) == {Vouch(Alive.ALIVE)}
        with ThreadPoolExecutor(50) as pool:
            found = pool.map(lambda _: run_sync(blocking.verify(record, NOTHING_SHOWN, now)), range(50))
            assert set(found) == {Vouch(Alive.ALIVE)}
        blocking._provider.calls._connections.own.close()  # type: ignore[union-attr]
        assert town.provider.calls.count(f"GET /api/v2/sessions/{session.sid}") == 2
        assert town.provider.calls.count("POST /oauth/token") == 2


@pytest.mark.parametrize(
    "fault",
    [
        Answer(401, b'{"statusCode": 401}'),
        Answer(403, b'{"statusCode": 403}'),
        Answer(429, b"{}", (("Retry-After", "1"),)),
        Answer(500),
        Answer(200, b"<html>"),
        Answer(200, b'{"id": "another"}'),
        Answer(404, b"<html>no such site</html>"),
        Answer(404, b'{"error": "not_found"}'),
    ],
    ids=["401", "403", "429", "500", "garbage", "another session", "404 of a proxy", "404 of another kind"],
)
def test_an_api_with_faults(town: Auth0Town, fault: Answer) -> None:
    """What is no 404 about this very session ends nothing (L17)."""
    alice = town.person(management=OPERATOR)
    served(alice.sign_in())
    town.stage.clock.advance(61)
    town.provider.faults.set(fault, only="/api/v2")
    assert alice.app.fetch("/me").status == 503
    town.provider.faults.clear()
    town.stage.clock.advance(5)
    served(alice.app.fetch("/me"))


def test_a_token_of_ours_that_is_over(town: Auth0Town) -> None:
    """A token for the API that is refused is fetched anew, once."""
    alice = town.person(management=OPERATOR)
    served(alice.sign_in())
    town.stage.clock.advance(61)
    served(alice.app.fetch("/me"))
    town.provider.forget_management_tokens()
    town.stage.clock.advance(61)
    town.provider.calls.clear()
    served(alice.app.fetch("/me"))
    assert town.provider.calls.count("POST /oauth/token") == 1


def test_a_session_that_is_revoked_here(town: Auth0Town) -> None:
    """Revocation here revokes it there, with its refresh tokens; a logout or a deadline does not."""
    alice = town.person(management=Management("operator", "secret of the operator"), scope="openid offline_access")
    other = town.person(at=alice.app.driver)
    served(alice.sign_in())
    (sid,) = town.provider.world.sessions
    served(other.sign_in())
    session = served(alice.app.fetch("/me"))["id"]
    assert other.app.fetch(f"/session/list/{session}", "DELETE").status == 204
    assert town.provider.revoked == [sid]
    assert len(town.provider.world.refresh_tokens) == 1
    assert sign_out(other).status == 303
    assert town.provider.revoked == [sid]


def outside(town: Auth0Town, **more: Any) -> Sessions:
    """Return what an operator's task does things with; it knows nobody's cookies."""
    blocking = {"client": httpx2.Client(limits=httpx2.Limits(max_keepalive_connections=0)), **more}
    return Sessions(
        Settings(secret_keys=[KEY]), town.stage.store, authority=town.authority(**blocking), clock=town.stage.clock
    )


def test_an_operator_ends_every_session_of_a_user(town: Auth0Town) -> None:
    """`Sessions` lists what Auth0 knows, ends one of it by its id there, and all of it beside all of ours."""
    alice, other = town.person(), town.person("bob")
    served(alice.sign_in())
    served(other.sign_in())
    (sid,) = [session.sid for session in town.provider.world.sessions.values() if session.subject == "alice"]
    unseen = [town.provider.world.sign_in("alice", None)[0].sid for _ in range(2)]
    sessions = outside(town, management=OPERATOR)
    assert {each.id for each in sessions.list_at_provider("alice")} == {sid, *unseen}
    assert sessions.end_at_provider(unseen[0]) == 0
    assert town.provider.revoked == [unseen[0]]
    assert sessions.end_all("alice") == 1
    assert {session.subject for session in town.provider.world.sessions.values()} == {"bob"}
    problem(alice.app.fetch("/me"), "signed_out")
    served(other.app.fetch("/me"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "lacks the rights"),
        ({"management": OPERATOR, "subject": lambda claims: f"user of {claims['sub']}"}, "lacks the rights"),
    ],
    ids=["no credentials", "user ids of our own"],
)
def test_where_auth0_cannot_be_asked_about_users(town: Auth0Town, more: dict[str, Any], message: str) -> None:
    """Without credentials, or where the app has user ids of its own, ours end alone and a list is refused."""
    sessions = outside(town, **more)
    assert sessions.end_all("alice") == 0
    with pytest.raises(SessionError, match=message):
        sessions.list_at_provider("alice")
    assert not [call for call in town.provider.calls if "/api/v2" in call]


def test_ends_that_stay_here(town: Auth0Town) -> None:
    """With `revoke=False` nothing is ended at Auth0, though its sessions may be listed."""
    session, _ = town.provider.world.sign_in("alice", None)
    sessions = outside(town, management=Management("operator", "secret of the operator", revoke=False))
    assert [each.id for each in sessions.list_at_provider("alice")] == [session.sid]
    assert sessions.end_all("alice") == 0
    assert [each.id for each in sessions.list_at_provider("alice")] == [session.sid]


def test_every_session_of_a_user(desk: tuple[Auth0Town, Auth0Authority]) -> None:
    """What Auth0 knows is listed page by page, and ended all at once."""
    town, authority = desk
    for _ in range(120):
        town.provider.world.sign_in("auth0|alice b", None)
    town.provider.world.sign_in("auth0|bob", None)
    now = town.stage.clock()
    found = run_sync(authority.list("auth0|alice b", now))
    assert len({session.id for session in found}) == 120
    assert {session.proven_at for session in found} == {now}
    assert {session.ceiling for session in found} == {now + 86_400}
    assert {session.authority for session in found} == {authority.name}
    run_sync(authority.end_all("auth0|alice b", now))
    assert run_sync(authority.list("auth0|alice b", now)) == []
    assert len(town.provider.world.sessions) == 1


@pytest.fixture
def desk() -> Iterator[tuple[Auth0Town, Auth0Authority]]:
    """The authority by itself, called in place."""
    with town_of("wsgi_mode", Auth0Town) as town:
        town.provider.management_clients["operator"] = "secret of the operator"
        authority = town.authority(management=OPERATOR)
        authority.attach(Attached(ThreadRuntime(), town.stage.clock, lambda purpose: (b"k" * 32,)))
        yield town, authority


@pytest.mark.parametrize(
    "sessions",
    ['"none"', "null", "{}"],
)
def test_a_list_that_is_none(desk: tuple[Auth0Town, Auth0Authority], sessions: str) -> None:
    """An answer without a list of sessions is garbage, not "no sessions"."""
    town, authority = desk
    town.provider.faults.set(Answer(200, f'{{"sessions": {sessions}}}'.encode()), only="/api/v2")
    with pytest.raises(ProviderFault) as caught:
        run_sync(authority.list("auth0|alice", 0.0))
    assert caught.value.kind == "garbage"


def test_dates_that_are_none(desk: tuple[Auth0Town, Auth0Authority]) -> None:
    """Dates may be null or objects there: a session without a beginning is passed over, one without an end has none."""
    town, authority = desk
    listed = [
        {"id": "a", "authenticated_at": None, "created_at": "2027-01-15T08:00:00.000Z", "expires_at": None},
        {"id": "b", "authenticated_at": {}, "created_at": "soon"},
        {"id": 7, "authenticated_at": "2027-01-15T08:00:00.000Z"},
        "c",
    ]
    town.provider.faults.set(Answer(200, json.dumps({"sessions": listed}).encode()), only="/api/v2")
    (found,) = run_sync(authority.list("auth0|alice", 0.0))
    assert (found.id, found.proven_at, found.ceiling) == ("a", 1_800_000_000, None)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(403, b'{"error": "access_denied"}'), "credentials"),
        (Answer(200, b'{"access_token": "a"}'), "garbage"),
        (Answer(200, b'{"access_token": 7, "expires_in": 60}'), "garbage"),
    ],
)
def test_a_token_of_ours_that_is_refused(desk: tuple[Auth0Town, Auth0Authority], answer: Answer, kind: str) -> None:
    """Credentials for the API that Auth0 refuses are the operator's to mend."""
    town, authority = desk
    town.provider.faults.set(answer, only="/oauth/token")
    with pytest.raises(ProviderFault) as caught:
        run_sync(authority.end_all("auth0|alice", 0.0))
    assert caught.value.kind == kind


def test_an_end_that_is_not_confirmed(desk: tuple[Auth0Town, Auth0Authority]) -> None:
    """An answer that means nothing is no end: it is told again."""
    town, authority = desk
    run_sync(authority.list("auth0|alice", 0.0))
    town.provider.faults.set(Answer(302), only="/api/v2")
    with pytest.raises(ProviderFault):
        run_sync(authority.end_all("auth0|alice", 0.0))


def test_a_session_of_another_kind(desk: tuple[Auth0Town, Auth0Authority]) -> None:
    """Sessions that the app's own login made, or another authority, are none of Auth0's business."""
    town, authority = desk
    town.provider.calls.clear()
    for record in (reference_record(0), reference_record(0).evolve(provider_session="x", authority="another")):
        assert run_sync(authority.verify(record, NOTHING_SHOWN, 0.0)).alive is Alive.ALIVE
        assert run_sync(authority.end(record, NOTHING_SHOWN, "logout", 0.0)) is None
    assert run_sync(authority.end(reference_record(0), NOTHING_SHOWN, "revoked", 0.0)) is None
    assert town.provider.calls == []


# --- the stand-in, by Auth0's own client ---------------------------------------------------------------------------------


def test_auth0s_client_reads_the_stand_in() -> None:
    """The low-level client of auth0-python takes its answers for Auth0's."""
    tenant = Auth0StandIn()
    tenant.management_clients["operator"] = "s"
    with on_loopback(tenant) as url, httpx2.Client() as http, httpx.Client() as line:
        tenant.base_url = url
        session, _ = tenant.world.sign_in("auth0|alice", None)
        grant = {"grant_type": "client_credentials", "client_id": "operator", "client_secret": "s"}
        said = http.post(f"{url}/oauth/token", data={**grant, "audience": f"{url}/api/v2/"}).json()
        client: Any = Auth0(base_url=f"{url}/api/v2", token=said["access_token"], httpx_client=line)
        found = client.sessions.get(session.sid)
        assert (found.id, found.user_id) == (session.sid, "auth0|alice")
        assert isinstance(found.authenticated_at, datetime)
        assert found.authentication.methods[0].name == "pwd"
        listed = list(client.users.sessions.list("auth0|alice"))
        assert [one.id for one in listed] == [session.sid]
        client.sessions.revoke(session.sid)
        with pytest.raises(NotFoundError):
            client.sessions.get(session.sid)
        client.users.sessions.delete("auth0|alice")
        stranger: Any = Auth0(base_url=f"{url}/api/v2", token="none", httpx_client=line)
        with pytest.raises(UnauthorizedError):
            stranger.sessions.get(session.sid)


# --- settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "age", "plan", "warned"),
    [
        (3, 30, "self-service", []),
        (4, 30, "self-service", ["inactivity_timeout"]),
        (3, 31, "self-service", ["absolute_lifetime"]),
        (None, 31, "self-service", ["inactivity_timeout", "absolute_lifetime"]),
        (100, 365, "enterprise", []),
        (101, 366, "enterprise", ["inactivity_timeout", "absolute_lifetime"]),
    ],
)
def test_the_limits_of_a_plan(days: int | None, age: int, plan: Any, warned: list[str]) -> None:
    """Limits of ours beyond what an Auth0 session can reach are worth a warning."""
    settings = Settings(
        secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"],
        inactivity_timeout=None if days is None else days * 86_400,
        absolute_lifetime=age * 86_400,
    )
    authority = Auth0Authority("example.eu.auth0.com", "shop", "a secret", app_url=ORIGIN, plan=plan)
    assert [line.partition(" ")[0] for line in authority.advice(settings)] == warned


def test_check_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`session-middleware check` of an app prints what its authority has to say."""
    settings = Settings(
        secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"], inactivity_timeout=None, absolute_lifetime=86_400
    )
    authority = Auth0Authority("example.eu.auth0.com", "shop", "a secret", app_url=ORIGIN)
    wrapped = SessionLifetimeMiddleware(
        lambda environ, start_response: [], settings=settings, store=MemoryStore(), authority=authority
    )
    module = ModuleType("an_app_at_auth0")
    module.__dict__["app"] = wrapped
    monkeypatch.setitem(sys.modules, "an_app_at_auth0", module)
    assert main(["check", "--settings", "an_app_at_auth0:app"]) == 0
    assert "warning: inactivity_timeout is beyond 3 d" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("domain", {"domain": ""}),
        ("domain", {"domain": "x?y"}),
        ("logout", {"logout": "v3"}),
        ("plan", {"plan": "free"}),
        ("tenant_logout", {"tenant_logout": True, "logout": "oidc"}),
        ("app_url", {"app_url": "http://shop.example"}),
        ("base_url", {"domain": "http://example.eu.auth0.com"}),
    ],
)
def test_settings_that_make_no_sense(field: str, change: dict[str, Any]) -> None:
    """A wrong value is named, with what to write instead."""
    options = {"domain": "example.eu.auth0.com", "client_id": "shop", "client_secret": SECRET, "app_url": ORIGIN}
    with pytest.raises(SettingsError) as caught:
        Auth0Authority(**{**options, **change})
    assert caught.value.field == field
    assert SECRET not in str(caught.value)


def test_an_interval_that_is_none() -> None:
    """Asking Auth0 at every request is no interval."""
    with pytest.raises(SettingsError):
        Management("operator", "s", verify_interval=0)
    assert "secret of" not in repr(OPERATOR)
