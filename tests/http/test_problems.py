"""The table of statuses is the one that callers are shown, and misses no error."""

from __future__ import annotations

import re

import pytest

from grantledger.adapters.http.problems import meaning_of, of_error
from grantledger.domain import errors
from grantledger.domain.errors import GrantledgerError, IntegrityError
from tests.house.tree import ROOT

_ROW = re.compile(
    r"^\| (`[a-z_`, ]+)(?: \([a-z ]+\))? \| ([0-9]{3}) \| (.*?) \|$", re.MULTILINE
)
SHOWN = {
    name: (int(status), said)
    for names, status, said in _ROW.findall(
        (ROOT / "docs" / "callers.md").read_text("utf-8").split("## Over HTTP")[1]
    )
    for name in re.findall(r"`([a-z_]+)`", names)
}


def _kinds(kind: type[GrantledgerError]) -> list[type[GrantledgerError]]:
    return [kind, *(k for sub in kind.__subclasses__() for k in _kinds(sub))]


def _made(kind: type[GrantledgerError]) -> GrantledgerError:
    error = kind.__new__(kind)
    error.retry_after = 1.0  # type: ignore[attr-defined] # of some
    return error


@pytest.mark.parametrize("kind", _kinds(GrantledgerError)[1:])
def test_each_error_is_shown_with_the_status_that_it_has(
    kind: type[GrantledgerError],
) -> None:
    meaning = meaning_of(_made(kind))
    inside = issubclass(kind, errors.LedgerError | errors.ConfigurationError)
    if inside:
        assert meaning.status in {500, 503}
        return
    status, said = SHOWN[kind.code]
    assert meaning.status == status
    if meaning.oauth_status == 400:
        assert said in {f"`{meaning.oauth}`", "the same words"}
    else:
        assert said == f"`{meaning.oauth}`, {meaning.oauth_status}"


def test_what_is_wrong_inside_is_not_told() -> None:
    said = bytes(of_error(IntegrityError("leaf 7 differs from its hash")).body)
    assert b"leaf" not in said
    assert b'"title":"integrity"' in said


def test_a_restored_ledger_is_for_its_operator_and_no_mistake_of_the_caller() -> None:
    assert meaning_of(errors.LedgerRestored("older")).status == 503


@pytest.mark.parametrize("kind", _kinds(GrantledgerError)[1:])
def test_whoever_may_come_again_is_told_when(kind: type[GrantledgerError]) -> None:
    error = _made(kind)
    told = "retry-after" in of_error(error).headers
    assert told is (meaning_of(error).status in {429, 503})
