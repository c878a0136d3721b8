"""Lines for operators: one each, and nobody's secret in them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from grantledger.adapters.telemetry import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield io.StringIO()
    root.handlers, level = before[0], before[1]
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream: io.StringIO) -> None:
    logs.set_up("json", "INFO", stream=stream, trace_id=lambda: "abc")
    log = logging.getLogger("grantledger.http")
    log.info("said %s\nand more", "this", extra={"request_id": "r1"})
    log.debug("not this")
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "grantledger.http",
        "message": "said this and more",
        "trace_id": "abc",
        "request_id": "r1",
    }


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_is_its_kind_and_its_place(
    stream: io.StringIO, form: Literal["json", "text"]
) -> None:
    logs.set_up(form, "DEBUG", stream=stream)
    try:
        raise ValueError("canary-secret")  # noqa: TRY301 - the place is what is tested
    except ValueError:
        logging.getLogger("grantledger.x").exception("it failed")
    assert "canary" not in stream.getvalue()
    assert "ValueError at test_logs.py:" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_of_other_libraries_it_is_told_who_spoke_and_never_what(
    stream: io.StringIO,
) -> None:
    """An event loop shows the arguments of a callback that failed."""
    logs.set_up("json", "DEBUG", stream=stream)
    logging.getLogger("httpx").info("HTTP Request: GET %s", "https://x/canary")
    logging.getLogger("httpcore.http11").debug("[(b'Set-Cookie', b'canary')]")
    logging.getLogger("another.library").error("canary %s", "canary")

    async def failing() -> None:
        asyncio.get_running_loop().call_soon(fails, "canary")
        await asyncio.sleep(0.01)

    def fails(_secret: str) -> None:
        raise ValueError("canary")

    asyncio.run(failing())
    assert "canary" not in stream.getvalue()
    assert [line["logger"] for line in lines(stream)] == ["another.library", "asyncio"]
    assert lines(stream)[1]["exception"].startswith("ValueError at test_logs.py:")


def test_a_note_to_whoever_started_the_process_is_shown_at_every_level(
    stream: io.StringIO,
) -> None:
    tell = logs.set_up("text", "ERROR", stream=stream)
    tell("listening on http://127.0.0.1:1")
    assert stream.getvalue() == "listening on http://127.0.0.1:1\n"
    tell = logs.set_up("json", "ERROR", stream=stream)
    tell("listening on http://127.0.0.1:1")
    assert "127.0.0.1:1" in json.loads(stream.getvalue().splitlines()[1])["message"]
