"""A person with a browser of their own at the OpenID provider of the tests: signs in, consents, signs out.

The browser follows redirects and fills in forms for as long as they lead to the provider; what leads anywhere else is
handed to the test, which carries it to the application itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from ssl import SSLContext
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx2 as httpx


@cache
def certificates() -> SSLContext:
    """Return what clients of the tests check connections by; each that reads it from disk anew takes tens of milliseconds."""
    return httpx.create_ssl_context()


@dataclass(frozen=True)
class Arrival:
    """What the provider sends the browser to: a URL of an application.

    Attributes:
        method: GET for a redirect, POST for a form that sends itself.
        url: where to.
        form: the fields of the form.
    """

    method: str
    url: str
    form: dict[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> dict[str, str]:
        """The parameters, wherever they stand."""
        return {**dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True)), **self.form}

    @property
    def target(self) -> str:
        """Path and query of the URL."""
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")


class Visitor:
    """A browser at the provider.

    Args:
        issuer: the provider.
        login: the name to sign in with when asked.

    Attributes:
        pages: the forms seen, in order: "login", "consent", "logout", "form_post".
    """

    def __init__(self, issuer: str, login: str = "alice") -> None:
        self.issuer = issuer
        self.login = login
        self.pages: list[str] = []
        self._http = httpx.Client(timeout=20, verify=certificates())

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def visit(self, url: str) -> Arrival:
        """Open a page of the provider and do what its pages ask for."""
        answer = self._http.get(url)
        for _ in range(20):
            if answer.is_redirect:
                arrival = Arrival("GET", urljoin(str(answer.url), answer.headers["Location"]))
            else:
                arrival = self._filled_in(answer)
            if not arrival.url.startswith(f"{self.issuer}/"):
                return arrival
            data = arrival.form if arrival.method == "POST" else None
            answer = self._http.request(arrival.method, arrival.url, data=data)
        raise AssertionError(f"{url} leads in circles")

    def _filled_in(self, answer: httpx.Response) -> Arrival:
        form = PageForm(answer.text)
        assert form.action is not None, f"no form in the answer {answer.status_code}: {answer.text[-2000:]}"
        fields = dict(form.fields)
        if "xsrf" in fields:
            page = "logout"
            fields["logout"] = "yes"
        elif "prompt" in fields:
            page = fields["prompt"]
            if page == "login":
                fields |= {"login": self.login, "password": "any"}
        else:
            page = "form_post"
        self.pages.append(page)
        return Arrival("POST", urljoin(str(answer.url), form.action), fields)


class PageForm(HTMLParser):
    """The first form of a page: where it leads and what it holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = found.get("action")
        elif tag == "input" and (name := found.get("name")) and found.get("type") == "hidden":
            self.fields[name] = found.get("value") or ""
