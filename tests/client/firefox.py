"""Debian's Firefox driven by Marionette, the protocol that it speaks itself: Playwright needs a Firefox of its own build.

A message is its length, a colon and a JSON list: [0, id, command, parameters], answered by [1, id, error, result]
(Firefox source docs, "Marionette: Protocol").
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .browsing import PATIENCE

PREFERENCES = {
    "app.update.disabledForTesting": True,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "marionette.port": 0,  # a free one, which it writes down
    "network.captive-portal-service.enabled": False,
    "toolkit.startup.max_resumed_crashes": -1,
}


def path() -> str | None:
    """Return where Firefox is; None where it is not."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """A running Firefox; windows are named by their handles."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._replies = self._socket.makefile("rb")
        self._id = 0
        self._read()  # who it is
        self.do("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"acceptInsecureCerts": False}}})

    def close(self) -> None:
        self._replies.close()
        self._socket.close()

    def do(self, command: str, parameters: dict[str, Any] | None = None) -> Any:
        """Do one command and return its result."""
        self._id += 1
        message = json.dumps([0, self._id, command, parameters or {}]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, id, error, result = self._read()
        assert id == self._id
        assert error is None, f"{command}: {error}"
        return result["value"] if isinstance(result, dict) and set(result) == {"value"} else result

    def _read(self) -> Any:
        length = b""
        while (byte := self._replies.read(1)) != b":":
            assert byte, "Firefox has ended"
            length += byte
        return json.loads(self._replies.read(int(length)))

    # --- what a person does ----------------------------------------------------------------------------------------

    def open(self, url: str, *, beside: bool = False) -> str:
        """Open a page, in a tab of its own if it is to stand beside; return the window's handle."""
        if beside:
            self.to(self.do("WebDriver:NewWindow", {"type": "tab"})["handle"])
        self.do("WebDriver:Navigate", {"url": url})
        handle: str = self.do("WebDriver:GetWindowHandle")
        return handle

    def to(self, handle: str) -> None:
        """Talk to another window; what it shows stays where it is."""
        self.do("WebDriver:SwitchToWindow", {"handle": handle, "focus": False})

    def says(self, expression: str) -> Any:
        """Return what an expression is in the page, or what its promise becomes."""
        return self.do("WebDriver:ExecuteScript", {"script": f"return {expression}", "args": []})

    def until(self, expression: str, wanted: object = True) -> None:
        """Wait until the page says so."""
        end = time.monotonic() + PATIENCE
        while (found := self.says(expression)) != wanted:
            assert time.monotonic() < end, f"{expression} is {found!r}, not {wanted!r}"
            time.sleep(0.02)

    def click(self, element: str) -> None:
        """Click what an expression finds, as a mouse would."""
        (found,) = self.says(element).values()
        self.do("WebDriver:ElementClick", {"id": found})


@contextlib.contextmanager
def running() -> Iterator[Firefox]:
    """Start a Firefox with a profile that nobody used before."""
    found = path()
    assert found is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
        (profile / "user.js").write_text("".join(lines))
        command = [found, "--headless", "--marionette", "--no-remote", "--profile", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                firefox = Firefox(_port(profile / "MarionetteActivePort", process))
                try:
                    yield firefox
                finally:
                    firefox.close()
            finally:
                process.terminate()


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + 2 * PATIENCE
    while True:
        with contextlib.suppress(OSError, ValueError):
            return int(file.read_text())
        assert process.poll() is None, "Firefox has ended"
        assert time.monotonic() < end, "Firefox did not start"
        time.sleep(0.05)
