"""Calls to a provider over HTTP, for whoever writes an authority: `Calls` asks, `Answered` or `ProviderFault` is what comes."""

from session_middleware.authorities.calls.answers import Answered, ProviderFault
from session_middleware.authorities.calls.asking import Calls, path_segment

__all__ = ["Answered", "Calls", "ProviderFault", "path_segment"]
