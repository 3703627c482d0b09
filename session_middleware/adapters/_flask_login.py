"""Flask-Login, bridged: its logins begin and end our sessions, and it never knows more than we do (L23).

`login_user` and `logout_user` say what they do by signals, so an app's login views stay as they are. The Flask session
keeps the public id of our session beside the user's id, the *link*. `current_user` is signed in only while our session
is ACTIVE, has the same subject, and is the one that is linked; a remember cookie is never a login.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from flask import session as flask_session

from session_middleware.adapters._adoption import adopts_until, take_once
from session_middleware.core.exchange import Exchange, RequestFacts
from session_middleware.core.lifetime import Verdict
from session_middleware.errors import SessionError, SettingsError, StoreUnavailable
from session_middleware.runtime import run_sync

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["LINK", "FlaskLogin", "manager_of"]

#: Where the Flask session keeps the public id of the session of ours that it belongs to.
LINK = "_session_lifetime"

#: Where it keeps whose that is: Flask-Login writes another user's id over theirs before we hear of the login.
WHOSE = "_session_lifetime_user"

#: Where the environ keeps the link that was made in this request.
LINKED = "session_middleware.linked"

#: Where it keeps whether the Flask session was nobody's before a login in this request. What is somebody's stays that where the
#: login comes to nothing, so that it goes when another user signs in (L26).
WAS_NOBODYS = "session_middleware.was_nobodys"

#: Under this plugin an app's own tests may sign in without a login: Flask-Login's test client sends no signal.
PYTEST_PLUGIN = "session_middleware.testing.plugin"

#: What we replace or call in LoginManager, beside its documented names; checked, so that another release of
#: Flask-Login without them is refused and not silently unguarded.
NEEDED = ("_load_user", "_update_request_context_with_user", "_session_protection_failed", "unauthorized")


def manager_of(app: Flask) -> Any:  # flask_login.LoginManager | None; Flask-Login has no types
    """Return the app's LoginManager, None if the app does not use Flask-Login."""
    manager = getattr(app, "login_manager", None)
    flask_login = sys.modules.get("flask_login")  # whoever made a LoginManager has imported it
    if manager is None or flask_login is None or not isinstance(manager, flask_login.LoginManager):
        return None
    return manager


class FlaskLogin:
    """Binds one LoginManager to one engine."""

    def __init__(self, app: Flask, manager: Any, engine: Engine, exchange: Callable[[], Exchange]) -> None:
        import flask_login  # type: ignore[import-untyped]  # only apps that use it have it; it has no types

        missing = [name for name in NEEDED if not callable(getattr(manager, name, None))]
        if missing:
            raise SettingsError(
                "login_manager",
                type(manager).__name__,
                f"has no {', '.join(missing)}.",
                "Use Flask-Login 0.6.3 or 0.7.",
            )
        self._app = app
        self._manager = manager
        self._engine = engine
        self._exchange = exchange
        self._keys = frozenset(flask_login.config.SESSION_KEYS)
        self._user_accessed = flask_login.user_accessed
        self._loaded_from_request = flask_login.user_loaded_from_request
        self._unauthorized = manager.unauthorized
        self._adopts_until = adopts_until(engine)
        engine.default_policy = engine.settings.default_policy or "optional"  # the app's own @login_required decides
        engine.return_param = engine.settings.return_param or "next"
        if engine.fresh_login is None:
            engine.fresh_login = self._fresh_login_url
        manager._load_user = self._load_user
        manager.unauthorized = self._refuse
        flask_login.user_logged_in.connect(self._begin, app)
        flask_login.user_logged_out.connect(self._end, app)
        flask_login.user_login_confirmed.connect(self._confirm, app)
        # Last of all hooks, so that it sees what the others did, and before Flask saves its session.
        app.after_request_funcs.setdefault(None, []).insert(0, self._relink)

    # --- who is signed in ------------------------------------------------------------------------------------------

    def _load_user(self) -> None:
        """Find `current_user`: in place of LoginManager's own way, which also believes a remember cookie."""
        manager = self._manager
        if manager.user_callback is None and manager.request_callback is None:
            raise SettingsError(
                "login_manager", None, "has neither a user_loader nor a request_loader.", "Register one of them."
            )
        self._user_accessed.send(self._app)
        user = None
        if manager.user_callback is not None and self._holds():
            if manager._session_protection_failed():
                manager._update_request_context_with_user()
                return
            user = manager.user_callback(flask_session["_user_id"])
            if user is None:  # they are gone (L8); a loader that raises ends nothing
                run_sync(self._engine.revoke(self._exchange()))
        if user is None:
            user = self._from_request()
        manager._update_request_context_with_user(user)

    def _holds(self) -> bool:
        """Say whether the Flask session's user is signed in with us (L23)."""
        x = self._exchange()
        run_sync(self._engine.authenticate(x))  # not yet done on exempt routes
        if x.verdict is Verdict.ANONYMOUS:
            self.adopt(x)
        record = x.record
        return (
            x.verdict is Verdict.ACTIVE
            and record is not None
            and str(flask_session.get("_user_id")) == record.subject
            and self._is_linked(x)
        )

    def _is_linked(self, x: Exchange) -> bool:
        link = flask_session.get(LINK)
        assert x.record is not None
        if link is None:
            if not self._is_on_server() or not self._engine.is_of_login(x.record, self._proof()):
                return False
            self._link(x)  # it was adopted, and a request that ran beside that one wrote over the link
            return True
        if x.created is not None:
            # After step_up() or a login of the same user in this request, the link still names the session before it.
            return link == x.record.public_id or _names_what_came(link, x)
        if not x.record.is_named(link):
            return False
        if link != x.record.public_id:  # a view that began before a step-up has written over the new link
            self._link(x)
        return True

    def _from_request(self) -> Any:
        """Ask the app's request loader, as LoginManager does: such users are not ours to judge."""
        manager = self._manager
        if manager.request_callback is not None:
            user = manager.request_callback(request)
            if user is not None:
                self._loaded_from_request.send(self._app, user=user)
            return user
        if getattr(manager, "_header_callback", None) is not None:  # Flask-Login 0.6
            name = self._app.config.get("AUTH_HEADER_NAME", "Authorization")
            if name in request.headers:
                return manager._load_user_from_header(request.headers[name])
        return None

    def adopt(self, x: Exchange) -> bool:
        """Give a Flask session from before our time a session of ours, once; True if there was one.

        Until the day `adopt_existing_until`, and in tests of the app under our pytest plugin. Nobody knows when that
        user proved who they are, so the session is not fresh, with us or with Flask-Login, before they do so again (L3).
        """
        if x.created is not None or x.deletes:
            return False
        under_test = self._app.testing and PYTEST_PLUGIN in sys.modules
        if x.now >= self._adopts_until and not under_test:
            return False
        user_id, find = flask_session.get("_user_id"), self._manager.user_callback
        if user_id is None or LINK in flask_session or find is None or find(user_id) is None:
            return False
        fresh = under_test and flask_session.get("_fresh") is True
        try:
            if self._is_on_server() and not under_test:
                if not run_sync(self._engine.adopt_login(x, self._proof(), str(user_id))):
                    return False
            else:
                self._engine.check_login(x)
                if not (under_test or run_sync(take_once(self._engine, x, *self._whose()))):
                    return False
                run_sync(self._engine.login(x, str(user_id), fresh=fresh))
        except SessionError as problem:
            if isinstance(problem, StoreUnavailable):
                raise
            if problem.code == "login_ended":
                flask_session[LINK] = ""  # to nothing: it is never begun again, however long ago that was (L16)
            return False  # another site asks (L20), no cookie can go out: the next request of our own may
        x.adopted = True
        flask_session["_fresh"] = fresh
        self._link(x)
        return True

    def _is_on_server(self) -> bool:
        """Say whether the Flask session's cookie carries an id only; then each copy of it sees the link."""
        return hasattr(flask_session, "sid")  # as in all the back ends of Flask-Session

    def _proof(self) -> str:
        """Return what makes the session that begins on one of those the same for all requests that show it."""
        return f"flask\0{flask_session.sid}"  # type: ignore[attr-defined]  # asked for by `_is_on_server` only

    def _whose(self) -> tuple[str, ...]:
        """Return what Flask-Login tells sessions apart by: the user, and a digest of address and browser."""
        return "flask", str(flask_session["_user_id"]), str(flask_session.get("_id", ""))

    # --- what Flask-Login tells ------------------------------------------------------------------------------------

    def _begin(self, sender: Flask, user: Any, **detail: object) -> None:
        x = self._exchange()
        subject = str(getattr(user, self._manager.id_attribute)())
        kept = {name: flask_session[name] for name in self._keys if name in flask_session}
        remember = kept.get("_remember") == "set"
        try:
            if x.created is None or x.created.subject != subject:  # else the view has begun it, with claims perhaps
                run_sync(self._engine.login(x, subject, persistent=True if remember else None))
        except BaseException:
            self._forget()
            raise
        if flask_session.get(WHOSE, subject) != subject:
            flask_session.clear()  # another user's, whose session of ours was lost or forgotten, so that nothing cleared it (L26)
        flask_session.update(kept)  # another subject's session was cleared (L26)
        request.environ.setdefault(WAS_NOBODYS, WHOSE not in flask_session)
        self._link(x)
        if remember and self._protection() != "strong":  # which protects less where the session is permanent
            flask_session.permanent = True  # "remember me" now means: our session, and its link, outlive the browser
        self._manager._update_request_context_with_user(user)

    def _end(self, sender: Flask, **detail: object) -> None:
        run_sync(self._engine.logout(self._exchange()))

    def _confirm(self, sender: Flask, **detail: object) -> None:
        """`confirm_login()` says that the user has proved again who they are."""
        x = self._exchange()
        if x.created is None and self._holds():
            run_sync(self._engine.step_up(x, ()))

    def _refuse(self) -> Any:
        """Send away who is not signed in, in the app's way; where that cannot be known, never to the login (L17)."""
        if self._exchange().verdict is Verdict.UNAVAILABLE:
            raise StoreUnavailable("Whether somebody is signed in cannot be told: the session store does not answer.")
        return self._unauthorized()

    # --- the Flask session -----------------------------------------------------------------------------------------

    def _link(self, x: Exchange) -> None:
        assert x.record is not None
        flask_session[LINK] = request.environ[LINKED] = x.record.public_id
        flask_session[WHOSE] = x.record.subject

    def _relink(self, response: Response) -> Response:
        """Have the link follow a session that got a new id in this request: by step_up(), or by our own login()."""
        x = self._exchange()
        if x.created is not None and response.status_code >= 500 and not x.adopted and not x.closed:
            self.take_back(x)  # here, since Flask's session goes out with the error page (L25)
            run_sync(self._engine.take_back(x))
        created = x.created
        if created is not None and str(flask_session.get("_user_id")) == created.subject and self._was_linked(x):
            if x.stepped_from is None:
                self._link(x)
            elif flask_session.get(LINK) != created.before[-1]:
                # Flask's session goes out before it is decided which of several step-ups goes on (L12). That one, whose link
                # is written at the next request, is known by the id that all of them came with.
                flask_session[LINK] = created.before[-1]
        return response

    def _was_linked(self, x: Exchange) -> bool:
        """Say whether the Flask session's link named this user's session when the request came, or was made in it."""
        link = flask_session.get(LINK)
        return link is not None and (link == request.environ.get(LINKED) or _names_what_came(link, x))

    def clear(self, x: Exchange) -> None:
        """Empty the Flask session; at a logout, have the remember cookie removed too (L26)."""
        if flask_session:
            flask_session.clear()
        if x.verdict is Verdict.ANONYMOUS and self._remember_cookie() in request.cookies:
            flask_session["_remember"] = "clear"
        # Found again when asked for: it may be a request loader's, which is not ours to judge.
        g.pop("_login_user", None)

    def take_back(self, x: Exchange) -> None:
        """Have a login forgotten whose view raised, and its remember cookie with it (L25)."""
        created, before = x.created, x.outgoing
        assert created is not None
        if flask_session.get(LINK) != created.public_id:
            g.pop("_login_user", None)
            return
        user_id = flask_session.get("_user_id")
        self._forget()
        if before is not None and before.subject == created.subject:  # that session lives on, and here too
            flask_session.update({"_user_id": user_id, "_fresh": False, LINK: before.public_id, WHOSE: before.subject})

    def _forget(self) -> None:
        for name in (*self._keys, LINK, *([WHOSE] if request.environ.get(WAS_NOBODYS) else [])):
            flask_session.pop(name, None)
        self._manager._update_request_context_with_user()

    def _remember_cookie(self) -> str:
        return str(self._app.config.get("REMEMBER_COOKIE_NAME", "remember_token"))

    def _protection(self) -> object:
        return self._app.config.get("SESSION_PROTECTION", self._manager.session_protection)

    def login_url(self, url: str) -> str:
        """Return the login page: Flask-Login's `login_view`, that of the blueprint first, unless another is set."""
        if url != "/login":
            return url
        views = self._manager.blueprint_login_views
        view = views.get(request.blueprint) if views and request else None
        return str(view or self._manager.login_view or url)

    def refresh_view(self) -> str | None:
        """Return the page at which Flask-Login has people confirm who they are, None without one."""
        view = self._manager.refresh_view
        return str(view) if view else None

    def _fresh_login_url(self, facts: RequestFacts) -> str:
        view = self.refresh_view()
        if view is None:
            return self._engine.login_url(facts)
        if view.startswith("/"):
            return facts.mount + view
        return view if "://" in view else self._app.url_for(view, _external=False)


def _names_what_came(link: object, x: Exchange) -> bool:
    """Say whether a link names the session that came with a request that has begun another one of the same user."""
    if x.presented is not None and link == x.presented.public_id:
        return True
    before, created = x.outgoing, x.created
    return before is not None and created is not None and before.subject == created.subject and before.is_named(link)
