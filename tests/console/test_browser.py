"""The console as Chromium shows it, over the ledger of the golden incident."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shutil import copytree
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.cli.scene import GRANTLEDGER, Shell
from tests.incident.cast import Told
from tests.support.chromium import chromium

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
DRAWN = {"runOnly": ["color-contrast", "scrollable-region-focusable", "target-size"]}
"""What else depends on a width or a colour; the rest is said of the markup alone."""
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 360, "height": 800}
INSIDE = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
ROOM = """all => Math.min(...all.map(one =>
    one.querySelector("rect").getBBox().x + one.querySelector("rect").getBBox().width
    - Math.max(...[...one.querySelectorAll("text")].map(
        text => text.getBBox().x + text.getBBox().width))))"""
"""How much is left at the right of the words in a box, in the picture's own pixels."""
PAGES = {
    "overview": "/console",
    "its past": "/console?at=2025-03-06T12:00:00Z",
    "grants": "/console/grants",
    "no grants": "/console/grants?status=refreshing",
    "a grant": "/console/grants/{alice}",
    "before it": "/console/grants/{alice}?at=2001-01-01T00:00:00Z",
    "a grant's past": "/console/grants/{alice}?at=2025-03-06T12:00:00Z",
    "trail": "/console/trail",
    "denials": "/console/trail?outcome=denied",
    "no rows": "/console/trail?caller=nobody",
    "trace": "/console/trace",
    "a leaf": "/console/leaf/100.-1",
    "an error": "/console/grants?status=nonsense",
    "nowhere": "/console/nowhere",
}


@dataclass
class Desk:
    """A browser that has come in, and where the pages are."""

    context: BrowserContext
    base: str
    told: Told
    place: Path

    @contextmanager
    def page(self, path: str) -> Generator[Page]:
        """Open a page; whatever it says or asks of others fails the test."""
        faults: list[str] = []
        page = self.context.new_page()
        page.on("console", lambda said: faults.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda shown: faults.append(f"dialog: {shown.message}"))
        page.on("request", lambda asked: self._check(asked.url, faults))
        try:
            page.goto(self.base + path.format(**self.told.grants))
            yield page
        finally:
            page.close()
        # What the browser says of a status is no fault of the page.
        assert [f for f in faults if "Failed to load resource" not in f] == []

    def _check(self, url: str, faults: list[str]) -> None:
        if not url.startswith(self.base + "/"):
            faults.append(f"asked {urlsplit(url).netloc}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def desk(
    golden: Path, told: Told, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    place = tmp_path_factory.mktemp("console") / "place"
    copytree(golden, place)
    process = Shell(place).start("console")
    try:
        assert process.stdout is not None
        link: str = process.stdout.readline().strip()
        # Without movement, for a colour on its way to another is neither.
        context = browser.new_context(reduced_motion="reduce")
        page = context.new_page()
        page.goto(link)
        page.wait_for_url("**/console")
        page.close()
        parts = urlsplit(link)
        yield Desk(context, f"{parts.scheme}://{parts.netloc}", told, place)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_page_is_whole_at_every_width_and_in_light_and_dark(
    desk: Desk, path: str
) -> None:
    with desk.page(path) as page:
        _fits_everywhere(page)


def test_the_longest_names_fit(desk: Desk) -> None:
    named = "header .who, main :is(.names, .words, dd, h1, h2, p, li, .notice)"
    change = f"""document.querySelectorAll("{named}").forEach(
        one => one.append("\u00dcx".repeat(130)))"""
    for name in ("overview", "grants", "a grant", "trail", "a leaf", "an error"):
        with desk.page(PAGES[name]) as page:
            page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a typed dict
            page.evaluate(change)
            assert page.evaluate(INSIDE), name


def test_on_a_small_screen_all_is_seen_and_read(desk: Desk) -> None:
    with desk.page(PAGES["its past"]) as page:
        page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a typed dict
        label = page.locator(".chart text").first.bounding_box()
        assert label is not None
        assert label["height"] > 10
        tops = "all => new Set(all.map(one => one.offsetTop)).size"
        assert page.locator("nav a").evaluate_all(tops) == 1, "pages stand in one row"
        page.goto(desk.base + PAGES["no rows"])
        said = page.get_by_text("Nothing is on the record").bounding_box()
        assert said is not None
        assert said["x"] + said["width"] <= NARROW["width"]


def _fits_everywhere(page: Page) -> None:
    _fits(page, WIDE, "light", RULES)
    _fits(page, NARROW, "dark", DRAWN)


def _fits(
    page: Page, size: dict[str, int], scheme: str, rules: dict[str, list[str]]
) -> None:
    page.set_viewport_size(size)  # type: ignore[arg-type]  # a typed dict
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its words
    assert page.evaluate(INSIDE), f"{size['width']} px: wider than its window"
    assert _violations(page, rules) == {}, (scheme, size)


def _violations(page: Page, rules: dict[str, list[str]]) -> dict[str, list[Any]]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    asked = {**rules, "resultTypes": ["violations"]}
    found = page.evaluate("asked => axe.run(document, asked)", asked)
    return {
        one["id"]: [node["html"][:200] for node in one["nodes"][:3]]
        for one in found["violations"]
    }


def test_the_keyboard_is_enough(desk: Desk) -> None:
    with desk.page("/console/grants") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('tbody') !== null"):
                break
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) != "none", "where one is, is seen"
        page.keyboard.press("Enter")
        page.wait_for_url("**/console/grants/*")
        assert page.locator("figure.picture svg").count() == 1


def test_the_browser_proves_a_leaf_by_itself(desk: Desk) -> None:
    with desk.page("/console/leaf/100.-1") as page:
        page.get_by_role("button", name="Verify this leaf").press("Enter")
        page.locator(".checks li").nth(3).wait_for()
        assert page.locator(".checks li.good").count() == 4
        assert page.locator(".checks li.bad").count() == 0


@pytest.mark.parametrize("changed", ["leaf", "hashes", "checkpoint"])
def test_a_proof_that_was_changed_on_its_way_is_refused(
    desk: Desk, changed: str
) -> None:
    with desk.page("/console/leaf/100.-1") as page:

        def change(route: Any) -> None:  # noqa: ANN401 - the driver's own
            said = route.fetch().json()
            match changed:
                case "leaf":
                    said["leaf"] = "AAAA" + said["leaf"][4:]
                case "hashes":
                    said["hashes"].reverse()
                case _:
                    text = said["checkpoint"]
                    said["checkpoint"] = text.replace("\n", "x\n", 1)
            route.fulfill(json=said)

        page.route("**/console/proof/*", change)
        page.get_by_role("button", name="Verify this leaf").click()
        page.locator(".checks li").nth(3).wait_for()
        assert page.locator(".checks li.bad").count() >= 2


def test_a_stolen_token_is_traced_and_its_grant_ended(desk: Desk) -> None:
    with desk.page("/console/trace") as page:
        page.get_by_label("A token, itself").fill(desk.told.stolen_access)
        page.get_by_role("button", name="Trace").click()
        page.get_by_text("Who holds them").wait_for()
        assert desk.told.stolen_access not in page.content()
        assert page.url.endswith("/console/trace")
        assert page.locator("figure.graph svg g.asked").count() == 1
        assert page.locator("figure.graph g.token").evaluate_all(ROOM) >= 6, (
            "in its box"
        )
        _fits_everywhere(page)
        page.get_by_label("Reason").fill("handed to an unknown address")
        page.get_by_label("Ticket").fill("SEC-4711")
        page.get_by_label("I am sure").check()
        page.get_by_role("button", name="End this grant").click()
        page.get_by_text("Nothing is handed out any more").wait_for()


@pytest.mark.parametrize("path", ["/console", "/console/grants/{alice}"])
def test_the_slider_goes_through_time_and_back_on_the_page(
    desk: Desk, path: str
) -> None:
    with desk.page(path) as page:
        page.evaluate("window.stayed = true")
        slide = page.get_by_role("slider")
        slide.focus()
        slide.press("Home")
        page.get_by_text("This is the past").wait_for()
        assert "?at=20" in page.url
        assert page.evaluate("window.stayed"), "the page was not loaded again"
        assert page.evaluate("document.activeElement.type") == "range", "it is held"
        field = page.get_by_label("As of (UTC)")
        field.fill("2999-01-01T00:00:00Z")
        field.press("Enter")
        page.get_by_text("at is still to come").wait_for()
        assert page.evaluate("window.stayed")
        page.go_back()
        page.get_by_text("This is the past").wait_for()
        page.go_back()
        page.get_by_text("This is the past").wait_for(state="detached")


def test_an_event_opens_in_place_and_is_verified_there(desk: Desk) -> None:
    with desk.page("/console/grants/{alice}") as page:
        here = page.url
        link = page.locator("a[data-opens]").nth(1)
        link.focus()
        link.press("Enter")
        leaf = page.locator(".opened .leaf")
        leaf.get_by_text("Leaf hash").wait_for()
        assert leaf.count() == 1
        assert link.get_attribute("aria-expanded") == "true"
        assert leaf.locator("time").first.get_attribute("title"), "and what it is here"
        leaf.get_by_role("button", name="Verify this leaf").click()
        leaf.locator(".checks li").nth(3).wait_for()
        assert leaf.locator(".checks li.good").count() == 4
        _fits_everywhere(page)
        link.click()
        leaf.wait_for(state="hidden")
        link.click()
        leaf.wait_for(state="visible")
        assert page.url == here


def test_the_present_is_kept_fresh_while_it_is_looked_at(desk: Desk) -> None:
    with desk.page("/console/grants") as page:
        page.clock.install()
        page.goto(f"{desk.base}/console")
        page.evaluate("document.getElementById('now').firstElementChild.remove()")
        writes = page.get_by_text("The ledger takes writes")
        assert writes.count() == 0
        page.clock.run_for(16_000)
        writes.wait_for()
        asked: list[str] = []
        page.on("request", lambda one: asked.append(one.url))
        page.get_by_label("Kept fresh").uncheck()
        page.clock.run_for(60_000)
        assert asked == []


def test_every_page_works_without_scripts(desk: Desk, browser: Browser) -> None:
    state = desk.context.storage_state()
    context = browser.new_context(storage_state=state, java_script_enabled=False)
    page = context.new_page()
    page.goto(desk.base + "/console/grants/{alice}".format(**desk.told.grants))
    page.get_by_label("As of (UTC)").fill("2025-03-06T12:00:00Z")
    page.get_by_role("button", name="Show").click()
    assert page.get_by_text("This is the past").is_visible()
    page.locator("tbody a[data-opens]").first.click()
    assert page.get_by_text("Leaf hash").is_visible()
    assert "/console/leaf/" in page.url
    context.close()


def test_times_say_what_they_are_here(desk: Desk) -> None:
    with desk.page("/console/trail") as page:
        first = page.locator("time").first
        assert "UTC" in first.inner_text()
        assert first.get_attribute("title", timeout=2000)


def test_rows_and_evidence_are_taken_out(desk: Desk, tmp_path: Path) -> None:
    with desk.page("/console/trail?outcome=denied") as page:
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV", exact=True).click()
        kept = tmp_path / "rows.csv"
        download.value.save_as(kept)
        assert kept.read_text(encoding="utf-8").count("\n") > 2
    with desk.page("/console/grants/{alice}") as page:
        with page.expect_download() as download:
            page.get_by_role("button", name="Evidence bundle").click()
        bundle = tmp_path / "evidence.zip"
        download.value.save_as(bundle)
    key = Shell(desk.place).run("checkpoint", "--key").out.strip()
    verifier = GRANTLEDGER.with_name("grantledger-verify")
    command: list[str | Path] = [verifier, "bundle", "--key", key, bundle]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stderr


def test_who_leaves_is_out(desk: Desk, browser: Browser) -> None:
    context = browser.new_context(storage_state=desk.context.storage_state())
    page = context.new_page()
    page.goto(f"{desk.base}/console/grants")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Signed out").wait_for()
    page.goto(f"{desk.base}/console/grants")
    assert page.get_by_role("heading", name="Sign in").is_visible()
    context.close()
