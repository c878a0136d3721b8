"""A 200 is read tolerantly, the refresh token first (known-failures F2, F3)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.upstream.failures import read_object
from grantledger.adapters.upstream.token_answer import (
    MAX_ACCESS_TOKEN_BYTES,
    MAX_LIFETIME_SECONDS,
    MAX_REFRESH_TOKEN_BYTES,
    read_id_token,
    read_seconds,
    read_token_answer,
    unverified_claims,
)
from grantledger.domain.answers import TokenAnswer
from tests.upstream.support import START

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["900", "-1", "0", "NaN", "Bearer", "a.b.c", "é.é.é", "\ud800"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
MEMBERS = (
    "access_token",
    "token_type",
    "expires_in",
    "refresh_token",
    "refresh_expires_in",
    "refresh_token_expires_in",
    "scope",
    "id_token",
    "issued_token_type",
)
BODIES = st.dictionaries(st.sampled_from(MEMBERS), JSON) | st.dictionaries(
    st.text(), JSON
)


def _read(**fields: object) -> TokenAnswer:
    return read_token_answer({"access_token": "a", **fields}, START)


def _jwt(claims: object) -> str:
    def part(value: object) -> str:
        raw = json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"


@given(BODIES)
def test_no_json_object_makes_the_reader_raise(body: dict[str, Any]) -> None:
    answer = read_token_answer(body, START)
    assert answer.expires_in is None or 0 < answer.expires_in <= MAX_LIFETIME_SECONDS


@given(BODIES, st.text(min_size=1, max_size=200))
def test_a_usable_refresh_token_is_always_kept(
    body: dict[str, Any], token: str
) -> None:
    """F2: whatever else is wrong with the answer."""
    try:
        token.encode()
    except UnicodeEncodeError:
        return
    answer = read_token_answer({**body, "refresh_token": token}, START)
    assert answer.refresh_token is not None
    assert answer.refresh_token.reveal() == token


@given(st.binary())
def test_no_bytes_make_the_parser_raise(raw: bytes) -> None:
    fields = read_object(raw)
    if fields is not None:
        read_token_answer(fields, START)


@given(BODIES, st.text(alphabet="abcdef0123456789", min_size=12))
def test_a_defect_quotes_no_value(body: dict[str, Any], token: str) -> None:
    broken = f"{token}\n"
    answer = read_token_answer(
        {**body, "access_token": broken, "scope": broken + '"', "token_type": broken},
        START,
    )
    assert answer.defect is not None
    assert token not in answer.defect


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (900, 900),
        ("900", 900),
        (" 900 ", 900),
        (900.0, 900),
        ("900.9", 900),
        (0, None),
        (-5, None),
        ("-5", None),
        (0.5, None),
        (None, None),
        (True, None),
        ("soon", None),
        ("9" * 40, None),
        (float("nan"), None),
        ("nan", None),
        (float("inf"), None),
        ("inf", None),
        ([900], None),
        ({}, None),
        (10**30, MAX_LIFETIME_SECONDS),
        (1e300, MAX_LIFETIME_SECONDS),
    ],
    ids=repr,
)
def test_a_lifetime_of_any_shape_is_read_or_left_out(
    value: object, seconds: int | None
) -> None:
    """F3, and F29: no lifetime is beyond bounds."""
    assert read_seconds(value) == seconds
    assert _read(expires_in=value, refresh_token="r").expires_in == seconds
    assert _read(refresh_expires_in=value).refresh_expires_in == seconds


def test_both_names_of_the_refresh_lifetime_are_known() -> None:
    """F6: the lifetime is the server's, never invented."""
    assert _read(refresh_token_expires_in=60).refresh_expires_in == 60
    assert _read().refresh_expires_in is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"refresh_token": "r", "expires_in": NaN}',
        b'{"refresh_token": "r", "expires_in": Infinity}',
        b'\xef\xbb\xbf{"refresh_token": "r"}',
        b'{"refresh_token": "r", "scope": "\xff\xfe"}',
        b'{"refresh_token": "r", "expires_in": ' + b"9" * 5000 + b"}",
        b'{"refresh_token": "r", "expires_in": 1e999}',
        b'{"refresh_token": "old", "refresh_token": "r"}',
    ],
)
def test_json_beyond_the_grammar_does_not_cost_the_rotation(body: bytes) -> None:
    fields = read_object(body)
    assert fields is not None
    token = read_token_answer(fields, START).refresh_token
    assert token is not None
    assert token.reveal() == "r"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"<html>", b"[" * 60000])
def test_what_is_no_object_is_none(body: bytes) -> None:
    assert read_object(body) is None


@pytest.mark.parametrize(
    "value", ["", 7, ["r"], "\ud800", "r" * (MAX_REFRESH_TOKEN_BYTES + 1)]
)
def test_an_unusable_refresh_token_is_a_defect(value: object) -> None:
    answer = _read(refresh_token=value)
    assert answer.refresh_token is None
    assert answer.defect == "refresh_token is no usable string"
    assert answer.access_token is not None


def test_the_longest_refresh_token_is_kept() -> None:
    longest = "r" * MAX_REFRESH_TOKEN_BYTES
    token = _read(refresh_token=longest).refresh_token
    assert token is not None
    assert token.reveal() == longest


@pytest.mark.parametrize(
    ("value", "defect"),
    [
        (None, "access_token is missing"),
        (7, "access_token is no string of 1 to 16384 bytes"),
        ("", "access_token is no string of 1 to 16384 bytes"),
        (
            "a" * (MAX_ACCESS_TOKEN_BYTES + 1),
            "access_token is no string of 1 to 16384 bytes",
        ),
        ("a\r\nX: y", "access_token has a character that no header may carry"),
        ("a b", "access_token has a character that no header may carry"),
        ("ä", "access_token has a character that no header may carry"),
    ],
)
def test_a_broken_access_token_is_a_defect_and_costs_nothing_else(
    value: object, defect: str
) -> None:
    answer = _read(access_token=value, refresh_token="r", expires_in=900)
    assert answer.access_token is None
    assert answer.defect == defect
    assert answer.refresh_token is not None
    assert answer.expires_in == 900


@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        ("b a b", ("a", "b")),
        ("", ()),
        (["b", "a"], ("a", "b")),
    ],
)
def test_the_granted_scope_is_read(value: object, scopes: tuple[str, ...]) -> None:
    """F19: what was granted is never taken to be what was asked."""
    answer = _read(scope=value)
    assert answer.scopes == scopes
    assert answer.defect is None


@pytest.mark.parametrize("value", [7, ["a", 7], 'a"b', "a" * 300, {}])
def test_an_unreadable_scope_is_a_defect_not_an_absence(value: object) -> None:
    answer = _read(scope=value)
    assert answer.scopes is None
    assert answer.defect == "scope is unreadable"


def test_an_absent_scope_is_none() -> None:
    assert _read().scopes is None
    assert _read().defect is None


@pytest.mark.parametrize("value", [None, "Bearer", "bearer", "BEARER"])
def test_bearer_in_any_case_is_bearer(value: object) -> None:
    answer = _read(token_type=value)
    assert (answer.token_type, answer.defect) == ("Bearer", None)


@pytest.mark.parametrize(("value", "kept"), [("mac", "mac"), (7, ""), ("x" * 200, "")])
def test_another_token_type_is_a_defect(value: object, kept: str) -> None:
    """RFC 6749 section 7.1."""
    answer = _read(token_type=value)
    assert (answer.token_type, answer.defect) == (kept, "token_type is not Bearer")


def test_the_jti_of_a_jwt_is_read_without_trusting_it() -> None:
    assert _read(access_token=_jwt({"jti": "one"})).jti == "one"
    assert _read(access_token=_jwt({"jti": 7})).jti is None
    assert _read(access_token=_jwt(["jti"])).jti is None
    assert _read(access_token="opaque").jti is None


def test_of_the_id_token_the_subject_is_read_and_nothing_more() -> None:
    answer = _read(id_token=_jwt({"sub": "alice", "email": "a@example.org"}))
    assert answer.id_token_subject == "alice"
    assert _read(id_token=_jwt({"email": "a@example.org"})).id_token_subject is None
    assert _read(id_token=7).id_token_subject is None
    assert _read(id_token=7).defect is None
    assert read_id_token({}) is None


@pytest.mark.parametrize("token", ["", "a.b", "a.!.c", "a.e30=.c", "a.é.c", "a.b.c.d"])
def test_what_is_no_jwt_has_no_claims(token: str) -> None:
    assert unverified_claims(token) == {}


def test_an_answer_shows_no_token() -> None:
    answer = _read(
        access_token="canary-a", refresh_token="canary-r", id_token=_jwt({"sub": "s"})
    )
    assert "canary" not in repr(answer)
