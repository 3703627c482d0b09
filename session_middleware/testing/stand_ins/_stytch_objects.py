"""What Stytch's API calls a user, a member, an organization, an authentication factor and a time, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

__all__ = ["Factor", "Member", "Organization", "User", "factor_of", "nanoseconds", "seconds", "new_id"]

#: A factor as the tests name it: its type, or what it has beside the members that all have.
Factor = str | Mapping[str, Any]

#: How a factor of each type was delivered, where there are several ways the most usual one.
DELIVERED: Final = {
    "magic_link": "email",
    "otp": "sms",
    "email_otp": "email",
    "oauth": "oauth_google",
    "webauthn": "webauthn_registration",
    "totp": "authenticator_app",
    "crypto": "crypto_wallet",
    "password": "knowledge",
    "signature_challenge": "biometric",
    "sso": "sso_oidc",
    "imported": "imported_auth0",
    "recovery_codes": "recovery_code",
    "impersonated": "impersonation",
    "trusted_auth_token": "trusted_token_exchange",
}


def new_id(kind: str) -> str:
    """Return an id as a test project has them, such as "user-test-16d9ba61-97a1-4ba4-9720-b03761dc50c6"."""
    return f"{kind}-test-{uuid4()}"


def seconds(instant: int) -> str:
    """Write a time, given in nanoseconds since the epoch, as a session JWT has it: whole seconds."""
    return f"{datetime.fromtimestamp(instant // 10**9, UTC):%Y-%m-%dT%H:%M:%S}Z"


def nanoseconds(instant: int) -> str:
    """Write a time, given in nanoseconds since the epoch, as the API has it: nine digits of a second."""
    return f"{seconds(instant)[:-1]}.{instant % 10**9:09}Z"


def factor_of(factor: Factor, now: int) -> dict[str, Any]:
    """Return an authentication factor that was shown at `now`."""
    own: dict[str, Any] = {"type": factor} if isinstance(factor, str) else dict(factor)
    times = dict.fromkeys(("last_authenticated_at", "created_at", "updated_at"), seconds(now))
    made: dict[str, Any] = {"delivery_method": DELIVERED.get(own["type"], own["type"]), **times, **own}
    if made["delivery_method"] == "email":
        made.setdefault("email_factor", {"email_id": new_id("email"), "email_address": "sandbox@stytch.com"})
    return made


@dataclass(slots=True)
class User:
    """A user of a consumer project."""

    email: str
    password: str = field(repr=False)
    created_at: int
    id: str = field(default_factory=lambda: new_id("user"))
    email_id: str = field(default_factory=lambda: new_id("email"))

    def as_json(self) -> dict[str, Any]:
        return {
            "user_id": self.id,
            "emails": [{"email_id": self.email_id, "email": self.email, "verified": True}] if self.email else [],
            "status": "active",
            "phone_numbers": [],
            "webauthn_registrations": [],
            "providers": [],
            "totps": [],
            "crypto_wallets": [],
            "biometric_registrations": [],
            "is_locked": False,
            "roles": ["stytch_user"],
            "name": {"first_name": "", "middle_name": "", "last_name": ""},
            "created_at": seconds(self.created_at),
            "password": None,
            "trusted_metadata": {},
            "untrusted_metadata": {},
        }


@dataclass(slots=True)
class Organization:
    """An organization of a B2B project."""

    slug: str
    created_at: int
    mfa_required: bool = False
    allowed_auth_methods: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: new_id("organization"))

    def as_json(self) -> dict[str, Any]:
        return {
            "organization_id": self.id,
            "organization_name": self.slug.title(),
            "organization_logo_url": "",
            "organization_slug": self.slug,
            "sso_jit_provisioning": "NOT_ALLOWED",
            "sso_jit_provisioning_allowed_connections": [],
            "sso_active_connections": [],
            "email_allowed_domains": [],
            "email_jit_provisioning": "NOT_ALLOWED",
            "email_invites": "ALL_ALLOWED",
            "auth_methods": "RESTRICTED" if self.allowed_auth_methods else "ALL_ALLOWED",
            "allowed_auth_methods": list(self.allowed_auth_methods),
            "mfa_policy": "REQUIRED_FOR_ALL" if self.mfa_required else "OPTIONAL",
            "rbac_email_implicit_role_assignments": [],
            "mfa_methods": "ALL_ALLOWED",
            "allowed_mfa_methods": [],
            "oauth_tenant_jit_provisioning": "NOT_ALLOWED",
            "claimed_email_domains": [],
            "first_party_connected_apps_allowed_type": "ALL_ALLOWED",
            "allowed_first_party_connected_apps": [],
            "third_party_connected_apps_allowed_type": "ALL_ALLOWED",
            "allowed_third_party_connected_apps": [],
            "custom_roles": [],
            "trusted_metadata": {},
            "created_at": seconds(self.created_at),
        }


@dataclass(slots=True)
class Member:
    """A member of an organization."""

    organization: Organization
    email: str
    password: str = field(repr=False)
    created_at: int
    id: str = field(default_factory=lambda: new_id("member"))

    def as_json(self) -> dict[str, Any]:
        return {
            "organization_id": self.organization.id,
            "member_id": self.id,
            "email_address": self.email,
            "status": "active",
            "name": "",
            "sso_registrations": [],
            "is_breakglass": False,
            "member_password_id": "",
            "oauth_registrations": [],
            "email_address_verified": True,
            "mfa_phone_number_verified": False,
            "is_admin": False,
            "totp_registration_id": "",
            "retired_email_addresses": [],
            "is_locked": False,
            "mfa_enrolled": False,
            "mfa_phone_number": "",
            "default_mfa_method": "",
            "roles": [],
            "trusted_metadata": {},
            "untrusted_metadata": {},
            "created_at": seconds(self.created_at),
        }
