"""Pictures of every page over the golden incident, for the documentation.

`python -m tests.console.pictures DIR`: wide and narrow, light and dark.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Page

from tests.cli.scene import Shell
from tests.console.test_browser import NARROW, PAGES, WIDE
from tests.incident.story import tell
from tests.support.chromium import chromium

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main(directory: Path) -> None:
    """Write the pictures into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name, "place")
        place.mkdir(mode=0o700)
        told = asyncio.run(tell(place))
        process = Shell(place).start("console")
        try:
            assert process.stdout is not None
            link: str = process.stdout.readline().strip()
            parts = urlsplit(link)
            with chromium() as browser:
                # What moves would be caught between two colours.
                page = browser.new_page(reduced_motion="reduce")
                page.goto(link)
                page.wait_for_url("**/console")
                base = f"{parts.scheme}://{parts.netloc}"
                for title, path in PAGES.items():
                    page.goto(base + path.format(**told.grants))
                    _pictures(page, title, directory)
                page.goto(base + PAGES["a grant"].format(**told.grants))
                page.locator("a[data-opens]").nth(1).click()
                page.get_by_role("button", name="Verify this leaf").click()
                page.locator(".checks li").nth(3).wait_for()
                _pictures(page, "an event opened", directory)
                page.goto(base + PAGES["trace"])
                page.get_by_label("A token, itself").fill(told.stolen_access)
                page.get_by_role("button", name="Trace").click()
                page.get_by_text("Who holds them").wait_for()
                _pictures(page, "a traced token", directory)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def _pictures(page: Page, title: str, directory: Path) -> None:
    stem = re.sub(r"\W+", "-", title)
    for size in (WIDE, NARROW):
        for scheme in SCHEMES:
            page.set_viewport_size(size)  # type: ignore[arg-type]  # a typed dict
            page.emulate_media(color_scheme=scheme)
            file = f"{stem}-{size['width']}-{scheme}.png"
            page.screenshot(path=directory / file, full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
