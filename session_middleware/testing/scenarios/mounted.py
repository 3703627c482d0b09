"""The same app below a mount (SCRIPT_NAME, root_path): paths are matched below it, addresses carry it."""

from __future__ import annotations

import pytest

from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import problem, sent_to_login, served
from session_middleware.testing.stage import TOKEN, Stage

__all__ = ["MountedScenarios"]

MOUNT = "/shop"


class MountedScenarios:
    """What holds for an app that is not at the root (L21)."""

    @pytest.fixture
    def mounted(self, stage: Stage, supports_mount: bool) -> Browser:
        """A visitor of the scenario app, mounted."""
        if not supports_mount:
            pytest.skip("this mode cannot be mounted")
        return stage.visitor(mount=MOUNT, exempt_paths=["/nowhere"])

    def test_refusal_and_way_back(self, mounted: Browser) -> None:
        """Login URL and return address carry the mount; patterns match below it (L15, L21)."""
        answer = mounted.navigate("/shop/me?a=1")
        sent_to_login(answer, "/shop/login?return_to=/shop/me%3Fa%3D1")
        page = mounted.follow(answer)
        assert (page.status, page.body) == (200, b"<h1>login</h1>")
        assert problem(mounted.fetch("/shop/me"), None)["login_url"] == "/shop/login"
        assert mounted.fetch("/shop/nowhere").status == 404
        problem(mounted.fetch("/shop/shop/nowhere"), None)
        problem(mounted.fetch("/shop/shop/login"), None)

    def test_a_session_below_the_mount(self, mounted: Browser) -> None:
        """The cookie is the host's (__Host- has Path=/), the session works, our endpoints stand below the mount (L19)."""
        assert mounted.submit("/shop/login?subject=alice").status == 200
        assert mounted.jar.cookie(TOKEN).path == "/"
        assert served(mounted.navigate("/shop/me"))["subject"] == "alice"
        assert mounted.fetch("/shop/session/status").json["authenticated"] is True
        answer = mounted.submit("/shop/session/logout")
        assert (answer.status, answer.header("Location")) == (303, "/shop/session/signed-out")
        assert mounted.jar.names == set()
