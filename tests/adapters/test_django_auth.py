"""contrib.auth under our middleware: its login and logout are ours, and it never knows more than we do (L23)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from tests.modes.django_settings import configure

configure()

from asgiref.sync import async_to_sync  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, login  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.auth.signals import user_logged_in  # noqa: E402
from django.contrib.sessions.models import Session as DjangoSession  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.test import AsyncClient, Client  # noqa: E402
from django.test.utils import override_settings  # noqa: E402
from django.urls import path  # noqa: E402

from session_middleware import SessionError, session_exempt  # noqa: E402
from session_middleware.adapters._django_user import LINK  # noqa: E402
from session_middleware.adapters._emptied import EMPTIED  # noqa: E402
from session_middleware.adapters.django import asession_from, asessions, session_from, sessions  # noqa: E402
from tests.adapters.bridged import LOGIN, TOKEN, Bridged, database  # noqa: E402, F401
from tests.adapters.django_auth_urls import meanwhile  # noqa: E402


class TestLogin(Bridged):
    """What contrib.auth's own views do."""

    def test_its_login_begins_a_session_of_ours(self) -> None:
        """LoginView, unchanged, signs in with both; the subject is the user's primary key."""
        client = self.sign_in()
        assert client.get("/who").json() == {"user": "alice", "subject": str(self.alice.pk)}
        assert self.events.count("session_created") == 1

    def test_the_cookie_is_the_line_of_the_core(self) -> None:
        """The attributes that Django's cookies have no words for arrive as they were written."""
        answer = Client().post(LOGIN, {"username": "alice", "password": "wonderland"})
        line = answer.cookies[TOKEN].output(header="")
        assert line.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
        assert answer.cookies[TOKEN]["samesite"] == "Lax"

    def test_its_logout_ends_ours(self) -> None:
        """A copy of every cookie from before the logout is worth nothing after it."""
        client = self.sign_in()
        thief = Client()
        thief.cookies = client.cookies.copy()
        assert self.user(thief) == "alice"
        client.post("/accounts/logout/")
        assert self.user(thief) == ""
        assert self.user(client) == ""
        assert sessions().list(str(self.alice.pk)) == []

    def test_another_user_logs_in_over_the_first(self) -> None:
        """The first session is over, and nobody is both."""
        client = self.sign_in()
        client.post(LOGIN, {"username": "bob", "password": "builder"})
        assert client.get("/who").json() == {"user": "bob", "subject": str(self.bob.pk)}
        assert sessions().list(str(self.alice.pk)) == []

    def test_silence_ends_both_for_good(self) -> None:
        """After the inactivity timeout `@login_required`, class-based pages and the admin send people to log in."""
        client = self.sign_in()
        assert [client.get(path).status_code for path in ("/private", "/page", "/admin/")] == [200, 200, 200]
        self.clock.advance(minutes=16)
        answers = [client.get(path) for path in ("/private", "/page", "/admin/")]
        assert [(a.status_code, a.headers["Location"].partition("?")[0]) for a in answers] == [
            (302, LOGIN),
            (302, LOGIN),
            (302, "/admin/login/"),
        ]
        (kept,) = DjangoSession.objects.all()  # proven over, so Django's session is flushed (L26), which is noted
        assert list(kept.get_decoded()) == [EMPTIED]

    def test_an_end_gives_no_session_of_djangos_to_a_browser_without_one(self) -> None:
        """Whoever shows the dead cookie of ours alone gets nothing to keep (L26)."""
        client = self.sign_in()
        self.clock.advance(minutes=16)
        del client.cookies["sessionid"]
        assert client.get("/private").cookies.keys() == set()
        assert DjangoSession.objects.count() == 1, "that which the other browser could still show"

    def test_our_own_verbs_empty_djangos_session(self) -> None:
        """A logout by ours, and a login of another subject, leave nothing of who was there, as Django's do (L26)."""
        for verb in ("out", "in"):
            client = self.sign_in()
            assert client.get("/note").json()["notes"] == 1
            assert client.post(f"/ours-{verb}").status_code == 200
            assert client.get("/note").json()["notes"] == 1, verb

    async def test_our_own_verbs_empty_djangos_session_on_the_loop(self) -> None:
        """The same where it is awaited."""
        for verb in ("out", "in"):
            client = AsyncClient()
            await client.post("/alogin", {"username": "alice", "password": "wonderland"})
            assert (await client.get("/anote")).json()["notes"] == 1
            assert (await client.post(f"/aours-{verb}")).status_code == 200
            assert (await client.get("/anote")).json()["notes"] == 1, verb

    def test_what_the_project_keeps_after_an_end_stays(self) -> None:
        """Our dead cookie stays until the next login, for which a project keeps something, a second factor's step say."""
        client = self.sign_in()
        for page in ("/note", "/anote"):
            client.get("/note")
            self.clock.advance(minutes=16)
            assert [client.get(page).json()["notes"] for _ in range(3)] == [1, 2, 3]
            client.post(LOGIN, {"username": "alice", "password": "wonderland"})
            assert client.get("/note").json()["notes"] == 4, "the login of the same browser keeps it, as Django does"
            self.clock.advance(minutes=16)
            assert client.get(page).json()["notes"] == 1, "another end"
            client.post(LOGIN, {"username": "alice", "password": "wonderland"})

    def test_who_has_to_prove_it_again_is_sent_to_a_page_of_its_own(self) -> None:
        """`fresh_login_url`, a path or a route's name; by default the login page (L15)."""
        for given, page in ((None, LOGIN), ("/sure", "/sure"), ("step-up", "/step-up")):
            with self.settings(SESSION_LIFETIME={**settings.SESSION_LIFETIME, "fresh_login_url": given}):
                client = self.sign_in()
                assert client.get("/fresh").status_code == 200
                self.clock.advance(minutes=6)
                answer = client.get("/fresh", headers={"accept": "text/html"})
                assert answer.headers["Location"] == f"{page}?reason=fresh_login&next=/fresh"
                client.get("/step-up")
                assert client.get("/fresh").status_code == 200

    def test_a_login_in_two_requests_finds_what_it_kept(self) -> None:
        """After an end too: of an exempt page that nobody judges, and of pages that clear or flush the session first (L26)."""
        for ending in ("/private", "/session/status"):
            for start in ("/start-exempt", "/start-clear", "/start-flush"):
                client = self.sign_in()
                self.clock.advance(minutes=16)
                client.get(ending)
                for _ in range(3):
                    client.get(start)
                    assert client.get("/started").json() == {"state": "s"}, (ending, start)

    async def test_a_login_in_two_requests_finds_what_it_kept_on_the_loop(self) -> None:
        """The same under ASGI."""
        for start in ("/start-exempt", "/start-clear", "/start-flush"):
            client = AsyncClient()
            await client.post("/alogin", {"username": "alice", "password": "wonderland"})
            self.clock.advance(minutes=16)
            await client.get("/private")
            for _ in range(3):
                await client.get(start)
                assert (await client.get("/started")).json() == {"state": "s"}, start

    def test_an_exempt_page_loses_what_it_kept_once_at_most(self) -> None:
        """Where it is the first that is asked for after an end, the session is emptied at the request after it (L26)."""
        client = self.sign_in()
        self.clock.advance(minutes=16)
        states = []
        for _ in range(3):
            client.get("/start-exempt")
            states.append(client.get("/started").json()["state"])
        assert states == [None, "s", "s"]

    def test_a_logout_after_an_end_leaves_no_session_of_djangos(self) -> None:
        """Our dead cookie goes, so nothing is noted for it (L26)."""
        client = self.sign_in()
        self.clock.advance(minutes=16)
        client.post("/ours-out")
        assert DjangoSession.objects.count() == 0

    async def test_what_the_project_keeps_after_an_end_stays_on_the_loop(self) -> None:
        """The same under ASGI, where Django's session is awaited."""
        client = AsyncClient()
        await client.post("/alogin", {"username": "alice", "password": "wonderland"})
        self.clock.advance(minutes=16)
        assert [(await client.get("/anote")).json()["notes"] for _ in range(3)] == [1, 2, 3]

    def test_a_view_that_logs_in_and_raises_signs_nobody_in(self) -> None:
        """What a failed response promised does not stand (L25)."""
        with self.settings(ROOT_URLCONF=__name__):
            client = Client(raise_request_exception=False)
            assert client.post("/login-then-fail").status_code == 500
        assert sessions().list(str(self.alice.pk)) == []

    def test_a_view_whose_framework_answers_what_it_raised_signs_nobody_in(self) -> None:
        """REST framework answers what its views raise, and says so on the response; an error page says it too (L25)."""
        with self.settings(ROOT_URLCONF=__name__):
            for query, status in [("raised", 403), ("error", 503)]:
                answer = Client().post(f"/login-then-answer?{query}")
                assert (answer.status_code, TOKEN in answer.cookies) == (status, False)
                assert sessions().list(str(self.alice.pk)) == []
            assert TOKEN in Client().post("/login-then-answer").cookies

    def test_a_login_again_in_a_view_that_fails_leaves_the_user_signed_in(self) -> None:
        """The session that came with the request was not replaced, and Django's belongs to it as before (L25)."""
        with self.settings(ROOT_URLCONF=__name__):
            for query in ("raised", "error"):
                client = Client()
                client.post("/login-then-answer")
                client.post(f"/login-then-answer?{query}")
                assert client.get("/seen").json()["user"] == "alice", query
                assert len(sessions().list(str(self.alice.pk))) == 1
                client.post(f"/login-then-answer?{query}&bob")
                assert client.get("/seen").json()["user"] == "", "Django has emptied its session for the other"
                sessions().end_all(str(self.alice.pk))

    async def test_a_login_again_in_a_view_that_fails_leaves_the_user_signed_in_on_the_loop(self) -> None:
        """The same under ASGI, where Django's session is awaited."""
        with self.settings(ROOT_URLCONF=__name__):
            client = AsyncClient()
            await client.post("/login-then-answer")
            await client.post("/login-then-answer?raised")
            assert (await client.get("/aseen")).json()["user"] == "alice"

    def test_an_api_token_is_not_a_login(self) -> None:
        """A login signal without a session behind it, as token libraries send it, begins none of ours."""
        with self.settings(ROOT_URLCONF=__name__):
            answer = Client().post("/token-login")
        assert (answer.status_code, answer.cookies.keys()) == (200, {}.keys())
        assert self.store.calls["create"] == 0

    def test_another_sites_login_leaves_nobody_signed_in(self) -> None:
        """A login that another site submits is refused, and Django's half of it does not stand (L20)."""
        client = Client(headers={"sec-fetch-site": "cross-site"})
        assert client.post(LOGIN, {"username": "alice", "password": "wonderland"}).status_code == 403
        assert self.user(client) == ""
        assert not any("_auth_user_id" in s.get_decoded() for s in DjangoSession.objects.all())


class TestNeverMoreThanWe(Bridged):
    """L23, as attacks."""

    def test_without_our_cookie(self) -> None:
        """Django's own session alone is nobody, wherever one looks, and on exempt routes too."""
        client = self.sign_in()
        del client.cookies[TOKEN]
        assert [client.get(path).json()["user"] for path in ("/who", "/user", "/awho", "/exempt-user")] == [""] * 4
        assert client.get("/admin/").status_code == 302
        assert DjangoSession.objects.count() == 1  # nothing was proven, so nothing is flushed

    def test_with_another_users_session_of_ours(self) -> None:
        """Bob's session of ours beside alice's of Django makes neither of them in Django."""
        alice, bob = self.sign_in(), self.sign_in("bob", "builder")
        alice.cookies[TOKEN] = bob.cookies[TOKEN].value
        del alice.cookies[f"{TOKEN}_jwt"]
        assert self.user(alice) == ""

    def test_with_another_session_of_the_same_user(self) -> None:
        """The link names one session; another one of the same user does not open it."""
        first, second = self.sign_in(), self.sign_in()
        first.cookies[TOKEN] = second.cookies[TOKEN].value
        del first.cookies[f"{TOKEN}_jwt"]
        assert self.user(first) == ""

    def test_with_only_our_cookie(self) -> None:
        """Without Django's session there is no user of Django's."""
        client = self.sign_in()
        del client.cookies["sessionid"]
        assert self.user(client) == ""

    def test_with_another_user_in_djangos_session(self) -> None:
        """Somebody else's id put there by hand, as tools that switch users do, signs neither of them in."""
        client = self.sign_in()
        session = client.session
        session[SESSION_KEY], session[HASH_SESSION_KEY] = str(self.bob.pk), self.bob.get_session_auth_hash()
        session.save()
        assert self.user(client) == ""
        assert client.get("/awho").json()["user"] == ""

    def test_a_session_that_was_never_linked(self) -> None:
        """A session from before the installation is not accepted just like that."""
        client = self.unlinked()
        assert self.user(client) == ""

    def unlinked(self, user: User | None = None) -> Client:
        user = user or self.alice
        client = Client()
        client.force_login(user)
        session = client.session
        for key in [key for key in list(session.keys()) if key.startswith("_session_lifetime")]:
            del session[key]
        session.save()
        client.cookies["sessionid"] = session.session_key  # where it lives in the cookie, that is another now
        User.objects.filter(pk=user.pk).update(last_login=datetime.fromtimestamp(self.clock() - 60, UTC))
        return client

    def test_until_the_day_of_installation_it_is_adopted_once(self) -> None:
        """On that day whoever is signed in stays so; a copy without our cookie does not, nor does anybody later."""
        self.setting(adopt_existing_until="2027-01-15")  # the fake clock's day
        client = self.unlinked()
        copy = Client()
        copy.cookies = client.cookies.copy()
        assert self.user(client) == "alice"
        assert self.user(client) == "alice"
        assert self.user(copy) == ""
        late = self.unlinked()
        self.clock.advance(days=1)
        assert self.user(late) == ""

    def test_parallel_first_requests_get_the_same_session(self) -> None:
        """Both are served, sync and async, and whichever answer the browser keeps, it is signed in: there is one session."""
        self.setting(adopt_existing_until="2027-01-15")
        for member, page in ((self.alice, "/who"), (self.bob, "/awho")):
            client, name = self.unlinked(member), member.get_username()
            beside, inner = self.copy(client), []
            meanwhile.append(
                lambda beside=beside, page=page, inner=inner: inner.append(beside.get(page).json()["user"])
            )
            assert client.get("/slow").json()["user"] == name
            assert inner == [name]
            assert client.cookies[TOKEN].value == beside.cookies[TOKEN].value
            assert self.user(client) == name
            assert len(sessions().list(str(member.pk))) == 1

    def test_a_parallel_first_request_that_comes_too_late(self) -> None:
        """It is nobody's, as a copy is, and takes nothing away from the one that was first."""
        self.setting(adopt_existing_until="2027-01-15")
        client = self.unlinked()
        beside, inner = self.copy(client), []

        def later() -> None:
            self.clock.advance(31)
            inner.append(self.user(beside))

        meanwhile.append(later)
        assert client.get("/slow").json()["user"] == "alice"
        assert inner == [""]
        assert self.user(client) == "alice"

    def test_an_adopted_session_whose_link_was_written_over(self) -> None:
        """A view that began before the adoption and wrote into Django's session takes the link away, and nobody's sign-in."""
        self.setting(adopt_existing_until="2027-01-15")
        client = self.unlinked()
        beside = self.copy(client)
        meanwhile.append(lambda: self.user(beside))
        client.get("/slow-note")
        assert self.user(beside) == "alice"
        assert beside.get("/note").json()["notes"] == 2
        assert beside.get("/awho").json()["user"] == "alice"

    def test_what_was_adopted_and_has_ended_is_not_adopted_again(self) -> None:
        """Also where its link was lost, and however long ago that was (L16)."""
        self.setting(adopt_existing_until="2027-01-31")
        client = self.unlinked()
        copy, without = self.copy(client), client.session
        assert self.user(client) == "alice"
        sessions().end_all(str(self.alice.pk))
        without.save()
        assert self.user(copy) == ""
        self.clock.advance(days=2)
        User.objects.filter(pk=self.alice.pk).update(last_login=datetime.fromtimestamp(self.clock() - 60, UTC))
        assert self.user(copy) == ""

    def copy(self, client: Client) -> Client:
        """Return another client with the same cookies."""
        copy = Client()
        copy.cookies = client.cookies.copy()
        return copy

    def test_who_shows_a_session_of_ours_that_is_over_is_not_adopted(self) -> None:
        """What has ended here is not begun again by what stood beside it, nor by a cookie that nobody has made."""
        self.setting(adopt_existing_until="2027-01-15")
        over = self.sign_in()
        sessions().end_all(str(self.alice.pk))
        for shown in (over.cookies[TOKEN].value, "v1.nobody.0.made"):
            client = self.unlinked()
            client.cookies[TOKEN] = shown
            assert self.user(client) == "", shown

    def test_where_the_session_is_a_cookie_a_copy_is_never_adopted(self) -> None:
        """A signed cookie copied before knows nothing of the link; our store knows whose was adopted, sync and async."""
        with self.settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
            self.setting(adopt_existing_until="2027-01-15")
            for member, path in ((self.alice, "/who"), (self.bob, "/awho")):
                client = self.unlinked(member)
                copy = Client()
                copy.cookies = client.cookies.copy()
                name = member.get_username()
                assert client.get(path).json()["user"] == name
                assert client.get(path).json()["user"] == name
                assert copy.get(path).json()["user"] == ""
                assert len(sessions().list(str(member.pk))) == 1

    def test_a_refused_adoption_may_still_come(self) -> None:
        """Another site's form uses nothing up; an outage is a 503 where a user is needed, and uses nothing up either."""
        with self.settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
            self.setting(adopt_existing_until="2027-01-15", default_policy="optional")
            client = self.unlinked()
            assert client.post("/who", headers={"Sec-Fetch-Site": "cross-site"}).json()["user"] == ""
            assert client.options("/who").json()["user"] == ""
            self.store.go_down()
            assert client.get("/private").status_code == 503
            self.store.come_back()
            assert self.user(client) == "alice"

    def test_an_adopted_session_is_not_fresh(self) -> None:
        """`last_login` may have been at another browser, so nothing says that this one has proved anything lately (L3)."""
        self.setting(adopt_existing_until="2027-01-15")
        client = self.unlinked()
        assert self.user(client) == "alice"
        assert client.get("/fresh").status_code == 401
        client.get("/step-up")
        assert client.get("/fresh").status_code == 200

    def setting(self, **options: Any) -> None:
        given = {"store": self.store, "clock": self.clock, **options}
        override = override_settings(SESSION_LIFETIME=given)
        override.enable()
        self.addCleanup(override.disable)

    def test_an_adopted_login_counts_from_when_it_was(self) -> None:
        """Adopting is no login: whoever signed in longer ago than the absolute lifetime signs in again (L3)."""
        self.setting(adopt_existing_until="2027-01-15")
        client = self.unlinked()
        User.objects.filter(pk=self.alice.pk).update(last_login=datetime.fromtimestamp(self.clock() - 90_000, UTC))
        assert self.user(client) == ""

    def test_an_end_by_date_counts_for_what_is_adopted_later(self) -> None:
        """L13: whoever signed in before it is anonymous from their first request on, and nothing begins with each of them."""
        self.setting(adopt_existing_until="2027-01-15")
        for page in ("/who", "/awho"):
            client = self.unlinked()
            sessions().end_before(self.clock() - 30)
            self.store.forget_calls()
            for _ in range(3):
                assert client.get(page).json()["user"] == ""
            assert self.store.calls["create"] == 1
            assert sessions().list(str(self.alice.pk)) == []
        marked = Client()
        marked.force_login(self.alice)
        self.clock.advance(60)
        sessions().end_before(self.clock() - 30)
        for page in ("/who", "/awho", "/who"):
            assert marked.get(page).json()["user"] == ""
        assert self.user(self.sign_in()) == "alice"

    def test_a_view_that_began_before_a_step_up_and_writes_after_it(self) -> None:
        """It saves the link that it read over the new one; the user stays signed in, and the link is written anew (L12, L23)."""
        for engine in ("db", "signed_cookies"):
            for page in ("/who", "/awho"):
                with self.settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
                    client, beside = self.sign_in(), Client()
                    beside.cookies = client.cookies  # two tabs of one browser
                    old = client.session["_session_lifetime"]
                    meanwhile.append(lambda beside=beside: beside.get("/step-up"))
                    client.get("/slow-note")
                    assert client.session["_session_lifetime"] == old
                    assert client.get(page).json()["user"] == "alice"
                    assert client.session["_session_lifetime"] != old
                    assert client.get("/note").json()["notes"] == 2
                    assert client.get(page).json()["user"] == "alice"

    def test_two_step_ups_of_one_browser_at_once(self) -> None:
        """A double click: one of them goes on, and whichever answer comes last, the user stays signed in (L12, L23)."""
        for engine in ("db", "signed_cookies"):
            for page in ("/who", "/awho"):
                with self.settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
                    client, beside = self.sign_in(), Client()
                    beside.cookies = client.cookies  # two tabs of one browser
                    meanwhile.append(lambda beside=beside: beside.get("/step-up"))
                    client.get("/step-up")
                    assert client.get(page).json()["user"] == "alice", (engine, page)

    def test_a_link_to_an_earlier_id(self) -> None:
        """It names the session that goes on from it, however slow the view was, for who shows that session, and no other (L23)."""
        client = self.sign_in()
        read = client.session
        read["notes"] = 1
        client.get("/step-up")
        read.save()
        without = self.copy(client)
        del without.cookies[TOKEN]
        assert self.user(without) == ""
        assert self.user(client) == "alice"
        client.get("/step-up")
        client.get("/step-up")
        read.save()
        assert self.user(client) == "alice"
        client.post("/accounts/logout/")
        client.post(LOGIN, {"username": "alice", "password": "wonderland"})
        session = client.session
        session[LINK] = read[LINK]
        session.save()
        assert self.user(client) == ""

    def test_key_cycling_and_step_up_keep_the_link(self) -> None:
        """The link lies in the data and follows our session to its new id."""
        client = self.sign_in()
        before = client.cookies[TOKEN].value
        assert client.get("/step-up").json()["user"] == "alice"
        assert client.cookies[TOKEN].value != before
        assert self.user(client) == "alice"


class TestTheUserChanges(Bridged):
    """What Django knows of the user is asked on each request (L8)."""

    def test_a_password_change_keeps_this_session_and_ends_the_others(self) -> None:
        """PasswordChangeView, unchanged."""
        here, there = self.sign_in(), self.sign_in()
        assert self.user(there) == "alice"
        form = {"old_password": "wonderland", "new_password1": "looking-glass-7", "new_password2": "looking-glass-7"}
        assert here.post("/accounts/password/", form).status_code == 302
        assert self.user(here) == "alice"
        assert there.get("/ours").status_code == 401
        assert len(sessions().list(str(self.alice.pk))) == 1

    def test_a_deactivated_user_is_out_at_the_next_request(self) -> None:
        """On a page that asks Django, and on one that asks only us."""
        one, two = self.sign_in(), self.sign_in()
        User.objects.filter(pk=self.alice.pk).update(is_active=False)
        assert self.user(one) == ""
        assert two.get("/ours").status_code == 401
        assert sessions().list(str(self.alice.pk)) == []

    def test_a_deactivated_user_is_out_where_nothing_else_was_due(self) -> None:
        """A request that is recognised at once still asks Django who it is, before a view that requires a session."""
        client = self.sign_in()
        self.clock.advance(seconds=1)
        for _ in range(2):  # the first is recorded, nothing is due for the second
            assert client.get("/ours").status_code == 200
        User.objects.filter(pk=self.alice.pk).update(is_active=False)
        assert client.get("/ours").status_code == 401
        assert sessions().list(str(self.alice.pk)) == []

    def test_a_deleted_user_is_out(self) -> None:
        """There is nobody left to be signed in."""
        client = self.sign_in("bob", "builder")
        self.bob.delete()
        assert client.get("/ours").status_code == 401


class TestOurOwnVerbs(Bridged):
    """`request.user` follows what the view does to our session, within the same request (L23)."""

    KINDS = ("", "a")  # plain views and asynchronous ones

    def seen(self, client: Client, path: str) -> dict[str, Any]:
        with self.settings(ROOT_URLCONF=__name__):
            return client.post(path).json()

    def ways(self) -> list[str]:
        """Return every kind of view, with `request.user` looked at before the verb and not."""
        return [f"{kind}{{}}{look}" for kind in self.KINDS for look in ("", "?look")]

    def test_after_our_logout_nobody_is_signed_in(self) -> None:
        """Neither by `request.user` nor by `request.auser`, whether or not the view had looked before."""
        for way in self.ways():
            seen = self.seen(self.sign_in(), "/" + way.format("our-logout"))
            assert seen == {"user": "", "auser": "", "subject": None}, way

    def test_after_our_login_of_another_user_the_first_is_gone(self) -> None:
        """Django's session is not the other's: whoever Django shall know, `contrib.auth.login` signs in."""
        for way in self.ways():
            client = self.sign_in()
            seen = self.seen(client, "/" + way.format("our-login") + f"{'&' if '?' in way else '?'}to={self.bob.pk}")
            assert seen == {"user": "", "auser": "", "subject": str(self.bob.pk)}, way
            assert client.get("/who").json() == {"user": "", "subject": str(self.bob.pk)}  # and so it stays

    def test_after_our_login_of_the_same_user_they_stay(self) -> None:
        """Who proves anew who they are is who they were."""
        for way in self.ways():
            client = self.sign_in()
            seen = self.seen(client, "/" + way.format("our-login") + f"{'&' if '?' in way else '?'}to={self.alice.pk}")
            alice = {"user": "alice", "subject": str(self.alice.pk)}
            assert seen == {**alice, "auser": "alice"}, way
            assert client.get("/who").json() == alice

    def test_a_session_that_ends_meanwhile(self) -> None:
        """A verb that finds the session ended leaves nobody signed in."""
        for kind in self.KINDS:
            seen = self.seen(self.sign_in(), f"/{kind}end-then-extend?look")
            assert seen == {"user": "", "auser": "", "subject": None}, kind

    def test_a_forced_login_gives_way_to_ours(self) -> None:
        """The one-time mark of `force_login` does not sign its user in over the one whom the view has just signed in."""
        for kind in self.KINDS:
            client = Client()
            client.force_login(self.alice)
            self.seen(client, f"/{kind}our-login?to={self.bob.pk}")
            assert client.get("/who").json() == {"user": "", "subject": str(self.bob.pk)}, kind

    def test_a_login_that_fails_after_a_forced_one_does_not_stand(self) -> None:
        """What the view had begun is ended (L25), though the middleware had begun one of its own before."""
        for kind in self.KINDS:
            client = Client(raise_request_exception=False)
            client.force_login(self.alice)
            with self.settings(ROOT_URLCONF=__name__):
                assert client.post(f"/{kind}our-login?to={self.bob.pk}&fail").status_code == 500
            assert sessions().list(str(self.bob.pk)) == []

    async def test_under_asgi(self) -> None:
        """Plain views in a thread, asynchronous ones on the loop."""
        with self.settings(ROOT_URLCONF=__name__):
            for way in self.ways():
                for verb, subject in (("our-logout", None), ("our-login", str(self.bob.pk))):
                    client = AsyncClient()
                    await client.aforce_login(self.alice)
                    path = "/" + way.format(verb) + f"{'&' if '?' in way else '?'}to={self.bob.pk}"
                    assert (await client.post(path)).json() == {"user": "", "auser": "", "subject": subject}, path


class TestExistingSuites(Bridged):
    """What a project's own tests do, unchanged."""

    def test_force_login(self) -> None:
        """`client.force_login` signs in with us too, once."""
        client = Client()
        client.force_login(self.alice)
        copy = Client()
        copy.cookies = client.cookies.copy()
        assert client.get("/who").json() == {"user": "alice", "subject": str(self.alice.pk)}
        assert client.get("/ours").status_code == 200
        assert self.user(copy) == ""

    def test_force_login_of_one_after_another(self) -> None:
        """The second takes the place of the first, whether or not the first was seen."""
        client = Client()
        client.force_login(self.alice)
        client.force_login(self.bob)
        assert self.user(client) == "bob"
        client.force_login(self.alice)
        assert self.user(client) == "alice"

    def test_after_a_logout_in_between(self) -> None:
        """The test client keeps an emptied cookie; it does not stand in the way."""
        client = self.sign_in()
        client.post("/accounts/logout/")
        client.force_login(self.bob)
        assert self.user(client) == "bob"

    def test_client_login_and_logout(self) -> None:
        """`client.login` and `client.logout` work as ever, and the logout ends our session."""
        client = Client()
        assert client.login(username="alice", password="wonderland")
        assert client.get("/private").status_code == 200
        client.logout()
        assert client.get("/private").status_code == 302
        assert sessions().list(str(self.alice.pk)) == []

    def test_a_protected_page_first(self) -> None:
        """Our own marker lets a forced login in as well, and it is fresh."""
        client = Client()
        client.force_login(self.alice)
        assert client.get("/fresh").status_code == 200

    def test_a_view_that_raises_first(self) -> None:
        """The mark is spent by a failing view too, and its session stands: it was the test that logged in."""
        client = Client(raise_request_exception=False)
        client.force_login(self.alice)
        assert client.get("/boom").status_code == 500
        assert self.user(client) == "alice"

    def test_no_query_more(self) -> None:
        """The queries of a view are those it would make without us, the first request after force_login included."""
        client = Client()
        client.force_login(self.alice)
        for _ in range(2):
            with self.assertNumQueries(2):  # Django's session, and the user
                assert client.get("/user").status_code == 200
            with self.assertNumQueries(0):
                assert client.get("/public").status_code == 200

    def test_a_mark_does_not_outlive_its_day(self) -> None:
        """It is for the request that follows; it is no second credential for ever."""
        client = Client()
        client.force_login(self.alice)
        self.clock.advance(days=1)
        assert self.user(client) == ""

    def test_a_spent_mark_stays_spent(self) -> None:
        """With the session that it began ended, the mark beside the link begins no other."""
        client = Client()
        client.force_login(self.alice)
        client.get("/who")
        sessions().end_all(str(self.alice.pk))
        del client.cookies[TOKEN]
        assert self.user(client) == ""

    async def test_async_clients(self) -> None:
        """`aforce_login`, `alogin` and `alogout` of the asynchronous client."""
        client = AsyncClient()
        await client.aforce_login(self.alice)
        assert (await client.get("/awho")).json() == {"user": "alice", "subject": str(self.alice.pk)}
        await client.alogout()
        assert (await client.get("/awho")).json()["user"] == ""
        assert await asessions().list(str(self.alice.pk)) == []


class TestAsynchronously(Bridged):
    """The same under ASGI, in asynchronous views and in plain ones."""

    async def test_a_life(self) -> None:
        """Login, password change, logout, with contrib.auth's asynchronous functions."""
        client, other = AsyncClient(), AsyncClient()
        form = {"username": "alice", "password": "wonderland"}
        await other.post("/alogin", form)
        answer = await client.post("/alogin", form)
        assert answer.json() == {"user": "alice", "subject": str(self.alice.pk)}
        assert (await client.get("/who")).json() == answer.json()  # a plain view
        assert (await client.post("/apassword", {"password": "looking-glass-7"})).json()["user"] == "alice"
        assert (await client.get("/awho")).json()["user"] == "alice"
        assert (await other.get("/awho")).json() == {"user": "", "subject": None}
        assert (await client.post("/alogout")).json() == {"user": "", "subject": None}
        assert (await client.get("/awho")).json()["user"] == ""

    async def test_plain_views_of_contrib_auth(self) -> None:
        """LoginView and LogoutView run in a thread there; their signals reach the loop."""
        client = AsyncClient()
        answer = await client.post(LOGIN, {"username": "alice", "password": "wonderland"})
        assert answer.status_code == 302
        assert (await client.get("/awho")).json()["user"] == "alice"
        await client.post("/accounts/logout/")
        assert (await client.get("/awho")).json()["user"] == ""

    async def test_without_our_cookie(self) -> None:
        """Django's own session alone is nobody (L23)."""
        client = AsyncClient()
        await client.post("/alogin", {"username": "alice", "password": "wonderland"})
        del client.cookies[TOKEN]
        assert (await client.get("/awho")).json()["user"] == ""
        assert (await client.get("/who")).json()["user"] == ""

    async def test_a_deactivated_user_is_out(self) -> None:
        """At the next request, though it is recognised at once: the view that requires a session is not run."""
        client = AsyncClient()
        await client.post("/alogin", {"username": "alice", "password": "wonderland"})
        self.clock.advance(seconds=1)
        for _ in range(2):  # the first is recorded, nothing is due for the second
            assert (await client.get("/aours")).status_code == 200
        await User.objects.filter(pk=self.alice.pk).aupdate(is_active=False)
        assert (await client.get("/aours")).status_code == 401
        assert await asessions().list(str(self.alice.pk)) == []

    def test_asynchronous_views_under_wsgi(self) -> None:
        """They run on a loop of their own there."""
        client = Client()
        answer = client.post("/alogin", {"username": "alice", "password": "wonderland"})
        assert answer.json() == {"user": "alice", "subject": str(self.alice.pk)}
        assert client.get("/awho").json()["user"] == "alice"
        assert client.post("/alogout").json()["user"] == ""

    def test_silence_under_wsgi_in_an_asynchronous_view(self) -> None:
        """A proven end flushes Django's session from the loop as well."""
        client = self.sign_in()
        self.clock.advance(minutes=16)
        assert client.get("/awho").json()["user"] == ""
        (kept,) = DjangoSession.objects.all()
        assert list(kept.get_decoded()) == [EMPTIED]


class TestOutage(Bridged):
    """While the store is down nobody is called anonymous (L17)."""

    def test_login_required_answers_503(self) -> None:
        """No login redirect, by Django's decorators or by the admin; public pages are served, with no user."""
        client = self.sign_in()
        self.store.go_down()
        assert [client.get(path).status_code for path in ("/private", "/admin/", "/ours")] == [503, 503, 503]
        assert client.get("/private").headers["Retry-After"] == "5"
        assert (client.get("/public").status_code, client.get("/user").json()) == (200, {"user": ""})
        self.store.come_back()
        self.clock.advance(1)  # after so many faults in a row the store is left alone for as long as that
        assert self.user(client) == "alice"

    def test_no_redirect_to_the_login_page_whatever_it_says(self) -> None:
        """Whether Django's decorators name another parameter than `next`, or none, or a view redirects by itself (L17)."""
        client = self.sign_in()
        turned_away = [
            "/private-by-another-name",
            "/private-from-elsewhere?a=1",
            "/nameless",
            f"/redirects?to={LOGIN}",
            f"/redirects?to={LOGIN}%3Fwhy=because",
            f"/redirects?to=http://testserver{LOGIN}",
            f"/redirects?to={LOGIN[1:]}",
        ]
        assert {client.get(target).status_code for target in turned_away} == {200}
        self.store.go_down()
        for target in turned_away:
            answer = client.get(target, headers={"host": "testserver"})
            assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), target

    def test_other_redirects_stand(self) -> None:
        """Those to other places, and those from the login page to itself, which is open to all."""
        client = self.sign_in()
        self.store.go_down()
        for to in ("/public", "/public?from=/other", f"http://elsewhere.example{LOGIN}"):
            answer = client.get("/redirects", {"to": to})
            assert (answer.status_code, answer.headers.get("Location")) == (302, to)
        with override_settings(LOGIN_URL="/redirects"):
            again = Client()
            again.cookies = client.cookies
            assert again.get("/redirects", {"to": "/redirects?step=2"}).status_code == 302

    def test_a_login_answers_503(self) -> None:
        """And leaves nobody signed in."""
        self.store.go_down(reads=False)
        client = Client()
        answer = client.post(LOGIN, {"username": "alice", "password": "wonderland"})
        assert (answer.status_code, TOKEN in answer.cookies) == (503, False)
        self.store.come_back()
        assert self.user(client) == ""

    def test_a_logout_answers_503_and_is_retried(self) -> None:
        """The browser's cookies go, and the end is stored later."""
        client = self.sign_in()
        thief = Client()
        thief.cookies = client.cookies.copy()
        self.store.go_down(reads=False)
        answer = client.post("/accounts/logout/")
        assert (answer.status_code, answer.cookies[TOKEN]["max-age"]) == (503, "0")
        self.store.come_back()
        assert self.user(thief) == ""


class TestRequired(Bridged):
    """`default_policy="required"` in a project with contrib.auth."""

    lifetime: ClassVar[dict[str, Any]] = {"default_policy": "required"}

    def test_every_view_but_those_that_django_opens(self) -> None:
        """`login_not_required` is honoured, on the admin's login page too; LOGIN_URL is open; the rest is not."""
        client = Client(headers={"accept": "text/html"})
        open_to_all = ["/landing", LOGIN, "/admin/login/"]
        assert [client.get(path).status_code for path in open_to_all] == [200, 200, 200]
        answer = client.get("/public?a=1")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{LOGIN}?next=/public%3Fa%3D1")
        assert client.get("/nowhere").status_code == 303
        client.force_login(self.alice)
        assert [client.get(path).status_code for path in ("/public", "/admin/", "/nowhere")] == [200, 200, 404]


# --- views that only this file needs ---------------------------------------------------------------------------------


def login_then_fail(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get(username="alice"))
    raise RuntimeError("after the login")


def login_then_answer(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get(username="bob" if "bob" in request.GET else "alice"))
    response = HttpResponse(status=403 if "raised" in request.GET else 503 if "error" in request.GET else 200)
    response.exception = "raised" in request.GET  # type: ignore[attr-defined]  # as REST framework's Response has it
    return response


def token_login(request: HttpRequest) -> HttpResponse:
    user_logged_in.send(sender=User, request=request, user=User.objects.get(username="alice"))
    return HttpResponse("token")


@session_exempt
def our_logout(request: HttpRequest) -> HttpResponse:
    assert "look" not in request.GET or request.user.is_authenticated
    session_from(request).logout()
    return seen(request)


@session_exempt
async def aour_logout(request: HttpRequest) -> HttpResponse:
    assert "look" not in request.GET or (await request.auser()).is_authenticated
    await asession_from(request).logout()
    return await aseen(request)


@session_exempt
def our_login(request: HttpRequest) -> HttpResponse:
    assert "look" not in request.GET or request.user.is_authenticated
    session_from(request).login(request.GET["to"])
    assert "fail" not in request.GET
    return seen(request)


@session_exempt
async def aour_login(request: HttpRequest) -> HttpResponse:
    assert "look" not in request.GET or (await request.auser()).is_authenticated
    await asession_from(request).login(request.GET["to"])
    assert "fail" not in request.GET
    return await aseen(request)


def end_then_extend(request: HttpRequest) -> HttpResponse:
    assert request.user.is_authenticated
    sessions().end_all(str(request.user.pk))
    with pytest.raises(SessionError, match="stays ended"):
        session_from(request).extend(30)
    return seen(request)


async def aend_then_extend(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    await asessions().end_all(str(user.pk))
    with pytest.raises(SessionError, match="stays ended"):
        await asession_from(request).extend(30)
    return await aseen(request)


def seen(request: HttpRequest) -> HttpResponse:
    names = {"user": request.user.get_username(), "auser": async_to_sync(request.auser)().get_username()}
    return JsonResponse({**names, "subject": session_from(request).subject})


async def aseen(request: HttpRequest) -> HttpResponse:
    auser = await request.auser()
    names = {"user": request.user.get_username(), "auser": auser.get_username()}
    return JsonResponse({**names, "subject": asession_from(request).subject})


urlpatterns = [
    path("login-then-fail", login_then_fail),
    path("login-then-answer", login_then_answer),
    path("seen", seen),
    path("aseen", aseen),
    path("token-login", token_login),
    path("our-logout", our_logout),
    path("aour-logout", aour_logout),
    path("our-login", our_login),
    path("aour-login", aour_login),
    path("end-then-extend", end_then_extend),
    path("aend-then-extend", aend_then_extend),
]
