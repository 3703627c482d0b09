"""What somebody without a live session is told, by the kind of request; and the way back afterwards."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlsplit

import pytest

from session_middleware.core.exchange import RequestFacts
from session_middleware.core.refusal import Refusal, Reply
from session_middleware.testing.browser import Answer
from session_middleware.testing.scenarios.expect import problem, sent_to_login, served, varies_on
from session_middleware.testing.stage import Stage, login

__all__ = ["RefusalScenarios"]

#: Return addresses that lead, or might lead, off this host.
HOSTILE_RETURNS = [
    "//evil.test",
    "///evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    "\t//evil.test",
    " //evil.test",
    "https://evil.test/",
    "https:evil.test",
    "HTTPS://evil.test",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.test",
    "@evil.test",
    "",
    "/\u2028/evil.test",
    "/\ufeff/evil.test",
    "/" + "a" * 3_000,
    "/\x00",
    "/\r\nSet-Cookie: a=b",
]

#: Addresses on this host, and what they come back as.
GOOD_RETURNS = {
    "/": "/",
    "/me": "/me",
    "/me?a=1&b=2": "/me?a=1&b=2",
    "/me?next=//evil.test": "/me?next=//evil.test",
    "/a%20b": "/a%20b",
    "/ä": "/%C3%A4",
    "/me#part": "/me#part",
}


class RefusalScenarios:
    """How a request without a live session is answered (L15)."""

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
    def test_a_navigation_is_sent_to_login(self, stage: Stage, method: str) -> None:
        """Sec-Fetch-Mode: navigate gets 303 whatever its method; only GET and HEAD name the page (L15)."""
        answer = stage.visitor().navigate("/me?a=1", method)
        sent_to_login(answer, "/login?return_to=/me%3Fa%3D1" if method in ("GET", "HEAD") else "/login")
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert answer.header("Referrer-Policy") == "same-origin"
        assert {"cookie", "accept", "sec-fetch-mode", "hx-request"} <= varies_on(answer)
        assert answer.body == b""

    def test_a_form_comes_back_to_its_page(self, stage: Stage) -> None:
        """An unsafe navigation returns to the page it was sent from, and its body is not replayed (L15)."""
        browser = stage.visitor()
        answer = browser.submit("/me", b"a=1", page="/form?step=2")
        sent_to_login(answer, "/login?return_to=/form%3Fstep%3D2")

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_a_form_of_another_site_does_not_come_back_there(self, stage: Stage, site: str) -> None:
        """A Referer of another origin is no return address (L15)."""
        sent_to_login(stage.visitor().submit("/me", site=site), "/login")

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_without_fetch_metadata_accept_decides(self, stage: Stage, method: str) -> None:
        """An older browser that accepts html is navigating (L15)."""
        browser = stage.visitor()
        html = browser.plain("/me", method, headers=[("Accept", "text/html,*/*;q=0.8")])
        sent_to_login(html, "/login?return_to=/me")

    def test_without_fetch_metadata_and_html(self, stage: Stage) -> None:
        """A tool that does not ask for html, and an unsafe method, get the problem document (L15)."""
        browser = stage.visitor()
        problem(browser.plain("/me"), None)
        problem(browser.plain("/me", headers=[("Accept", "application/json")]), None)
        problem(browser.plain("/me", "POST", headers=[("Accept", "text/html")]), None)

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
    def test_a_script_gets_a_problem_document(self, stage: Stage, method: str) -> None:
        """fetch() and XMLHttpRequest get 401 with the login URL and without a return parameter (L15)."""
        document = problem(stage.visitor().fetch("/me", method), None)
        assert document == {
            "type": "urn:session-middleware:login_required",
            "title": "Sign in to continue.",
            "status": 401,
            "reason": None,
            "login_url": "/login",
        }

    def test_a_head_of_a_script_has_no_body(self, stage: Stage) -> None:
        """A refused HEAD is answered with headers alone (RFC 9110 §9.3.2)."""
        answer = stage.visitor().fetch("/me", "HEAD")
        assert (answer.status, answer.body) == (401, b"")

    @pytest.mark.parametrize("purpose", ["prefetch", "prefetch;prerender", "prerender"])
    def test_a_prefetch_is_not_redirected(self, stage: Stage, purpose: str) -> None:
        """A page fetched ahead must not be the login page later: 401, not stored (L15)."""
        problem(stage.visitor().prefetch("/me", purpose=purpose), None)

    def test_htmx_goes_to_login_as_a_whole_page(self, stage: Stage) -> None:
        """htmx: 401 with HX-Redirect, coming back to the page that is shown, not to the fragment (L15)."""
        browser = stage.visitor()
        answer = browser.htmx("/me", page="/list?page=2")
        problem(answer, None)
        assert answer.header("HX-Redirect") == "/login?return_to=/list%3Fpage%3D2"
        answer = browser.htmx("/me", "POST", page="/list")
        assert answer.header("HX-Redirect") == "/login?return_to=/list"
        foreign = browser.fetch("/me", headers=[("HX-Request", "true"), ("HX-Current-URL", "https://evil.test/x")])
        assert foreign.header("HX-Redirect") == "/login"

    @pytest.mark.parametrize(
        "referer",
        [
            "https://evil.test/me",
            "https://app.example.evil.test/me",
            "https://app.example@evil.test/me",
            "https://app.example:8443/me",
            "//app.example/me",
            "javascript:alert(1)",
            "https://app.example/\\evil.test",
            "https://app.example//evil.test",
            "not a url",
            "https://[",
        ],
    )
    def test_a_hostile_referer(self, stage: Stage, referer: str) -> None:
        """Only a Referer of this very origin is a return address, and only if its path stays here (L15)."""
        answer = stage.visitor().navigate("/me", "POST", site="same-origin", headers=[("Referer", referer)])
        sent_to_login(answer, "/login")

    @pytest.mark.parametrize("target", ["//evil.test/x", "/%2F%2Fevil.test", "/%5Cevil.test", "/me?x=%0d%0aA:b"])
    def test_a_hostile_path(self, stage: Stage, target: str) -> None:
        """Whatever is asked for, the return address stays on this host and in one header line (L15)."""
        answer = stage.visitor().navigate(target)
        assert answer.status == 303
        location = urlsplit(answer.header("Location") or "")
        assert (location.scheme, location.netloc, location.path) == ("", "", "/login")
        for back in parse_qs(location.query).get("return_to", []):
            assert back.startswith("/")
            assert not back.startswith(("//", "/\\"))
            assert "\r" not in back
            assert "\n" not in back

    @pytest.mark.parametrize("value", HOSTILE_RETURNS, ids=ascii)
    def test_a_hostile_return_address(self, stage: Stage, value: str) -> None:
        """safe_return_to answers the default for whatever is, or might become, another host (L15)."""
        target = f"/return-to?return_to={quote(value, safe='')}"
        assert stage.visitor().navigate(target).json == {"to": "/"}

    def test_a_return_address_given_twice(self, stage: Stage) -> None:
        """Two different values are none (L15)."""
        browser = stage.visitor()
        assert browser.navigate("/return-to?return_to=/a&return_to=/b").json == {"to": "/"}
        assert browser.navigate("/return-to").json == {"to": "/"}

    @pytest.mark.parametrize("value", list(GOOD_RETURNS))
    def test_a_good_return_address(self, stage: Stage, value: str) -> None:
        """What a refusal put there is read back (L15)."""
        target = f"/return-to?return_to={quote(value, safe='')}"
        assert stage.visitor().navigate(target).json == {"to": GOOD_RETURNS[value]}

    def test_there_and_back(self, stage: Stage) -> None:
        """The address a refusal carries is the one safe_return_to gives back (L15)."""
        browser = stage.visitor()
        location = browser.navigate("/me?q=%C3%A4%20b&r=%2F%2Fx").header("Location") or ""
        carried = location.partition("?")[2]
        assert browser.navigate(f"/return-to?{carried}").json == {"to": "/me?q=%C3%A4%20b&r=%2F%2Fx"}

    def test_the_reason_of_every_end(self, stage: Stage) -> None:
        """Outside, a session ended by inactivity, by lifetime, or is signed out; nothing tells more (L16)."""

        def told(answer: Answer) -> str:
            return str(problem(answer, answer.json["reason"])["reason"])

        app = stage.app(absolute_lifetime=1_000)
        silent, old, out = (stage.signed_in(name, app) for name in ("silent", "old", "out"))
        kept = out.twin()
        out.submit("/sign-out")
        assert told(kept.fetch("/me")) == "signed_out"
        stage.clock.advance(500)
        served(old.navigate("/me"))
        stage.clock.advance(500)
        assert told(silent.fetch("/me")) == "inactivity"
        assert told(old.fetch("/me")) == "lifetime"
        kept.jar.forget()
        assert problem(kept.fetch("/me"), None)["reason"] is None

    def test_no_redirect_keeps_the_method(self, stage: Stage) -> None:
        """Neither 307 nor 308: a POST body is never replayed at the login page (L15)."""
        browser = stage.signed_in()
        stage.clock.advance(900)
        answer = browser.submit("/me", b"secret=1", page="/form")
        sent_to_login(answer, "/login?reason=inactivity&return_to=/form")

    def test_the_app_may_render_refusals_itself(self, stage: Stage) -> None:
        """refusal= answers instead of us where it returns a Reply (L15)."""

        def render(facts: RequestFacts, refusal: Refusal) -> Reply | None:
            headers = (("Content-Type", "text/plain"), ("X-Why", str(refusal.reason)))
            return Reply(419, headers, b"gone") if facts.path == "/me" else None

        browser = stage.visitor(refusal=render)
        answer = browser.navigate("/me")
        assert (answer.status, answer.header("X-Why"), answer.body) == (419, "None", b"gone")
        sent_to_login(browser.navigate("/poll"), "/login?return_to=/poll")

    def test_the_login_page_with_a_query_of_its_own(self, stage: Stage) -> None:
        """Reason and return address are added to a login URL that has a query and a fragment (L15)."""
        browser = stage.visitor(login_url="/login?tenant=1#form")
        sent_to_login(browser.navigate("/me"), "/login?tenant=1&return_to=/me#form")
        assert browser.navigate("/login").status == 200
        assert served(login(browser))["subject"] == "alice"
