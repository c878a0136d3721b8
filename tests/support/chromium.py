"""Debian's Chromium, driven by Playwright: pages as a browser shows them."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

COMMAND = shutil.which("chromium")
MISSING = "chromium is missing; on Debian, apt-get install chromium"


@contextmanager
def chromium() -> Generator[Browser]:
    """Yield a browser; the test is skipped where there is none.

    Its driver has an event loop run in this thread: nothing else can meanwhile.
    """
    if COMMAND is None:
        pytest.skip(MISSING)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=COMMAND)
        try:
            yield browser
        finally:
            browser.close()
