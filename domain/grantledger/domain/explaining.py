"""Why the policy allows or refuses something, rule by rule."""

from __future__ import annotations

from dataclasses import dataclass

from grantledger.domain.policy import (
    ANY,
    ROLES_FOR,
    CallerRule,
    Operation,
    Policy,
    Role,
)
from grantledger.domain.requests import Caller
from grantledger.domain.values import Scopes


@dataclass(frozen=True, slots=True)
class Question:
    """What a caller would ask for.

    Attributes:
        operation: None for a token.
        proven: the request would bring the user's own verified token.
    """

    caller: Caller
    provider: str
    subject: str
    operation: Operation | None = None
    scopes: Scopes = ()
    audience: str | None = None
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says to it.

    Attributes:
        number: the rule's place in the policy, from 0.
        refusals: why it does not apply; empty where it allows.
    """

    number: int
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and what every rule of this caller says.

    Attributes:
        allowed_by: number of the first rule that allows, None where none does.
    """

    version: str
    allowed_by: int | None
    findings: tuple[Finding, ...]


def explain(policy: Policy, question: Question) -> Explanation:
    """Return the decision that the policy takes, with its grounds."""
    findings = tuple(
        Finding(number, tuple(_refusals(rule, question)))
        for number, rule in enumerate(policy.rules)
        if rule.caller in (question.caller.id, ANY)
    )
    allowed = next((f.number for f in findings if not f.refusals), None)
    return Explanation(policy.version, allowed, findings)


def _refusals(rule: CallerRule, asked: Question) -> list[str]:
    found: list[str] = []
    roles = (
        frozenset({Role.CALLER})
        if asked.operation is None
        else ROLES_FOR[asked.operation]
    )
    if not roles & rule.roles:
        found.append(
            f"its roles are {_list(rule.roles)}, and this takes {_list(roles, 'or')}"
        )
    if rule.providers and asked.provider not in rule.providers:
        found.append(f"it speaks of providers {_list(rule.providers)}")
    if rule.subjects and asked.subject not in rule.subjects:
        found.append("it does not name this user")
    speaks = asked.caller.speaks_for(asked.provider, asked.subject)
    if rule.self_only and not (asked.proven or speaks):
        found.append("it lets only the user whose own token the request brings")
    if asked.operation is None:
        if rule.audiences and asked.audience not in rule.audiences:
            found.append(f"it lets resources {_list(rule.audiences)}")
        if not rule.covers(asked.scopes):
            beyond = set(asked.scopes) - (rule.scopes or frozenset())
            found.append(f"it does not let scopes {_list(beyond)}")
    return found


def _list(names: frozenset[str] | set[str], last: str = "and") -> str:
    shown = sorted(names)
    if len(shown) < 2:  # noqa: PLR2004 - one needs no word between
        return "".join(shown)
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}"
