"""Take over the refresh tokens of the earlier broker, as consents that say so.

Stop the earlier broker first: two programs that redeem one refresh token look like
theft to the server. Each user is one append, so nothing is ever half there, and
taking over again goes on where it stopped. What the ledger knows better is kept:
a live grant is never overwritten, and one that was revoked here stays revoked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.nextcloud import earlier
from grantledger.adapters.nextcloud.earlier import EarlierRow
from grantledger.domain.consent_events import Provisioned
from grantledger.domain.errors import InvalidRequest, WrongKey
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.redemption_events import Rotated
from grantledger.domain.requests import Caller, check_key
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    GrantKey,
    GrantStatus,
    RefreshToken,
    Secret,
    TokenKind,
)

DEFAULT_FLOW = "import"
FILE = "imported_from"
TABLE = "imported_table"

UNDECRYPTABLE = "its token does not open with this key"
PRESENT = "its token is here already"
LIVE = "a live grant is here, and is kept"
REVOKED = "its grant was revoked here; the user has to consent again"
SPENT = "its token was tried here and refused; the user has to consent again"


@dataclass(frozen=True, slots=True)
class TakeoverReport:
    """What was taken over.

    Attributes:
        imported: how many users have a grant now, or would have after a dry run.
        skipped: (user id, reason) of the others.
    """

    imported: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


async def take_over(
    opened: OpenBroker,
    caller: Caller,
    database: Path,
    fernet_key: Secret,
    provider: str,
    *,
    dry_run: bool = False,
) -> TakeoverReport:
    """Store the consents of the earlier broker's SQLite database.

    Args:
        opened: a broker with its ledger.
        caller: who does it.
        database: the earlier broker's file; it is not changed.
        fernet_key: what its tokens are encrypted with.
        provider: whose authorization server issued the tokens.
        dry_run: look, and store nothing.

    Raises:
        ConfigurationError: the text is no Fernet key.
        InvalidRequest: unknown provider.
        LedgerError: there is no such file, or it cannot be read.
        NotALedger: it is not the earlier broker's database.
        WrongKey: the key opens none of the rows; nothing was stored.
        Unavailable: the ledger cannot be written; what was stored before is whole,
            and the rest is taken over by calling again.
    """
    opened.broker.env.provider(provider)
    rows = await asyncio.to_thread(earlier.read, database, fernet_key)
    if rows and all(row.token is None for row in rows):
        raise WrongKey(
            f"the Fernet key opens none of the {len(rows)} tokens in {database.name}; "
            "give the key that the earlier broker ran with"
        )
    imported = 0
    skipped: list[tuple[str, str]] = []
    work = _Takeover(opened, caller, database.name, provider, dry_run=dry_run)
    for row in rows:
        reason = await work.take(row)
        if reason is None:
            imported += 1
        else:
            skipped.append((row.user_id, reason))
    return TakeoverReport(imported, skipped)


class _Takeover:
    """One run over one file."""

    def __init__(
        self,
        opened: OpenBroker,
        caller: Caller,
        origin: str,
        provider: str,
        *,
        dry_run: bool,
    ) -> None:
        self._ledger = opened.ledger
        self._env = opened.broker.env
        self._caller = caller
        self._origin = origin
        self._provider = provider
        self._dry_run = dry_run

    async def take(self, row: EarlierRow) -> str | None:
        """Store one row's consent; return why not, None when it is stored."""
        if row.token is None:
            return UNDECRYPTABLE
        key = GrantKey(self._provider, row.user_id)
        try:
            check_key(key)
        except InvalidRequest as refused:
            return str(refused)
        consent = self._consent(key, row, row.token)
        while True:
            grant = await self._ledger.find(key)
            reason = None if grant is None else await self._objection(grant, row.token)
            if reason is not None or self._dry_run:
                return reason
            draft = self._draft(grant, consent)
            # Only at the version that was looked at: whoever was faster is kept.
            verdict = await self._ledger.append(draft, Lane.OUTCOME)
            if verdict is AppendVerdict.COMMITTED:
                return None

    async def _objection(self, grant: UserGrant, token: RefreshToken) -> str | None:
        """Return why this grant is not replaced, None when consent is missing."""
        state = grant.state
        mark = self._env.fingerprints.fingerprint(TokenKind.REFRESH, token.reveal())
        if state.usable:
            held = state.refresh
            same = held is not None and held.fingerprint == mark
            return PRESENT if same else LIVE
        if state.status is not GrantStatus.REAUTHORIZATION_REQUIRED:
            return REVOKED
        for _, event in await self._ledger.history(grant.id):
            if isinstance(event, Provisioned | Rotated) and event.fingerprint == mark:
                return SPENT
        return None

    def _draft(self, grant: UserGrant | None, consent: Consent) -> UserGrant:
        env = self._env
        rules = env.provider(self._provider).rules
        ctx = env.context(self._caller.actor, env.ids.request_id(), env.policy.version)
        mark = env.fingerprints.fingerprint
        if grant is None:
            return UserGrant.provision(ctx, rules, env.ids.uuid(), consent, mark)
        draft = grant.fork()
        draft.provision_again(ctx, rules, consent, mark)
        return draft

    def _consent(self, key: GrantKey, row: EarlierRow, token: RefreshToken) -> Consent:
        facts = row.facts
        return Consent(
            key=key,
            client_id=self._env.provider(self._provider).rules.client_id,
            flow=facts.get("flow_type", DEFAULT_FLOW),
            scopes=row.scopes,
            refresh_token=token,
            refresh_expires_at=row.time("expires_at"),
            audience=facts.get("token_audience"),
            provisioned_at=row.time("provisioned_at") or row.time("created_at"),
            metadata=(
                (FILE, self._origin),
                (TABLE, earlier.TABLE),
                *((name, facts[name]) for name in earlier.FACTS if name in facts),
            ),
        )
