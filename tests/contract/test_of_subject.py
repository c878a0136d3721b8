"""A user's grants at a provider, found without their labels."""

from __future__ import annotations

from uuid import uuid4

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import GrantKey, RefreshToken
from tests.ledger.scene import RULES, ctx, mark, revoked


def grant(subject: str, label: str, provider: str = "cloud") -> UserGrant:
    return UserGrant.provision(
        ctx(),
        RULES,
        uuid4(),
        Consent(
            key=GrantKey(provider, subject, label),
            client_id="broker",
            flow="import",
            scopes=("openid",),
            refresh_token=RefreshToken(f"rt-{subject}-{label}"),
        ),
        mark,
    )


async def test_every_label_is_found_and_nobody_elses(ledger: StoredLedger) -> None:
    labels = [f"label-{n}" for n in range(5)]
    for label in labels:
        for subject in ("alice", "bob"):
            await ledger.append(grant(subject, label))
    await ledger.append(grant("alice", "elsewhere", "other"))
    ended = grant("alice", "ended")
    await ledger.append(ended)
    await ledger.append(revoked(ended.fork()))
    for portion in (1, 3, 500):
        found = await ledger.of_subject("cloud", "alice", portion)
        assert sorted(one.state.label for one in found) == labels
    assert await ledger.of_subject("cloud", "carol") == []
