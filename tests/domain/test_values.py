"""Secrets that do not show themselves, and scopes that have one form."""

from __future__ import annotations

import copy
import json
import pickle
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.domain.context import backoff_seconds
from grantledger.domain.values import (
    MAX_SCOPES,
    AccessToken,
    ClientSecret,
    GrantKey,
    IdToken,
    RefreshToken,
    Secret,
    parse_scopes,
)

KINDS = [AccessToken, ClientSecret, IdToken, RefreshToken]
SCOPE_CHARACTERS = "".join(
    c for c in map(chr, range(0x21, 0x7F)) if c not in {'"', "\\"}
)
scope = st.text(SCOPE_CHARACTERS, min_size=1, max_size=20)


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_shows_its_kind_only(kind: type[Secret]) -> None:
    secret = kind("hunter2")
    hidden = f"{kind.__name__}(***)"
    assert repr(secret) == str(secret) == f"{secret}" == f"{secret!r}" == hidden


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_reveals_itself_when_asked(kind: type[Secret]) -> None:
    assert kind("hunter2").reveal() == "hunter2"


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(pickle.dumps, id="pickle"),
        pytest.param(json.dumps, id="json"),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_a_secret_is_not_copied_out(leak: Callable[[object], object]) -> None:
    with pytest.raises(TypeError) as raised:
        leak(RefreshToken("hunter2"))
    assert "hunter2" not in str(raised.value)


def test_a_secret_has_no_attributes_to_dump() -> None:
    with pytest.raises(TypeError):
        vars(RefreshToken("hunter2"))


def test_secrets_are_equal_by_kind_and_value() -> None:
    assert RefreshToken("a") == RefreshToken("a")
    assert RefreshToken("a") != RefreshToken("b")
    assert hash(RefreshToken("a")) == hash(RefreshToken("a"))
    secrets: set[Secret] = {RefreshToken("a"), AccessToken("a"), RefreshToken("a")}
    assert len(secrets) == 2


def test_a_secret_is_not_its_text() -> None:
    text: object = "a"
    assert RefreshToken("a") != text


def test_a_grant_is_looked_up_by_label_default_unless_said() -> None:
    assert GrantKey("cloud", "alice") == GrantKey("cloud", "alice", "default")


def test_keys_are_compared_by_part_not_by_joined_text() -> None:
    """Known failures F30."""
    assert GrantKey("cloud", "alice:files") != GrantKey("cloud", "alice", "files")


@given(st.lists(scope, max_size=MAX_SCOPES))
def test_scopes_are_sorted_and_unique(tokens: list[str]) -> None:
    assert parse_scopes(tokens) == tuple(sorted(set(tokens)))


@given(st.lists(scope, max_size=30), st.data())
def test_scopes_have_one_form_whatever_their_order(
    tokens: list[str], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(tokens))
    assert parse_scopes(" ".join(shuffled)) == parse_scopes(tokens)


@given(st.lists(scope, max_size=30))
def test_parsing_what_was_parsed_changes_nothing(tokens: list[str]) -> None:
    once = parse_scopes(tokens)
    assert parse_scopes(once) == parse_scopes(" ".join(once)) == once


@given(st.text(max_size=40))
def test_any_text_is_scopes_or_a_value_error(text: str) -> None:
    try:
        scopes = parse_scopes(text)
    except ValueError:
        assert set(text) - set(SCOPE_CHARACTERS) - set(string.whitespace)
    else:
        assert all(set(s) <= set(SCOPE_CHARACTERS) for s in scopes)


def test_no_scopes_are_no_scopes() -> None:
    assert parse_scopes(None) == parse_scopes("") == parse_scopes([]) == ()


@pytest.mark.parametrize("bad", ['a"b', "a\\b", "ä", "a\x00b", "\x7f"])
def test_a_character_outside_the_rfc_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="outside RFC 6749"):
        parse_scopes(bad)


def test_a_space_inside_a_listed_scope_is_refused() -> None:
    """Joined with others it would become two."""
    with pytest.raises(ValueError, match="outside RFC 6749"):
        parse_scopes(["files.read admin"])


@pytest.mark.parametrize("bad", ["", "x" * 257])
def test_a_scope_has_1_to_256_characters(bad: str) -> None:
    with pytest.raises(ValueError, match="1 to 256"):
        parse_scopes([bad])


def test_there_are_at_most_100_scopes() -> None:
    assert len(parse_scopes(map(str, range(100)))) == 100
    with pytest.raises(ValueError, match="limit is 100"):
        parse_scopes(map(str, range(101)))


@given(
    st.integers(0, 10_000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.1, 10),
    st.floats(10, 10_000),
)
def test_a_wait_is_bounded_and_never_nothing(
    tries: int, jitter: float, base: float, cap: float
) -> None:
    assert 0 < backoff_seconds(tries, jitter, base=base, cap=cap) <= cap
