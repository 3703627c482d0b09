"""The framework's own session is emptied once for each session of ours that has ended, however often its cookie still comes.

Our dead cookie stays in the browser until the next login (L26). What the app keeps in the meantime is what that login
needs: the token of its form against CSRF, the `state` of an OpenID sign-in, the first of two factors. So whoever empties
the framework's session leaves in it for which end that was.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EMPTIED"]

#: Where the framework's session keeps the public id of the session of ours for whose end it was emptied; where several apps of
#: ours may share one, how the names begin under which each does.
EMPTIED: Final = "_session_lifetime_emptied"
