"""The OpenID provider of the tests does what the tests of the authority rely on; asked by a client of a few lines."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx2 as httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import KeySet

from tests.authorities.oidc_peer import Application, Peer
from tests.authorities.oidc_visitor import Arrival, Visitor

pytestmark = pytest.mark.server


@pytest.fixture
def visitor(peer: Peer) -> Iterator[Callable[..., Visitor]]:
    """Makes people, each with a browser of their own."""
    made: list[Visitor] = []

    def make(login: str = "alice") -> Visitor:
        made.append(Visitor(peer.issuer, login))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


class SignIn:
    """One run of the code flow with PKCE."""

    def __init__(self, peer: Peer, application: Application | None = None, **more: str) -> None:
        self.peer, self.application = peer, application or peer.shop
        self.verifier, self.nonce, self.state = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = urlsafe_b64encode(sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.application.id,
            "redirect_uri": self.application.callback,
            "scope": "openid email",
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        self.url = f"{peer.issuer}/auth?{urlencode({**asked, **more})}"

    def tokens(self, arrival: Arrival, **more: str) -> httpx.Response:
        """Exchange the code."""
        fields = {
            "grant_type": "authorization_code",
            "code": arrival.answer["code"],
            "redirect_uri": self.application.callback,
            "code_verifier": self.verifier,
        }
        return ask(self.peer, self.application, {**fields, **more})

    def claims(self, arrival: Arrival) -> dict[str, Any]:
        """The claims of the ID token."""
        assert arrival.answer["state"] == self.state
        token = self.tokens(arrival).json()["id_token"]
        claims = verified(self.peer, token)
        assert claims["nonce"] == self.nonce
        return claims


def ask(peer: Peer, application: Application, fields: dict[str, str]) -> httpx.Response:
    """Ask the token endpoint."""
    if application.auth_method == "client_secret_post":
        fields = {**fields, "client_id": application.id, "client_secret": application.secret}
        return httpx.post(f"{peer.issuer}/token", data=fields)
    basic = httpx.BasicAuth(quote_plus(application.id), quote_plus(application.secret))
    return httpx.post(f"{peer.issuer}/token", data=fields, auth=basic)


def verified(peer: Peer, token: str) -> dict[str, Any]:
    """Return the claims of a token that the provider signed."""
    keys = KeySet.import_key_set(httpx.get(f"{peer.issuer}/jwks").json())
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def test_the_code_flow(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """Sign in, consent, exchange the code with the verifier: an ID token for this application, with sid and auth_time."""
    alice, flow = visitor(), SignIn(peer)
    arrival = alice.visit(flow.url)
    assert alice.pages == ["login", "consent"]
    assert (arrival.method, arrival.url.partition("?")[0]) == ("GET", peer.shop.callback)
    claims = flow.claims(arrival)
    assert (claims["iss"], claims["aud"], claims["sub"]) == (peer.issuer, "shop", "alice")
    assert claims["sid"]
    assert abs(claims["auth_time"] - peer.now()) < 60


def test_a_code_without_its_verifier(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """Somebody who has only the code gets nothing, and neither does one who brings it twice."""
    flow, other = SignIn(peer), SignIn(peer)
    arrival = visitor().visit(flow.url)
    assert other.tokens(arrival).json()["error"] == "invalid_grant"
    arrival = visitor().visit(flow.url)
    assert flow.tokens(arrival).status_code == 200
    assert flow.tokens(arrival).json()["error"] == "invalid_grant"


def test_silent_sign_in(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """prompt=none answers without a page: login_required before a login, afterwards a token with the same auth_time."""
    alice = visitor()
    assert alice.visit(SignIn(peer, prompt="none").url).answer["error"] == "login_required"
    first, again = SignIn(peer), SignIn(peer, prompt="none")
    before = first.claims(alice.visit(first.url))
    pages = list(alice.pages)
    after = again.claims(alice.visit(again.url))
    assert alice.pages == pages
    assert (after["sid"], after["auth_time"]) == (before["sid"], before["auth_time"])


def test_a_fresh_login(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """max_age and prompt=login make the provider ask again, and auth_time says so; prompt=none cannot answer them."""
    alice, first = visitor(), SignIn(peer)
    before = first.claims(alice.visit(first.url))
    peer.advance(1)  # auth_time has whole seconds
    assert alice.visit(SignIn(peer, prompt="none", max_age="0").url).answer["error"] == "login_required"
    alice.pages.clear()
    for more in ({"max_age": "0"}, {"prompt": "login"}):
        flow = SignIn(peer, **more)
        after = flow.claims(alice.visit(flow.url))
        assert alice.pages[0] == "login"
        assert after["auth_time"] > before["auth_time"]
        assert after["sid"] == before["sid"]


def test_an_end_by_silence(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """A session at the provider ends when nobody comes for its idle time; each visit begins that anew."""
    brief, first = visitor("brief"), SignIn(peer)
    first.claims(brief.visit(first.url))
    for _ in range(3):
        peer.advance(40)
        flow = SignIn(peer, prompt="none")
        flow.claims(brief.visit(flow.url))
    peer.advance(61)
    assert brief.visit(SignIn(peer, prompt="none").url).answer["error"] == "login_required"


def test_logout_reaches_both_applications(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """RP-initiated logout asks the user, tells each application used by a signed token, and comes back with the state."""
    alice = visitor()
    shop, wiki = SignIn(peer), SignIn(peer, peer.wiki)
    id_token = shop.tokens(alice.visit(shop.url)).json()["id_token"]
    at_shop, at_wiki = verified(peer, id_token), wiki.claims(alice.visit(wiki.url))
    assert at_shop["sid"] != at_wiki["sid"]  # a different one for each application
    asked = {
        "id_token_hint": id_token,
        "post_logout_redirect_uri": f"{peer.shop.origin}/session/signed-out",
        "state": "carried",
    }
    arrival = alice.visit(f"{peer.issuer}/session/end?{urlencode(asked)}")
    assert arrival.url == f"{peer.shop.origin}/session/signed-out?state=carried"
    assert alice.pages[-1] == "logout"
    assert alice.visit(SignIn(peer, prompt="none").url).answer["error"] == "login_required"
    peer.wait_for("delivered shop")
    peer.wait_for("delivered wiki")
    for application, sid in ((peer.shop, at_shop["sid"]), (peer.wiki, at_wiki["sid"])):
        (token,) = application.logout.tokens
        claims = verified(peer, token)
        assert (claims["aud"], claims["sid"], claims["sub"]) == (application.id, sid, "alice")
        assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
        assert claims["jti"]
        assert claims["exp"] - claims["iat"] == 120
        assert "nonce" not in claims
        assert jws.extract_compact(token.encode()).headers()["typ"] == "logout+jwt"


def test_an_application_that_refuses(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """The provider notes an answer that is no success, and does not ask again."""
    alice, flow = visitor(), SignIn(peer)
    id_token = flow.tokens(alice.visit(flow.url)).json()["id_token"]
    peer.shop.logout.answer = lambda token: 400
    target = urlencode({"id_token_hint": id_token, "post_logout_redirect_uri": f"{peer.shop.origin}/"})
    assert alice.visit(f"{peer.issuer}/session/end?{target}").url == f"{peer.shop.origin}/"
    peer.wait_for("refused shop expected 200 OK")
    assert len(peer.shop.logout.tokens) == 1


def test_a_target_that_is_not_registered(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """The provider sends nobody after a logout to an address that was not registered."""
    flow = SignIn(peer)
    id_token = flow.tokens(visitor().visit(flow.url)).json()["id_token"]
    asked = {"id_token_hint": id_token, "post_logout_redirect_uri": "https://elsewhere.example/"}
    answer = httpx.get(f"{peer.issuer}/session/end", params=asked)
    assert answer.status_code == 400


def test_refresh_tokens_rotate(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """Each use of a refresh token gives the next; using an old one again revokes them all."""
    flow = SignIn(peer, scope="openid offline_access", prompt="consent")
    tokens = flow.tokens(visitor().visit(flow.url)).json()

    def refresh(token: str) -> dict[str, Any]:
        answer: dict[str, Any] = ask(peer, peer.shop, {"grant_type": "refresh_token", "refresh_token": token}).json()
        return answer

    second = refresh(tokens["refresh_token"])
    assert second["refresh_token"] != tokens["refresh_token"]
    assert verified(peer, second["id_token"])["sid"] == verified(peer, tokens["id_token"])["sid"]
    assert refresh(tokens["refresh_token"])["error"] == "invalid_grant"
    assert refresh(second["refresh_token"])["error"] == "invalid_grant"


def test_offline_access_needs_consent(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """Without prompt=consent offline_access is ignored (OpenID Connect Core 1.0 §11)."""
    flow = SignIn(peer, scope="openid offline_access")
    assert "refresh_token" not in flow.tokens(visitor().visit(flow.url)).json()


def test_answers_by_form(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """response_mode=form_post makes the browser post the answer from the provider's page."""
    flow = SignIn(peer, response_mode="form_post")
    alice = visitor()
    arrival = alice.visit(flow.url)
    assert (arrival.method, arrival.url, alice.pages[-1]) == ("POST", peer.shop.callback, "form_post")
    assert flow.claims(arrival)["sub"] == "alice"


def test_a_provider_that_caps_the_session(peer: Peer, visitor: Callable[..., Visitor]) -> None:
    """A login name can ask for claims: session_expiry comes in the ID token, in seconds."""
    flow = SignIn(peer)
    claims = flow.claims(visitor("carol?session_expiry=1900000000").visit(flow.url))
    assert claims["session_expiry"] == 1_900_000_000


def test_it_uses_what_it_says(peer: Peer) -> None:
    """The discovery document names the endpoints that the authority reads from it."""
    found = httpx.get(f"{peer.issuer}/.well-known/openid-configuration").json()
    assert found["issuer"] == peer.issuer
    assert found["backchannel_logout_supported"]
    assert found["backchannel_logout_session_supported"]
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint", "revocation_endpoint"):
        assert found[name].startswith(peer.issuer)
