"""Which caller may do what, for whom, at which provider, with which scopes.

Default deny. A rule names callers; what it leaves empty it does not narrow,
except that a rule without callers applies to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from grantledger.domain.requests import Caller
from grantledger.domain.values import Scopes

ANY = "*"


class Role(StrEnum):
    """What sort of work a caller does."""

    CALLER = "caller"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    RESPONDER = "responder"


class Operation(StrEnum):
    """What can be asked of the service, hand-outs aside; see `ROLES_FOR`."""

    STATUS = "status"
    LIST = "list"
    HISTORY = "history"
    AS_OF = "as_of"
    IMPORT = "import"
    CONNECT = "connect"
    ROTATE = "rotate"
    REVOKE = "revoke"
    BULK_PREVIEW = "bulk_preview"
    BULK_REVOKE = "bulk_revoke"
    RETURN_TOKEN = "return_token"  # noqa: S105 - an operation's name
    AUDIT = "audit"
    EXPORT = "export"
    TRACE = "trace"
    EVIDENCE = "evidence"
    READ_LOG = "read_log"
    HOLD = "hold"
    LIST_HOLDS = "list_holds"


ROLES_FOR: Mapping[Operation, frozenset[Role]] = {
    Operation.STATUS: frozenset(Role),
    Operation.LIST: frozenset({Role.OPERATOR, Role.AUDITOR, Role.RESPONDER}),
    Operation.HISTORY: frozenset({Role.AUDITOR, Role.RESPONDER}),
    Operation.AS_OF: frozenset({Role.AUDITOR, Role.RESPONDER}),
    Operation.IMPORT: frozenset({Role.OPERATOR}),
    Operation.CONNECT: frozenset({Role.OPERATOR}),
    Operation.ROTATE: frozenset({Role.CALLER, Role.OPERATOR}),
    Operation.REVOKE: frozenset({Role.OPERATOR, Role.RESPONDER}),
    Operation.BULK_PREVIEW: frozenset({Role.AUDITOR, Role.RESPONDER}),
    Operation.BULK_REVOKE: frozenset({Role.RESPONDER}),
    Operation.RETURN_TOKEN: frozenset({Role.CALLER}),
    Operation.AUDIT: frozenset({Role.AUDITOR, Role.RESPONDER}),
    Operation.EXPORT: frozenset({Role.AUDITOR}),
    Operation.TRACE: frozenset({Role.AUDITOR, Role.RESPONDER}),
    Operation.EVIDENCE: frozenset({Role.AUDITOR, Role.RESPONDER}),
    Operation.READ_LOG: frozenset({Role.AUDITOR}),
    Operation.HOLD: frozenset({Role.OPERATOR, Role.RESPONDER}),
    Operation.LIST_HOLDS: frozenset({Role.OPERATOR, Role.AUDITOR, Role.RESPONDER}),
}


@dataclass(frozen=True, slots=True)
class CallerRule:
    """One line of the policy.

    Attributes:
        caller: id of the caller, or `*` for every authenticated one.
        providers: names; empty for all.
        subjects: user ids; empty for all.
        scopes: what tokens may carry at most; None for whatever the grant has.
        audiences: audience or resource names; empty for all.
        roles: what the caller may be.
        self_only: only the user whose own verified token the request brings.
    """

    caller: str
    providers: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    scopes: frozenset[str] | None = None
    audiences: frozenset[str] = frozenset()
    roles: frozenset[Role] = frozenset({Role.CALLER})
    self_only: bool = False

    def names(
        self, caller: Caller, provider: str, subject: str, *, proven: bool = False
    ) -> bool:
        """Tell whether the rule speaks of this caller and this user.

        Args:
            caller: authenticated.
            provider: the grant's.
            subject: the grant's.
            proven: the request brings the user's own verified token.
        """
        return self.caller in (caller.id, ANY) and self.lets_see(
            caller, provider, subject, proven=proven
        )

    def lets_see(
        self, caller: Caller, provider: str, subject: str, *, proven: bool
    ) -> bool:
        """Tell whether the rule, one of this caller's, speaks of this user."""
        return (
            (not self.providers or provider in self.providers)
            and (not self.subjects or subject in self.subjects)
            and (not self.self_only or proven or caller.speaks_for(provider, subject))
        )

    def covers(self, scopes: Scopes) -> bool:
        """Tell whether a token with these scopes may go to the caller."""
        return self.scopes is None or self.scopes.issuperset(scopes)


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules, under one version that every event carries."""

    rules: tuple[CallerRule, ...]
    version: str
    _by_caller: dict[str, tuple[CallerRule, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    _handing_out: dict[str, tuple[CallerRule, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        """Sort the rules by caller, each caller's in the policy's order."""
        for name in {rule.caller for rule in self.rules} | {ANY}:
            self._by_caller[name] = tuple(
                rule for rule in self.rules if rule.caller in (name, ANY)
            )
            self._handing_out[name] = tuple(
                rule for rule in self._by_caller[name] if Role.CALLER in rule.roles
            )

    @classmethod
    def open(cls) -> Policy:
        """Return the policy of a local operator: every caller, everything."""
        return cls(
            rules=(CallerRule(caller=ANY, roles=frozenset(Role)),), version="open"
        )

    def rules_of(self, caller: Caller) -> tuple[CallerRule, ...]:
        """Return the rules that could apply to a caller, in the policy's order."""
        found = self._by_caller.get(caller.id)
        return self._by_caller[ANY] if found is None else found

    def rule_for(
        self,
        caller: Caller,
        provider: str,
        subject: str,
        scopes: Scopes,
        audience: str | None,
        *,
        proven: bool = False,
    ) -> CallerRule | None:
        """Return the first rule that lets a token leave, None when none does."""
        rules = self._handing_out.get(caller.id)
        for rule in self._handing_out[ANY] if rules is None else rules:
            if (
                rule.lets_see(caller, provider, subject, proven=proven)
                and (not rule.audiences or audience in rule.audiences)
                and rule.covers(scopes)
            ):
                return rule
        return None

    def permits(
        self,
        caller: Caller,
        operation: Operation,
        provider: str | None = None,
        subject: str | None = None,
    ) -> bool:
        """Tell whether a caller may do this to a grant.

        Without a provider or a subject: whether there is any for which it may; what
        it then sees has to be asked for one by one.
        """
        roles = ROLES_FOR[operation]
        for rule in self.rules_of(caller):
            if not roles & rule.roles:
                continue
            if rule.providers and provider not in {None, *rule.providers}:
                continue
            if subject is None or provider is None:
                return True
            if rule.names(caller, provider, subject):
                return True
        return False

    def permits_all(self, caller: Caller, operation: Operation) -> bool:
        """Tell whether a caller may do this to every grant there is."""
        roles = ROLES_FOR[operation]
        return any(
            roles & rule.roles
            and not rule.providers
            and not rule.subjects
            and not rule.self_only
            for rule in self.rules_of(caller)
        )
