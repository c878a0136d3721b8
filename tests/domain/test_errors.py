"""One tree of errors, as drawn; each branch with a stable code."""

from __future__ import annotations

import re

import pytest

from grantledger.domain import errors
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.values import ReauthorizationReason


def tree(of: type[GrantledgerError]) -> list[type[GrantledgerError]]:
    found = [of]
    for branch in of.__subclasses__():
        found += tree(branch)
    return found


ALL = [t for t in tree(GrantledgerError) if t.__module__ == errors.__name__]


def depth(of: type[GrantledgerError]) -> int:
    return len(of.__mro__) - len(GrantledgerError.__mro__)


def test_the_tree_is_the_one_that_is_drawn() -> None:
    drawn = re.findall(
        r"^ {4}( *)([A-Z]\w+)(?: {2,}|$)", errors.__doc__ or "", re.MULTILINE
    )
    assert {(name, len(indent) // 2) for indent, name in drawn} == {
        (t.__name__, depth(t)) for t in ALL
    }


def test_each_branch_has_a_code_of_its_own() -> None:
    codes = [t.code for t in ALL]
    assert len(set(codes)) == len(codes)


def test_a_refused_scope_is_told_from_a_refused_target() -> None:
    assert errors.InvalidScope("m").field == "scopes"
    assert errors.InvalidTarget("m").field == "audience"
    assert errors.InvalidSubjectToken("m").field == "subject_token"


def test_the_codes_of_the_rfc_are_the_rfc_s() -> None:
    """Known failures F34."""
    assert errors.InvalidSubjectToken.code == "invalid_grant"
    assert errors.InvalidScope.code == "invalid_scope"
    assert errors.InvalidTarget.code == "invalid_target"
    assert errors.InvalidRequest.code == "invalid_request"


def test_a_denial_names_its_rule() -> None:
    assert errors.Denied("m", "no_rule").reason == "no_rule"


def test_a_revoked_grant_needs_consent_again() -> None:
    error = errors.GrantRevoked("m", ReauthorizationReason.REFUSED)
    assert isinstance(error, errors.ReauthorizationRequired)
    assert error.reason is ReauthorizationReason.REFUSED


@pytest.mark.parametrize(
    "kind", [errors.Unavailable, errors.RateLimited, errors.OutcomeUnknown]
)
def test_what_is_only_unavailable_says_when_to_try_again(
    kind: type[errors.Unavailable],
) -> None:
    assert kind("m").retry_after == 1.0
    assert kind("m", 7.5).retry_after == 7.5


def test_an_operator_is_told_what_the_server_refuses() -> None:
    assert errors.UpstreamRejected("m", "invalid_client").error == "invalid_client"
    assert errors.ClientExpired("m").error == "expired_client"
    assert errors.Unsupported("m").error == "unsupported"


def test_a_wrong_setting_is_named() -> None:
    assert errors.ConfigurationError("m", "port").field == "port"
