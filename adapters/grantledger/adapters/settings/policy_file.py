"""The policy: a file of its own, or the rules in the settings.

In the file every rule says everything; nothing is allowed by leaving it out. Its
version is the one that it declares and a digest of its bytes: two files that declare
the same are told apart.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, cast

import msgspec

from grantledger.adapters.settings.bounds import (
    MAX_LISTED,
    MAX_TEXT_LENGTH,
    Name,
    Roles,
    Text,
)
from grantledger.adapters.settings.shape import CallerSettings
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.policy import CallerRule, Policy, Role
from grantledger.domain.values import MAX_NAME_LENGTH, MAX_SUBJECT_LENGTH, parse_scopes

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_RULES = 10_000
DIGEST_LENGTH = 12

_Listed = msgspec.Meta(min_length=1, max_length=MAX_LISTED)
_Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SUBJECT_LENGTH)]


class RuleSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One rule of the file.

    Attributes:
        caller: id, or `*` for every authenticated one.
        subjects: user ids; `self` for the user whose own token the request brings.
        scopes: what a token may carry at most; `any` for whatever the grant has.
        resources: names of audiences or resources.
    """

    caller: Name
    providers: Literal["any"] | Annotated[list[Name], _Listed]
    subjects: Literal["any", "self"] | Annotated[list[_Subject], _Listed]
    scopes: Literal["any"] | Annotated[list[str], _Listed]
    resources: Literal["any"] | Annotated[list[Text], _Listed]
    roles: Roles = msgspec.field(default_factory=lambda: [Role.CALLER])


class PolicyFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    version: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    rules: Annotated[list[RuleSettings], msgspec.Meta(max_length=MAX_RULES)]


def read_policy(path: Path, providers: Collection[str]) -> Policy:
    """Return the policy of a file.

    Args:
        path: the file.
        providers: names that its rules may speak of.

    Raises:
        ConfigurationError: it cannot be read, or something in it is wrong; `field` is
            the path inside it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as cause:
        raise ConfigurationError(
            f"policy.file: cannot read {path}: {cause.strerror}", "policy.file"
        ) from cause
    return parse_policy(raw, providers, str(path))


def parse_policy(
    raw: bytes, providers: Collection[str], origin: str = "policy"
) -> Policy:
    """Return the policy that a file's bytes say; `origin` is named in messages.

    Raises:
        ConfigurationError: see `read_policy`.
    """
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigurationError(
            f"{origin}: larger than {MAX_FILE_BYTES} bytes", "policy.file"
        )
    try:
        data = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as cause:
        raise ConfigurationError(f"{origin}: {cause}", "policy.file") from None
    try:
        said = msgspec.convert(data, PolicyFile)
    except msgspec.ValidationError as cause:
        words, _, where = str(cause).partition(" - at `$")
        field = _numbered(data, where.rstrip("`").lstrip(".")) or "policy.file"
        raise ConfigurationError(f"{origin}: {field}: {words}", field) from None
    if not said.version.isprintable():
        raise ConfigurationError(f"{origin}: version: does not print", "version")
    rules = tuple(
        _rule(rule, f"rules[{number}]", providers, origin)
        for number, rule in enumerate(said.rules)
    )
    digest = sha256(raw).hexdigest()[:DIGEST_LENGTH]
    return Policy(rules=rules, version=f"{said.version}+{digest}")


def inline_policy(callers: Sequence[CallerSettings], version: str | None) -> Policy:
    """Return the policy that the settings themselves say."""
    rules = tuple(
        CallerRule(
            caller=c.id,
            providers=frozenset(c.providers),
            subjects=frozenset() if c.subjects == "self" else frozenset(c.subjects),
            scopes=None if c.scopes is None else frozenset(c.scopes),
            audiences=frozenset(c.audiences),
            roles=frozenset(c.roles),
            self_only=c.subjects == "self",
        )
        for c in callers
    )
    digest = sha256(msgspec.json.encode(callers)).hexdigest()[:DIGEST_LENGTH]
    return Policy(rules=rules, version=f"{version or 'settings'}+{digest}")


def _rule(
    said: RuleSettings, at: str, providers: Collection[str], origin: str
) -> CallerRule:
    for name in said.providers if said.providers != "any" else ():
        if name not in providers:
            known = ", ".join(sorted(providers)) or "none"
            raise ConfigurationError(
                f"{origin}: {at}.providers: unknown provider {name!r}; known: {known}",
                f"{at}.providers",
            )
    for field, value, limit in (
        ("caller", said.caller, MAX_NAME_LENGTH),
        *(("resources", r, MAX_TEXT_LENGTH) for r in _listed(said.resources)),
        *(("subjects", s, MAX_SUBJECT_LENGTH) for s in _listed(said.subjects)),
    ):
        if not value.isprintable():
            raise ConfigurationError(
                f"{origin}: {at}.{field}: 1 to {limit} printable characters",
                f"{at}.{field}",
            )
    try:
        parse_scopes(_listed(said.scopes))
    except ValueError as cause:
        raise ConfigurationError(
            f"{origin}: {at}.scopes: {cause}", f"{at}.scopes"
        ) from None
    return CallerRule(
        caller=said.caller,
        providers=frozenset(_listed(said.providers)),
        subjects=frozenset(_listed(said.subjects)),
        scopes=None if said.scopes == "any" else frozenset(said.scopes),
        audiences=frozenset(_listed(said.resources)),
        roles=frozenset(said.roles),
        self_only=said.subjects == "self",
    )


def _listed(said: str | list[str]) -> list[str]:
    """Return the list, an empty one for a word."""
    return [] if isinstance(said, str) else said


def _numbered(data: dict[str, object], where: str) -> str:
    """Return where a rule is wrong, with the rule's number for `[...]`."""
    rules = data.get("rules")
    if "[...]" not in where or not isinstance(rules, list):
        return where
    for number, rule in enumerate(cast("list[object]", rules)):
        try:
            msgspec.convert(rule, RuleSettings)
        except msgspec.ValidationError:
            return where.replace("[...]", f"[{number}]", 1)
    return where
