"""The tests that the shop had before; none was changed."""

from django.contrib.auth.models import User
from django.test import TestCase


class HomeTests(TestCase):
    """The page behind the login."""

    def test_home_needs_a_login(self) -> None:
        """Strangers are sent to the login page and back."""
        self.assertRedirects(self.client.get("/"), "/login?next=/", fetch_redirect_response=False)

    def test_home_greets(self) -> None:
        """Whoever is logged in is greeted; Django asks for its session and the user, nobody for more."""
        self.client.force_login(User.objects.get(username="alice"))
        with self.assertNumQueries(2):
            self.assertContains(self.client.get("/"), "Hello alice")

    def test_logout(self) -> None:
        """After it the page is closed."""
        self.client.login(username="alice", password="wonderland")
        self.client.get("/")
        self.client.post("/logout")
        assert self.client.get("/").status_code == 302

    def test_admin(self) -> None:
        """Staff may use it."""
        self.client.force_login(User.objects.get(username="alice"))
        self.assertContains(self.client.get("/admin/"), "Site administration")
