"""Whatever stands in the file: settings, or a ConfigurationError that names a field."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.bootstrap.rules import rules_of
from grantledger.adapters.settings import (
    BrokerSettings,
    CallerSettings,
    FileSettings,
    KeySettings,
    LedgerSettings,
    ProviderSettings,
    UnknownOutcomeSettings,
    parse,
)
from grantledger.domain.errors import ConfigurationError
from tests.bootstrap.scene import toml

HERE = Path("/nowhere")
STRUCTS = (
    BrokerSettings,
    CallerSettings,
    FileSettings,
    KeySettings,
    LedgerSettings,
    ProviderSettings,
    UnknownOutcomeSettings,
)
KNOWN = sorted({name for kind in STRUCTS for name in kind.__struct_fields__})
WORDS = (
    "https://cloud.example",
    "generic",
    "nextcloud-2.5",
    "quarantine",
    "dynamic",
    "openid",
    "sqlite:////x.db",
)


def quoted(text: str) -> str:
    plain = "".join(c for c in text if c.isprintable() and c not in "'\\\"")
    return "'" + plain + "'"


keys = st.sampled_from(KNOWN) | st.text(max_size=5)
scalars = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(WORDS)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


def written(value: object) -> str:
    match value:
        case dict():
            said = cast("dict[object, object]", value)
            pairs = (f"{quoted(str(k))} = {written(v)}" for k, v in unique(said))
            return "{" + ", ".join(pairs) + "}"
        case list():
            return "[" + ", ".join(map(written, cast("list[object]", value))) + "]"
        case str():
            return quoted(value)
        case _:
            return toml(value)


def unique(said: dict[object, object]) -> list[tuple[object, object]]:
    """Leave out keys that are written alike: TOML refuses them, not we."""
    seen = {quoted(str(key)): (key, value) for key, value in said.items()}
    return list(seen.values())


def try_all(text: str) -> None:
    with suppress(ConfigurationError):
        settings = parse(text, HERE, {})
        assert settings.node
        assert settings.policy.rules
        for name, said in settings.file.providers.items():
            with suppress(ConfigurationError):
                rules_of(name, said, "client")
        with suppress(ConfigurationError):
            assert settings.ledger_path.is_absolute()
        with suppress(ConfigurationError):
            assert settings.keyring_file.is_absolute()
        assert settings.keyring_text is None


@given(st.text())
def test_any_text_is_settings_or_a_configuration_error(text: str) -> None:
    try_all(text)


@given(st.dictionaries(keys, values, max_size=6))
def test_any_table_is_settings_or_a_configuration_error(
    said: dict[object, object],
) -> None:
    try_all("\n".join(f"{quoted(str(k))} = {written(v)}" for k, v in unique(said)))


@given(st.dictionaries(st.sampled_from(ProviderSettings.__struct_fields__), values))
def test_any_provider_is_settings_or_a_configuration_error(
    said: dict[object, object],
) -> None:
    lines = [f"{quoted(str(key))} = {written(value)}" for key, value in said.items()]
    try_all("\n".join(["[providers.cloud]", *lines]))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.floats() | st.integers()
            for name in ProviderSettings.__struct_fields__
            if name.endswith("_seconds")
        },
    )
)
def test_any_number_is_a_rule_or_a_configuration_error(said: dict[str, object]) -> None:
    lines = [f"{key} = {written(value)}" for key, value in said.items()]
    head = ["[providers.cloud]", "issuer = 'https://cloud.example'"]
    try_all("\n".join([*head, *lines]))
