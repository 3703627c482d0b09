"""Stytch as the authority behind the session: consumer projects and B2B ones."""

from __future__ import annotations

from session_middleware.authorities.stytch.authority import StytchAuthority

__all__ = ["StytchAuthority"]
