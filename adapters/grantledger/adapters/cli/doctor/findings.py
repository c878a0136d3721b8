"""What a check found: well, worth a look, or wrong; and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from grantledger.adapters.cli.exits import OK, meaning_of
from grantledger.domain.errors import GrantledgerError


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: its name, stable for programs.
        said: in words; no secret, no subject.
        todo: what helps; empty where all is well.
        error: of an error, the name from the table of errors.
        exit_code: likewise, its exit code.
    """

    check: str
    level: Level
    said: str
    todo: str = ""
    error: str | None = None
    exit_code: int = OK


def well(check: str, said: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, said)


def warning(check: str, said: str, todo: str) -> Finding:
    """Return what works and deserves a look."""
    return Finding(check, Level.WARNING, said, todo)


def wrong(check: str, error: GrantledgerError, todo: str | None = None) -> Finding:
    """Return what does not work, as the error that a command would end with."""
    meaning = meaning_of(error)
    return Finding(
        check,
        Level.ERROR,
        str(error),
        meaning.advice if todo is None else todo,
        error.code,
        meaning.exit_code,
    )
