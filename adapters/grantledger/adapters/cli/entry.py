"""From arguments to an exit code: the only place where errors become words.

One line for people on standard error; with `--json` one document on standard output.
No traceback leaves: its lines could show a token.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import cast

import typer
from typer.main import get_command

from grantledger.adapters.cli import output
from grantledger.adapters.cli.app import app
from grantledger.adapters.cli.exits import (
    INTERRUPTED,
    OK,
    UNEXPECTED,
    USAGE,
    meaning_of,
)
from grantledger.domain.errors import GrantledgerError

NAME = "grantledger"
_DETAILS = ("field", "reason", "error", "retry_after")


def main() -> None:
    """Run what the process's arguments say, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A name that this terminal cannot show must not end the program.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str], commands: typer.Typer = app) -> int:
    """Run a command; return its exit code."""
    as_json = "--json" in arguments
    try:
        code = get_command(commands).main(
            list(arguments), prog_name=NAME, standalone_mode=False
        )
    except typer.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback leaves
        return _failed(error, as_json=as_json)
    if code == INTERRUPTED:
        return _interrupted(as_json=as_json)
    return code if isinstance(code, int) else OK


def _failed(error: BaseException, *, as_json: bool) -> int:
    error = _first(error)
    if isinstance(error, GrantledgerError):
        return _refused(error, as_json=as_json)
    if isinstance(error, typer.TyperException):
        return _misused(error, as_json=as_json)
    return _unexpected(error, as_json=as_json)


def _first(error: BaseException) -> BaseException:
    """Return, of what failed side by side, the first that says what to do."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    inside = [_first(one) for one in group.exceptions]
    return next((one for one in inside if isinstance(one, GrantledgerError)), inside[0])


def _refused(error: GrantledgerError, *, as_json: bool) -> int:
    meaning = meaning_of(error)
    details = {
        name: value
        for name in _DETAILS
        if (value := getattr(error, name, None)) is not None
    }
    if as_json:
        # The error's own word for the refusal; `error` is the branch's name.
        if "error" in details:
            details["upstream_error"] = details.pop("error")
        output.write_json({"error": error.code, "message": str(error), **details})
    else:
        wait = details.get("retry_after")
        later = "" if wait is None else f" in {wait:.0f} s" if wait >= 1 else " now"
        field = f" [{details['field']}]" if "field" in details else ""
        message = _one_line(str(error)).rstrip(".")
        advice = f"{meaning.advice[:1].upper()}{meaning.advice[1:]}{later}."
        output.note(f"{NAME}: {error.code}{field}: {message}. {advice}")
    return meaning.exit_code


def _misused(error: typer.TyperException, *, as_json: bool) -> int:
    message = _one_line(error.format_message())
    if not message:  # no command was named: the help has been shown
        return USAGE
    if as_json:
        output.write_json({"error": "usage", "message": message})
    else:
        output.note(f"{NAME}: usage: {message} See {NAME} --help")
    return USAGE


def _interrupted(*, as_json: bool) -> int:
    if as_json:
        output.write_json({"error": "interrupted", "message": "interrupted"})
    else:
        output.note(f"{NAME}: interrupted")
    return INTERRUPTED


def _unexpected(error: BaseException, *, as_json: bool) -> int:
    """Name the kind of error and its place: its words might hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    message = f"{type(error).__name__}{place}; this is a mistake of {NAME}"
    if as_json:
        output.write_json({"error": "unexpected", "message": message})
    else:
        output.note(f"{NAME}: unexpected: {message}")
    return UNEXPECTED


def _one_line(text: str) -> str:
    return output.plain(" ".join(text.split()))
