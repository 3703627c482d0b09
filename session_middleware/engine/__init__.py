"""DOES: the only room that awaits a store or an authority, and so the only one where their order is written.

`Engine` is one object; each file holds the part of it that has one task, and builds on the parts before:

telling         events, and what is asked of the app's own functions
ending          how sessions end (L13, L16, L24)
later           judged anew: connections that stay open, responses that have started
beginning       what a new session replaces, and what becomes of one that nobody hears of (L12, L25)
logins          login and step_up (L12, L20)
verbs           what a view may do with its session (L7, L12, L14)
joining         one session of one proof, however many requests show it at once (L23, L24)
adopting        sessions that stand on a provider's credential (L24)
responding      cookies, refusals and answers (L9, L15, L17)
recording       activity, first presentation, renewal (L5, L6, L11)
authenticating  whose request it is (L8)
opening         how it is put together, and who may come in (L21)

What they use: `issuer` mints the JWT, `vouching` is the authority as one process reaches it, `recognising` the hot path,
`unsaved` watches what nobody saves.
"""

from session_middleware.engine.opening import Engine

__all__ = ["Engine"]
