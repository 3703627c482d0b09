"""`python -m tests.client.pictures`: the pictures of the dialog in docs/images, anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from playwright.sync_api import ViewportSize, sync_playwright

from session_middleware.testing import FakeClock

from .browsing import Person
from .town import Town

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"

SIZES: dict[str, ViewportSize] = {"narrow": {"width": 320, "height": 400}, "wide": {"width": 640, "height": 340}}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main() -> None:
    """Write one for each width and colour scheme."""
    IMAGES.mkdir(exist_ok=True)
    town = Town(FakeClock())
    with town.runs() as origin, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for scheme in SCHEMES:
            for width, size in SIZES.items():
                context = browser.new_context(viewport=size, color_scheme=scheme)
                tab = Person(context, town, origin).signed_in()
                tab.passes(245)
                tab.page.screenshot(path=IMAGES / f"dialog-{scheme}-{width}.png")
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
