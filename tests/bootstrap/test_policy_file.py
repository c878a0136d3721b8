"""The policy's file: all of it right, or none of it in force."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.settings import parse
from grantledger.adapters.settings.policy_file import parse_policy
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.policy import CallerRule, Role

RULE = """
[[rules]]
caller = "idp:nightly"
providers = ["cloud"]
subjects = "any"
scopes = ["files.read"]
resources = "any"
"""
POLICY = 'version = "2026-11"\n' + RULE
CLOUD = '[providers.cloud]\nissuer = "https://cloud.example"\nclient_id = "c"\n'
HERE = Path("/srv/grants")


def test_a_file_is_a_policy_of_explicit_rules() -> None:
    policy = parse_policy(
        (
            POLICY
            + '[[rules]]\ncaller = "*"\nproviders = "any"\nsubjects = "self"\n'
            + 'scopes = "any"\nresources = ["files"]\nroles = ["auditor", "responder"]'
        ).encode(),
        {"cloud"},
    )
    assert policy.rules == (
        CallerRule(
            "idp:nightly", frozenset({"cloud"}), scopes=frozenset({"files.read"})
        ),
        CallerRule(
            "*",
            audiences=frozenset({"files"}),
            roles=frozenset({Role.AUDITOR, Role.RESPONDER}),
            self_only=True,
        ),
    )


def test_files_that_declare_the_same_version_are_told_apart() -> None:
    one = parse_policy(POLICY.encode(), {"cloud"}).version
    two = parse_policy((POLICY + "\n").encode(), {"cloud"}).version
    digest = hashlib.sha256(POLICY.encode()).hexdigest()
    assert one == f"2026-11+{digest[:12]}"
    assert two.startswith("2026-11+")
    assert one != two


def test_rules_in_the_settings_have_a_digest_too() -> None:
    texts = ('[[callers]]\nid = "a"\n', '[[callers]]\nid = "b"\n')
    versions = {parse(text, HERE, {}).policy.version for text in texts}
    assert len(versions) == 2
    assert all(version.startswith("settings+") for version in versions)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"2026-11"', '""', "version"),
        ('version = "2026-11"', "", "policy.file"),
        ('"2026-11"', f'"{"v" * 65}"', "version"),
        ('subjects = "any"', 'subjects = "all"', "rules[0].subjects"),
        ('subjects = "any"', "subjects = []", "rules[0].subjects"),
        ('subjects = "any"', f'subjects = ["{"s" * 513}"]', "rules[0].subjects"),
        ('subjects = "any"', "", "rules[0]"),
        ('["cloud"]', '["elsewhere"]', "rules[0].providers"),
        ('["files.read"]', '["two words"]', "rules[0].scopes"),
        ('"idp:nightly"', '""', "rules[0].caller"),
        ('"idp:nightly"', '"a\\u0007"', "rules[0].caller"),
        ('resources = "any"', 'resources = "any"\nroles = []', "rules[0].roles"),
        ('resources = "any"', 'resources = "any"\nroles = ["root"]', "rules[0].roles"),
        ('resources = "any"', 'resources = "any"\nallow = true', "rules[0]"),
        ("[[rules]]", "[[rules", "policy.file"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, field: str) -> None:
    text = POLICY.replace(old, new, 1)
    assert text != POLICY
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text.encode(), {"cloud"})
    assert (caught.value.field or "").startswith(field)


def test_the_rule_that_is_wrong_is_named_by_its_number() -> None:
    text = POLICY + RULE.replace('"any"', '"all"', 1)
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text.encode(), {"cloud"})
    assert (caught.value.field or "").startswith("rules[1].subjects")


def test_a_policy_stands_in_one_place(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    said = CLOUD + '[policy]\nfile = "policy.toml"\n'
    settings = parse(said, tmp_path, {})
    assert settings.has_policy
    assert settings.policy.version.startswith("2026-11+")
    for more in ('[[callers]]\nid = "x"\n', None):
        text = said + more if more else 'policy_version = "x"\n' + said
        with pytest.raises(ConfigurationError) as caught:
            parse(text, tmp_path, {})
        assert caught.value.field == "policy.file"


@pytest.mark.parametrize("size", [None, 4 * 1024 * 1024 + 1])
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, size: int | None
) -> None:
    if size is not None:
        (tmp_path / "policy.toml").write_text("#" * size)
    settings = parse('[policy]\nfile = "policy.toml"\n', tmp_path, {})
    with pytest.raises(ConfigurationError) as caught:
        _ = settings.policy
    assert caught.value.field == "policy.file"


TEXTS = st.text() | st.from_regex(r"[a-z= \[\]\"\n]{0,60}", fullmatch=True)


@given(TEXTS.map(lambda text: POLICY + text) | TEXTS)
def test_any_text_is_a_policy_or_an_error_of_ours(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    try:
        policy = parse_policy(raw, {"cloud"})
    except ConfigurationError as error:
        assert error.field  # noqa: PT017 - either may happen
    else:
        assert policy.version.endswith(hashlib.sha256(raw).hexdigest()[:12])
