"""What a Django view began before it raised does not stand, whoever answers the exception (L25).

A middleware's `process_exception` is asked only until one has answered, those of middlewares inside ours first; so ours would
not hear of an exception that one of them makes an answer of. What asks them is heard instead. django-ninja answers what an
operation raises itself, so what it asks for its exception handlers is heard too.
"""

from __future__ import annotations

import functools
from typing import Any

from django.core.handlers.base import BaseHandler
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from session_middleware.adapters._django_exchange import KEY, Attached

__all__ = ["is_failure", "note_failures", "note_failures_of_ninja"]

#: Says that what asks the middlewares notes failures already.
_NOTES = "__session_notes_failures__"


def note_failures() -> None:
    """Have every exception noted that leaves a view, once a process."""
    standing = BaseHandler.process_exception_by_middleware
    if hasattr(standing, _NOTES):
        return

    @functools.wraps(standing)
    def noted(handler: BaseHandler, exception: Exception, request: HttpRequest) -> HttpResponseBase | None:
        _failed(request)
        return standing(handler, exception, request)

    setattr(noted, _NOTES, True)
    setattr(BaseHandler, "process_exception_by_middleware", noted)  # noqa: B010 # mypy: methods are not assignable


def note_failures_of_ninja(kind: Any) -> None:  # Any: NinjaAPI, or a class of the app's that is one
    """Have every exception noted that leaves an operation of django-ninja's, once for each class of an API."""
    standing = kind.on_exception
    if hasattr(standing, _NOTES):
        return

    @functools.wraps(standing)
    def noted(api: Any, request: HttpRequest, exception: Exception) -> HttpResponseBase:  # Any: the API
        _failed(request)
        answer: HttpResponseBase = standing(api, request, exception)
        return answer

    setattr(noted, _NOTES, True)
    kind.on_exception = noted


def _failed(request: HttpRequest) -> None:
    x: Attached | None = getattr(request, KEY, None)
    if x is not None:
        x.failed = True


def is_failure(response: HttpResponseBase) -> bool:
    """Say whether a response was made of what the view raised; REST framework answers that itself, and says so."""
    return response.status_code >= 500 or getattr(response, "exception", None) is True


def _note_failure(*, request: Any = None, **_: object) -> None:  # Any: HttpRequest | None
    """Note that something raised for which Django has no page: a view, a middleware inside ours, a template.

    What it had written of claims and data is half of something, as in every other framework (L25).
    """
    x: Attached | None = getattr(request, KEY, None)
    if x is not None:
        x.failed = True
        x.claim_changes = x.data = None


got_request_exception.connect(_note_failure, dispatch_uid="session_middleware.failed")
