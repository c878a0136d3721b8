"""What `serve` and `worker` say on standard error: one line for each happening.

Our own messages are written so that they may be read by anyone. Nobody vouches for
those of the libraries: an HTTP client shows headers, an event loop the values of a
failed callback. So of another logger it is told who spoke, where, and of which kind
the exception was, from WARNING on; never its words. An exception is its kind and place.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

import msgspec

OURS = "grantledger"


def set_up(
    form: Literal["text", "json"],
    level: str,
    *,
    stream: TextIO | None = None,
    trace_id: Callable[[], str | None] | None = None,
) -> Callable[[str], None]:
    """Have every logger speak to `stream`; return what tells a line of our own.

    Args:
        form: a line for people, or a JSON object.
        level: of our own loggers; others speak from WARNING on.
        stream: standard error by default.
        trace_id: asked for each line.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json(trace_id) if form == "json" else Text(trace_id))
    handler.addFilter(_worth_telling)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)

    def tell(message: str) -> None:
        record = logging.LogRecord(OURS, logging.INFO, "", 0, message, None, None)
        handler.emit(record)

    return tell


class Text(logging.Formatter):
    """A line for people."""

    def __init__(self, trace_id: Callable[[], str | None] | None = None) -> None:
        super().__init__()
        self._trace_id = trace_id

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        if not record.lineno:  # a note for whoever started the process
            return said(record)
        error = exception_of(record)
        more = "" if error is None else f" ({error})"
        when = _time(record)
        return f"{when} {record.levelname} {record.name}: {said(record)}{more}"


class Json(logging.Formatter):
    """A JSON object on one line."""

    def __init__(self, trace_id: Callable[[], str | None] | None = None) -> None:
        super().__init__()
        self._trace_id = trace_id

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": said(record),
        }
        more = {
            "exception": exception_of(record),
            "trace_id": None if self._trace_id is None else self._trace_id(),
            "request_id": getattr(record, "request_id", None),
        }
        line |= {name: value for name, value in more.items() if value is not None}
        return msgspec.json.encode(line).decode()


def said(record: logging.LogRecord) -> str:
    """Return what may be shown of a message, on one line."""
    if not _ours(record.name):
        return f"said something at {Path(record.pathname).name}:{record.lineno}"
    text = record.getMessage()
    return "".join(c if c.isprintable() else " " for c in text)


def exception_of(record: logging.LogRecord) -> str | None:
    """Return kind and place of the record's exception, None without."""
    error = record.exc_info[1] if record.exc_info else None
    return None if error is None else place_of(error)


def place_of(error: BaseException) -> str:
    """Return an exception's kind and place: its words might hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    where = (
        f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    )
    return f"{type(error).__name__}{where}"


def _worth_telling(record: logging.LogRecord) -> bool:
    return _ours(record.name) or record.levelno >= logging.WARNING


def _ours(name: str) -> bool:
    return name == OURS or name.startswith(f"{OURS}.")


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
