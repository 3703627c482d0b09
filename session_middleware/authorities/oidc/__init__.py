"""An OpenID provider behind the sessions of an app; Auth0 is a preset of it (`session_middleware.authorities.auth0`).

    from session_middleware.authorities.oidc import OIDCAuthority

    authority = OIDCAuthority(
        "https://id.example",
        client_id="shop",
        client_secret=os.environ["OIDC_CLIENT_SECRET"],
        app_url="https://shop.example",
    )

Rooms: `signin` (the routes login and callback), `pushed` (what the provider says by itself), `claims` (what its tokens must
say), `provider` (calls to it), `sealing` (its tokens as a record keeps them).
"""

from session_middleware.authorities.oidc.authority import OIDCAuthority
from session_middleware.authorities.oidc.signals import SharedSignals

__all__ = ["OIDCAuthority", "SharedSignals"]
