"""AdapterContract: every rule that shows in a browser, as scenarios that run the same in every framework."""

from __future__ import annotations

from session_middleware.testing.browser import Answer, Browser, Driver
from session_middleware.testing.scenario_app import describe, login_arguments

__all__ = ["Answer", "Browser", "Driver", "describe", "login_arguments"]
