"""Auth0 as a preset of the OpenID authority, with what is Auth0's own: `/v2/logout`, plan limits, the Sessions API.

from session_middleware.authorities.auth0 import Auth0Authority

authority = Auth0Authority(
    "example.eu.auth0.com",
    client_id=os.environ["AUTH0_CLIENT_ID"],
    client_secret=os.environ["AUTH0_CLIENT_SECRET"],
    app_url="https://shop.example",
)
"""

from session_middleware.authorities.auth0.authority import Auth0Authority
from session_middleware.authorities.auth0.sessions_api import Management

__all__ = ["Auth0Authority", "Management"]
