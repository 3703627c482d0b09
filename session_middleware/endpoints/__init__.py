"""The endpoints under `endpoint_prefix`, written once over the engine and mounted by every adapter.

`ROUTES` says for each name and method what guards it (L20), what it needs to know of the session, whether it may set
cookies (L9), and who answers. None of them is activity (L6); `continue` moves the deadline by L7.
"""

from session_middleware.endpoints.call import BODY_LIMIT, ReadBody
from session_middleware.endpoints.state import WARN_BEFORE
from session_middleware.endpoints.table import ROUTES, Endpoints
from session_middleware.provider_routes import NoLength

__all__ = ["BODY_LIMIT", "ROUTES", "WARN_BEFORE", "Endpoints", "NoLength", "ReadBody"]
