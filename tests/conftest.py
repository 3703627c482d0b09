"""What every test of this repository shares."""

from __future__ import annotations

pytest_plugins = ["pytester"]
