"""contrib.auth, bridged: its login begins a session of ours, its logout ends it, and it never knows more than we do (L23).

Django's session carries the public id of ours (the link). `request.user` is a user only while our verdict is ACTIVE, the
link names that very session, and the subjects are equal; whoever is turned away here is anonymous to every view, the
admin and `@login_required` included, and they send people to their own login page.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core.exceptions import PermissionDenied, SynchronousOnlyOperation
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.functional import SimpleLazyObject

from session_middleware.adapters._django_adopting import adopted, mark, proof
from session_middleware.adapters._django_exchange import KEY, Attached
from session_middleware.adapters._django_setup import current, is_bridged
from session_middleware.adapters._django_user import LINK, ONCE, found, link_to, named, read
from session_middleware.core.lifetime import Verdict
from session_middleware.errors import SessionError
from session_middleware.runtime import on_loop

__all__ = ["attach", "follow", "is_denial", "relink", "settle", "take_back"]

#: Looking a member up on its enum takes Python 3.11 a tenth of a microsecond.
_ACTIVE, _UNAVAILABLE = Verdict.ACTIVE, Verdict.UNAVAILABLE


def attach(request: HttpRequest, x: Attached) -> None:
    """Stand between a request and the user that AuthenticationMiddleware would give it."""
    x.find_user, x.find_auser = request.user, request.auser
    x.given = SimpleLazyObject(partial(_user, request, x))  # as Django does
    request.user = x.given
    request.auser = partial(_auser, request, x)


def _user(request: HttpRequest, x: Attached) -> Any:  # Any: AbstractBaseUser | AnonymousUser
    if not x.settled:
        if on_loop():
            raise SynchronousOnlyOperation("request.user may have to be loaded: write `await request.auser()` here.")
        x.side.run(settle(request, x))
    return x.user


async def _auser(request: HttpRequest, x: Attached) -> Any:  # Any: AbstractBaseUser | AnonymousUser
    if not x.settled:
        await settle(request, x)
    return x.user


async def settle(request: HttpRequest, x: Attached) -> None:
    """Find out who Django's user is (L23); a user that Django no longer accepts ends our session too (L8)."""
    if x.settled:
        return
    engine = x.side.engine
    if not x.authenticated and not engine.quiet(x):
        await engine.authenticate(x)
    user = None
    if x.verdict is _UNAVAILABLE:
        x.unknown = True
    elif request.session.session_key is not None:
        user = await _user_of(request, x)
    if user is None:
        from django.contrib.auth.models import AnonymousUser  # needs the app registry

        user = AnonymousUser()
    x.user, x.settled = user, True
    if getattr(request, "user", None) is x.given:  # else the app has put somebody there itself
        request.user = user  # each look at a lazy one costs a microsecond
    x.given = None


def follow(request: HttpRequest, x: Attached) -> None:
    """Take Django's user away after a verb of ours that ended the session, or signed somebody else in (L23).

    Who that is, is not looked up: Django's session has no link to theirs, and a subject that is a key of some other table
    must not become the user with that number.
    """
    if not x.settled or not x.user.is_authenticated:
        return  # not settled: it will be, by what holds then
    record = x.record
    if x.verdict is _ACTIVE and record is not None and record.subject == str(x.user.pk):
        return
    from django.contrib.auth.models import AnonymousUser

    before, x.user = x.user, AnonymousUser()
    x.linked, x.adopted = None, False
    x.unknown = x.verdict is _UNAVAILABLE
    if request.user is before:  # else the app has put somebody there itself
        request.user = x.user
        request.auser = partial(_auser, request, x)


async def _user_of(request: HttpRequest, x: Attached) -> Any:  # Any: AbstractBaseUser | None
    looping, session = on_loop(), request.session
    data: dict[str, Any] = await read(request, x) if looping else session._session  # type: ignore[attr-defined]
    if data.get(SESSION_KEY) is None:
        return None
    record, link = x.record, data.get(LINK)
    if (
        link is None
        and record is not None
        and x.verdict is _ACTIVE
        and x.side.engine.is_of_login(record, proof(session))
    ):
        link = record.public_id  # it was adopted, and a request that ran beside that one wrote over the link
        await link_to(session, link, looping)
    if record is None or not named(x, link):
        return await adopted(request, x, data, looping)
    user = await found(x, looping)
    if user is None:  # the password was changed, the user was deactivated or deleted
        await x.side.engine.revoke(x)
        return None
    x.linked = link
    if link != record.public_id and x.created is None:
        # A view that began before a step-up has written over the new link.
        x.linked = record.public_id
        await link_to(session, x.linked, looping)
    return user if str(user.pk) == record.subject else None


# --- Django's own login and logout -------------------------------------------------------------------------------------


def _begin(sender: object, request: Any, user: Any, **_: object) -> None:  # Any: whatever sends the signal
    """Begin our session for the user whom `django.contrib.auth.login` has just signed in."""
    session = getattr(request, "session", None)
    if session is None or session.get(SESSION_KEY) != user._meta.pk.value_to_string(user):
        return  # an API token or the like: nobody was signed in here
    x: Attached | None = getattr(request, KEY, None)
    if x is None:
        if is_bridged():
            mark(session)
        return
    kept, x.framework = x.framework, None  # Django has just written its session for this very user
    try:
        x.side.run(x.side.engine.login(x, str(user.pk)))
    except BaseException as problem:
        session.flush()  # it must not know a user whose session we refused to begin
        if isinstance(problem, SessionError) and problem.code == "cross_site_login":
            raise PermissionDenied(str(problem)) from problem  # 403, as for a missing CSRF token
        raise
    finally:
        x.framework = kept
    assert x.record is not None
    session[LINK] = x.linked = x.record.public_id
    session.pop(ONCE, None)
    x.user, x.settled, x.adopted, x.unknown = user, True, False, False


def _end(sender: object, request: Any, user: Any, **_: object) -> None:  # Any: whatever sends the signal
    """End our session with Django's."""
    x: Attached | None = getattr(request, KEY, None)
    if x is None:
        link = request.session.get(LINK) if hasattr(request, "session") else None
        if link is not None and is_bridged():
            side = current().any_side()
            side.run(side.engine.end_id(link, side.engine.clock(), "logout"))
        return
    from django.contrib.auth.models import AnonymousUser

    kept, x.framework = x.framework, None  # Django flushes next; other receivers may still want to read
    try:
        x.side.run(x.side.engine.logout(x))
    except BaseException:
        request.session.flush()
        raise
    finally:
        x.framework = kept
        x.user, x.settled, x.linked = AnonymousUser(), True, None


user_logged_in.connect(_begin, dispatch_uid="session_middleware.begin")
user_logged_out.connect(_end, dispatch_uid="session_middleware.end")


# --- at the response ----------------------------------------------------------------------------------------------------


async def relink(request: HttpRequest, x: Attached) -> None:
    """Let Django's session follow ours to the new id that a step-up or a second login gave it (L12).

    Not to that of a step-up which another one was before: its session has ended, and the other's is known by the link as it is.
    """
    session = request.session
    if x.created is None or not x.is_active or session.session_key is None or x.linked == x.created.public_id:
        return
    looping = on_loop()
    link = await session.aget(LINK) if looping else session.get(LINK)
    if link is None or link not in (x.linked, x.presented.public_id if x.presented is not None else None):
        return
    if looping:
        await session.aset(LINK, x.created.public_id)
    else:
        session[LINK] = x.created.public_id


async def take_back(request: HttpRequest, x: Attached) -> None:
    """Let Django's session belong to the session that came, where a login of the same user comes to nothing (L25)."""
    created, before, session = x.created, x.outgoing, request.session
    if created is None or before is None or before.subject != created.subject or session.session_key is None:
        return
    looping = on_loop()
    if (await session.aget(LINK) if looping else session.get(LINK)) != created.public_id:
        return
    x.linked = before.public_id
    if looping:
        await session.aset(LINK, x.linked)
    else:
        session[LINK] = x.linked


def is_denial(request: HttpRequest, x: Attached, response: HttpResponseBase) -> bool:
    """Say whether somebody was turned away for being anonymous; during an outage nobody can be called that (L17).

    A redirect does so if it goes to the login page, or wants to come back here by whatever parameter: Django's own
    decorators and mixins may name another than `next`, or none, and a view may redirect by itself.
    """
    if response.status_code in (401, 403):
        return True
    location = response.headers.get("Location")
    if response.status_code not in (302, 303) or location is None:
        return False
    return _comes_back(request.get_full_path(), location) or _goes_to_login(request, x, location)


def _comes_back(here: str, location: str) -> bool:
    """Say whether a redirect carries the path of this request, which Django writes as a whole URL to other hosts."""
    values = (value for _, value in parse_qsl(urlsplit(location).query))
    return any(value == here or ("://" in value and value.endswith(here)) for value in values)


def _goes_to_login(request: HttpRequest, x: Attached, location: str) -> bool:
    """Say whether a redirect goes to the login page; one from there is a step of the login."""
    here = "/" + request.path.lstrip("/")

    def place(url: str) -> tuple[str, str]:
        found = urlsplit(urljoin(here, url))
        return "" if found.netloc == x.host else found.netloc, unquote(found.path)

    login = place(x.side.engine.login_url(x))
    return place(location) == login != place(here)
