"""Identity providers for those who develop and test offline: each is a WSGI callable that answers as the provider does.

Run one with `served`, point the authority's base URL there, and arrange what happens at the provider, faults included.
"""

from __future__ import annotations

from session_middleware.testing.stand_ins._serving import served

__all__ = ["served"]
