"""The report as Chromium shows it: readable everywhere, and it asks for nothing."""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from tests.evidence.story import ATTACK, Made
from tests.support.chromium import chromium

Scheme = Literal["light", "dark"]
WIDTHS = (360, 1440)
PNG = b"\x89PNG"
READABLE = 4.5
"""Contrast of text (WCAG 2.2 section 1.4.3)."""

CONTRASTS = """() => {
  const parts = c => c.match(/[0-9.]+/g).map(Number);
  const light = c => {
    const [r, g, b] = parts(c).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const said = parts(getComputedStyle(e).backgroundColor);
      if (said.length === 3) return getComputedStyle(e).backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = {};
  for (const e of document.querySelectorAll('main *:not(svg *)')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort();
    found[`${e.tagName}.${e.className}`] =
      (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


class Seen:
    """What a page asked for and said."""

    def __init__(self, page: Page) -> None:
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))


@contextmanager
def opened(
    browser: Browser, report: Path, width: int = 1440, scheme: Scheme = "light"
) -> Generator[tuple[Page, Seen]]:
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    seen = Seen(page)
    page.goto(report.as_uri())
    yield page, seen
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_reads_in_every_light_and_on_every_screen(
    browser: Browser, of_sqlite: Made, tmp_path: Path, width: int, scheme: Scheme
) -> None:
    report = of_sqlite.of("grant") / "report.html"
    with opened(browser, report, width, scheme) as (page, seen):
        assert seen.asked == [report.as_uri()]
        assert seen.said == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
        picture = page.locator("figure svg")
        assert picture.is_visible()
        assert picture.locator("g").count() >= len(("consent", "handed", "ended"))
        for name in ("Consent", "Refresh tokens", "Hand-outs", "Refused, failed"):
            assert picture.get_by_text(name, exact=True).is_visible()
        assert page.locator("td .event").first.is_visible()
        contrasts: dict[str, float] = page.evaluate(CONTRASTS)
        assert contrasts
        assert {k: v for k, v in contrasts.items() if v < READABLE} == {}
        shot = page.screenshot(path=tmp_path / "report.png", full_page=True)
        assert shot.startswith(PNG)


def test_what_others_wrote_is_text_and_nothing_more(
    browser: Browser, of_sqlite: Made
) -> None:
    for name in ("grant", "window"):
        with opened(browser, of_sqlite.of(name) / "report.html") as (page, seen):
            assert page.title().startswith("Evidence: ")
            assert ATTACK in page.locator("table").last.inner_text()
            assert "bob<b>" in page.locator("main").inner_text()
            live = "script, img, iframe, object, link, a[href], form, main b, [style]"
            assert page.locator(live).count() == 0
            handlers = "[...document.querySelectorAll('*')].flatMap(e => "
            handlers += "e.getAttributeNames().filter(n => n.startsWith('on')))"
            assert page.evaluate(handlers) == []
            text = page.locator("main").inner_text()
            assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
            assert seen.said == []


def test_the_page_forbids_what_was_smuggled_into_it(
    browser: Browser, of_sqlite: Made, tmp_path: Path
) -> None:
    """Even of a report that somebody changed nothing runs, and nothing is fetched."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        port = server.getsockname()[1]
        text = (of_sqlite.of("grant") / "report.html").read_text()
        smuggled = (
            "<script>document.title='owned'</script>"
            f"<img src=http://127.0.0.1:{port}/x onerror=document.title='owned'>"
            f"<style>body{{background:url(http://127.0.0.1:{port}/y)}}</style>"
        )
        changed = tmp_path / "report.html"
        changed.write_text(text.replace("<main>", f"<main>{smuggled}"))
        with opened(browser, changed) as (page, seen):
            assert page.title() != "owned"
            assert any("Content Security Policy" in said for said in seen.said)
        with pytest.raises(TimeoutError):
            server.accept()


def test_it_prints(browser: Browser, of_sqlite: Made) -> None:
    report = of_sqlite.of("window") / "report.html"
    with opened(browser, report, scheme="dark") as (page, _):
        page.emulate_media(media="print")
        background = "getComputedStyle(document.documentElement).backgroundColor"
        assert page.evaluate(background) == "rgb(255, 255, 255)"
        assert page.pdf(format="A4").startswith(b"%PDF")
