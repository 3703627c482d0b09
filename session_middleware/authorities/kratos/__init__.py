"""Ory Kratos as the authority behind the session; see `KratosAuthority`."""

from __future__ import annotations

from session_middleware.authorities.kratos.authority import KratosAuthority

__all__ = ["KratosAuthority"]
