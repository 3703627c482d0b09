"""`{% load session_client %}{% session_client %}`: the tag that loads the browser script (docs/client.md)."""

from __future__ import annotations

from django import template
from django.urls import get_script_prefix

from session_middleware.adapters._django_setup import current
from session_middleware.client import ScriptTag, script_tag

__all__ = ["register", "session_client"]

register = template.Library()


@register.simple_tag
def session_client(**options: str) -> ScriptTag:
    """Return the tag, with the options of `session_middleware.client.script_tag`; translate with `{% translate ... as %}`.

    Raises:
        SettingsError: there is no such option, or SESSION_LIFETIME makes no sense.
    """
    said = {name: str(value) for name, value in options.items()}  # a translation may be lazy, a nonce too
    return script_tag(current().settings.endpoint_prefix, get_script_prefix().rstrip("/"), **said)
