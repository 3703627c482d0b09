"""A browser at Kratos: a cookie jar, redirects and forms."""

from __future__ import annotations

import re

import ory_kratos_client as official
import urllib3

from tests.authorities.kratos_world import World


class Visitor:
    """A browser with a cookie jar that follows redirects at Kratos and fills in forms."""

    def __init__(self, world: World, cookie: str = "") -> None:
        self.world = world
        self.cookies = dict([cookie.split("=", 1)] if cookie else [])

    def open(self, url: str, **form: str) -> urllib3.BaseHTTPResponse:
        """Open a page, or post a form to it, and follow to where Kratos leads."""
        more = {"method": "POST", "fields": form, "encode_multipart": False} if form else {}
        while True:
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            answer = self.world.get(url, cookie=cookie, **more)
            for line in answer.headers.getlist("Set-Cookie"):
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
            url = answer.headers.get("Location", "")
            if not url.startswith(self.world.public_url):
                return answer
            more = {}

    def fill_in(self, page: urllib3.BaseHTTPResponse, **typed: str) -> urllib3.BaseHTTPResponse:
        """Fill in the form of a page and send it."""
        text = page.data.decode()
        fields = dict(re.findall(r'name="([^"]*)" value="([^"]*)"', text)) | typed
        action = re.search(r'action="([^"]*)"', text)
        assert action is not None, text
        return self.open(action[1], **fields)

    def whoami(self) -> official.Session:
        return self.world.frontend.to_session(cookie=f"ory_kratos_session={self.cookies['ory_kratos_session']}")
