"""Who may do what: default deny, and no rule takes away what another gives."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.domain.explaining import Question, explain
from grantledger.domain.policy import ROLES_FOR, CallerRule, Operation, Policy, Role
from grantledger.domain.requests import Caller

NAMES = ("a", "b", "c")
some = st.frozensets(st.sampled_from(NAMES), max_size=2)
rules = st.builds(
    CallerRule,
    caller=st.sampled_from((*NAMES, "*")),
    providers=some,
    subjects=some,
    scopes=st.none() | some,
    audiences=some,
    roles=st.frozensets(st.sampled_from(Role), min_size=1),
    self_only=st.booleans(),
)
policies = st.lists(rules, max_size=6)
callers = st.builds(
    Caller,
    id=st.sampled_from((*NAMES, "d")),
    user=st.none() | st.sampled_from(NAMES),
    user_providers=some,
)
questions = st.builds(
    Question,
    caller=callers,
    provider=st.sampled_from(NAMES),
    subject=st.sampled_from(NAMES),
    operation=st.none() | st.sampled_from(Operation),
    scopes=some.map(lambda scopes: tuple(sorted(scopes))),
    audience=st.none() | st.sampled_from(NAMES),
    proven=st.booleans(),
)


def allowed(given_: list[CallerRule], asked: Question) -> bool:
    policy = Policy(tuple(given_), "v")
    if asked.operation is not None:
        return policy.permits(
            asked.caller, asked.operation, asked.provider, asked.subject
        )
    return (
        policy.rule_for(
            asked.caller,
            asked.provider,
            asked.subject,
            asked.scopes,
            asked.audience,
            proven=asked.proven,
        )
        is not None
    )


@given(policies, questions)
def test_without_a_rule_nothing_is_allowed(
    given_: list[CallerRule], asked: Question
) -> None:
    mine = [rule for rule in given_ if rule.caller not in (asked.caller.id, "*")]
    assert not allowed(mine, asked)


@given(policies, rules, questions)
def test_a_rule_more_never_forbids(
    given_: list[CallerRule], more: CallerRule, asked: Question
) -> None:
    if allowed(given_, asked):
        assert allowed([more, *given_], asked)
        assert allowed([*given_, more], asked)


@given(policies, questions, st.randoms())
def test_the_order_of_rules_decides_nothing(
    given_: list[CallerRule], asked: Question, random: Random
) -> None:
    before = allowed(given_, asked)
    random.shuffle(given_)
    assert allowed(given_, asked) == before


@given(policies, questions)
def test_what_is_explained_is_what_is_decided(
    given_: list[CallerRule], asked: Question
) -> None:
    if asked.operation is not None:
        # A token of the user is brought to exchanges alone.
        asked = Question(
            asked.caller, asked.provider, asked.subject, asked.operation, proven=False
        )
    found = explain(Policy(tuple(given_), "v"), asked)
    assert (found.allowed_by is not None) == allowed(given_, asked)
    for finding in found.findings:
        alone = [given_[finding.number]]
        assert allowed(alone, asked) == (not finding.refusals)


@given(policies, callers, st.sampled_from(Operation), st.sampled_from(NAMES))
def test_what_is_allowed_for_one_is_allowed_for_any(
    given_: list[CallerRule], caller: Caller, operation: Operation, name: str
) -> None:
    """Whoever may do it to a grant passes the question that names none."""
    policy = Policy(tuple(given_), "v")
    if policy.permits(caller, operation, name, name):
        assert policy.permits(caller, operation, name)
        assert policy.permits(caller, operation)


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize("role", list(Role))
def test_each_role_does_its_own_work(operation: Operation, role: Role) -> None:
    policy = Policy((CallerRule("x", roles=frozenset({role})),), "v")
    assert policy.permits(Caller("x"), operation, "cloud", "alice") == (
        role in ROLES_FOR[operation]
    )


def test_a_role_that_is_no_caller_gets_no_token() -> None:
    others = frozenset(Role) - {Role.CALLER}
    policy = Policy((CallerRule("x", roles=others),), "v")
    assert policy.rule_for(Caller("x"), "cloud", "alice", (), None) is None


def test_self_is_the_user_of_the_callers_own_token_and_nobody_else() -> None:
    policy = Policy((CallerRule("*", self_only=True),), "v")
    alice = Caller("app", user="alice", user_providers=frozenset({"cloud"}))
    for provider, subject, expected in (
        ("cloud", "alice", True),
        ("cloud", "bob", False),
        ("other", "alice", False),
    ):
        found = policy.rule_for(alice, provider, subject, (), None)
        assert (found is not None) is expected
        assert policy.permits(alice, Operation.STATUS, provider, subject) is expected
    assert policy.rule_for(Caller("app"), "cloud", "alice", (), None) is None
    proven = policy.rule_for(Caller("app"), "cloud", "alice", (), None, proven=True)
    assert proven is not None
