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
                for title, path in PAGES.items():
                    said = path.format(**told.grants)
                    page.goto(f"{parts.scheme}://{parts.netloc}{said}")
                    for size in (WIDE, NARROW):
                        for scheme in SCHEMES:
                            page.set_viewport_size(size)  # type: ignore[arg-type]  # a typed dict
                            page.emulate_media(color_scheme=scheme)
                            stem = re.sub(r"\W+", "-", title)
                            file = f"{stem}-{size['width']}-{scheme}.png"
                            page.screenshot(path=directory / file, full_page=True)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
