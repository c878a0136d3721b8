"""Which caller may have which provider's tokens, for whom, with which scopes.

Default deny. A rule names callers; what it leaves empty it does not narrow,
except that a rule without callers applies to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

from grantledger.domain.values import Scopes

ANY = "*"


@dataclass(frozen=True, slots=True)
class CallerRule:
    """One line of the policy.

    Attributes:
        caller: id of the caller, or `*` for every authenticated one.
        providers: names; empty for all.
        subjects: user ids; empty for all.
        scopes: what tokens may carry at most; None for whatever the grant has.
        audiences: audience names; empty for all.
    """

    caller: str
    providers: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    scopes: frozenset[str] | None = None
    audiences: frozenset[str] = frozenset()

    def concerns(
        self, caller: str, provider: str, subject: str, audience: str | None
    ) -> bool:
        """Tell whether the rule speaks of this request, its scopes aside."""
        return (
            self.caller in (caller, ANY)
            and (not self.providers or provider in self.providers)
            and (not self.subjects or subject in self.subjects)
            and (not self.audiences or audience in self.audiences)
        )

    def covers(self, scopes: Scopes) -> bool:
        """Tell whether a token with these scopes may go to the caller."""
        return self.scopes is None or self.scopes.issuperset(scopes)


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules, under one version that every event carries."""

    rules: tuple[CallerRule, ...]
    version: str

    @classmethod
    def open(cls) -> Policy:
        """Return the policy of a local operator: every caller, everything."""
        return cls(rules=(CallerRule(caller=ANY),), version="open")

    def rule_for(
        self,
        caller: str,
        provider: str,
        subject: str,
        scopes: Scopes,
        audience: str | None,
    ) -> CallerRule | None:
        """Return the first rule that allows the request, None when none does."""
        for rule in self.rules:
            if rule.concerns(caller, provider, subject, audience) and rule.covers(
                scopes
            ):
                return rule
        return None
