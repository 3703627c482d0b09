"""Flask's own session: emptied at a logout, for another user, and once for each end of a session of ours (L26)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from flask import Response, after_this_request
from flask import session as flask_session

from session_middleware.adapters._emptied import EMPTIED

if TYPE_CHECKING:
    from session_middleware.adapters._flask_login import FlaskLogin
    from session_middleware.core.exchange import Exchange

__all__ = ["empty"]


def empty(find: Callable[[], Exchange], cookie_name: str, bridge: FlaskLogin | None) -> None:
    """Empty Flask's session, unless it says that this was done for this very end.

    Args:
        find: returns the exchange of the request that is served.
        cookie_name: of our token, by which apps are told apart that share Flask's session, by its key.
        bridge: what binds Flask-Login, None in an app without it.
    """
    x = find()
    over, mark = x.over, f"{EMPTIED}:{cookie_name}"
    if over is not None:
        noted = flask_session.get(mark) == over
        after_this_request(partial(_note, find, mark, over, bool(flask_session)))
        if noted:
            return
    # Another app on this host has ends of its own.
    others = {name: kept for name, kept in flask_session.items() if str(name).startswith(EMPTIED) and name != mark}
    if bridge is not None:
        bridge.clear(x)
    elif flask_session:
        flask_session.clear()
    if others:
        flask_session.update(others)


def _note(find: Callable[[], Exchange], mark: str, over: str, had: bool, response: Response) -> Response:
    """Have Flask's session say for which end it was emptied, whatever the view has made of it meanwhile.

    An app that had nothing in it, and has nothing now, is given none: its cookie may be another app's on this host.
    """
    x = find()
    stands = flask_session or (had and x.over == over)
    if stands and not x.deletes and flask_session.get(mark) != over:
        flask_session[mark] = over
    return response
