"""`LedgerTokenStorage`: the earlier broker's token storage over the ledger.

Nothing is overwritten or deleted: storing is Provisioned or Rotated, deleting is
Revoked, and reading a refresh token out is recorded like any other hand-out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

from grantledger.adapters.nextcloud.environment import PROVIDER, Deployment
from grantledger.adapters.nextcloud.facts import (
    Facts,
    key_of,
    moment,
    read_back,
    scopes_of,
)
from grantledger.adapters.nextcloud.shared import SharedBroker
from grantledger.adapters.nextcloud.takeover import TakeoverReport
from grantledger.adapters.nextcloud.trail import REFRESH_TOKEN, lines
from grantledger.adapters.settings import process_environment
from grantledger.domain.broker import Broker
from grantledger.domain.errors import InvalidRequest, NotProvisioned, Unavailable
from grantledger.domain.grant_state import HeldRefreshToken
from grantledger.domain.journal import AccessEntry, EntryPrivate
from grantledger.domain.ports import RecordVerdict
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    GrantKey,
    Outcome,
    RefreshToken,
    RevocationReason,
    Secret,
    Source,
)

MAX_ROUNDS = 16
DEFAULT_LABEL = GrantKey(PROVIDER, "").label


class LedgerTokenStorage:
    """Users' grants at one authorization server, by user id.

    Every method may raise ConfigurationError and LedgerError (an operator must act),
    InvalidRequest (an argument is out of bounds) and Unavailable (try again).

    Args:
        db_path: the ledger's file; None for what the environment names, which may
            be a PostgreSQL database. Where the
            earlier broker's database stands there, the ledger stands beside it.
        encryption_key: the earlier broker's Fernet key, for taking its users over
            at the first start; None for TOKEN_ENCRYPTION_KEY.
        environ: names and values; None for the process's own.

    Raises:
        ConfigurationError: the environment names another kind of store.
    """

    def __init__(
        self,
        db_path: str | Path | None = None,
        encryption_key: str | bytes | None = None,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(encryption_key, bytes):
            encryption_key = encryption_key.decode("ascii", "replace")
        self.shared = SharedBroker(
            Deployment.read(
                process_environment() if environ is None else environ,
                None if db_path is None else Path(db_path),
                Secret(encryption_key) if encryption_key else None,
            )
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Return the storage that the environment names."""
        return cls(environ=environ)

    @property
    def takeover(self) -> TakeoverReport | None:
        """What was taken over from the earlier broker at this start, if anything."""
        return self.shared.takeover

    async def initialize(self) -> None:
        """Make the ledger and its key ring at the first start; open them later on.

        On PostgreSQL the schema is migrated, under a lock, if this role may.

        Users of the earlier broker whose database stands at the named place are
        taken over at the first start.
        """
        await self.shared.prepare()

    async def store_refresh_token(
        self,
        user_id: str,
        refresh_token: str,
        expires_at: float | None = None,
        flow_type: str | None = None,
        token_audience: str | None = None,
        provisioning_client_id: str | None = None,
        scopes: Iterable[str] | None = None,
    ) -> None:
        """Store a refresh token that the application obtained.

        On a live grant whose facts are left out or repeated, it is a rotation: they
        stay. Anything else is a consent; what is left out of it stays too.

        Args:
            user_id: whose.
            refresh_token: the token.
            expires_at: Unix seconds, None when the server named no lifetime.
            flow_type: how it came; `hybrid` for a new grant that does not say.
            token_audience: whom it is for; `nextcloud` for a new grant likewise.
            provisioning_client_id: through which client.
            scopes: what was granted; None when nobody knows.
        """
        key = key_of(user_id)
        ends = moment(expires_at, "expires_at")
        if not refresh_token:
            raise InvalidRequest("the refresh token is empty", "refresh_token")
        token = RefreshToken(refresh_token)
        said = Facts(
            flow=flow_type,
            audience=token_audience,
            client=provisioning_client_id,
            scopes=None if scopes is None else scopes_of(scopes, "scopes"),
        )
        broker = (await self.shared.get()).broker
        grant = await broker.status(key)
        known = None
        if grant is not None and grant.state.usable:
            known = grant.state.provisioning
            if said.hold(known) and await self._rotated(broker, key, token, ends):
                return
        client_id = broker.env.provider(PROVIDER).rules.client_id
        consent = said.consent(key, client_id, token, ends, known)
        await broker.provision(self.shared.caller, consent)

    async def get_refresh_token(self, user_id: str) -> Mapping[str, object] | None:
        """Return a usable grant's refresh token and facts; None without one.

        The keys are refresh_token, expires_at (Unix seconds or None), flow_type,
        token_audience, provisioned_at (Unix seconds) and scopes (a list or None).
        The secret leaves only once the history says so. Redeem it elsewhere and
        this broker's copy is spent: `get_background_token` needs no such reading.
        """
        key = key_of(user_id)
        broker = (await self.shared.get()).broker
        for _ in range(MAX_ROUNDS):
            grant = await broker.status(key)
            held = grant.state.refresh if grant and grant.state.usable else None
            entry = self._entry(broker, key, grant, held)
            recorded = await broker.env.ledger.record(entry)
            if recorded.verdict is not RecordVerdict.RECORDED:
                continue
            if grant is None or held is None:
                return None
            late = broker.env.clock.monotonic() - recorded.committed_at
            if late > broker.env.release_limit_seconds and not (
                await broker.env.ledger.is_newest(grant.id, grant.version)
            ):
                continue
            return read_back(held, grant.state.provisioning)
        raise Unavailable("the grant keeps changing")

    async def delete_refresh_token(self, user_id: str) -> bool:
        """End the user's grant (see `revoke_nextcloud_access`); tell if one ended."""
        broker = (await self.shared.get()).broker
        try:
            receipt = await broker.revoke(
                self.shared.caller, key_of(user_id), reason=RevocationReason.OPERATOR
            )
        except NotProvisioned:
            return False
        return not receipt.already

    async def get_all_user_ids(self) -> list[str]:
        """Return the users with a usable grant, sorted."""
        return sorted(g.state.subject for g in await self._grants() if g.state.usable)

    async def cleanup_expired_tokens(self) -> int:
        """End the grants whose refresh token's stated life is over; tell how many.

        Each is looked at again as it is ended: a token stored a moment before stays.
        """
        opened = await self.shared.get()
        now = opened.clock.now()
        ended = 0
        for grant in await self._grants():
            held = grant.state.refresh
            if held is None or held.expires_at is None or held.expires_at > now:
                continue
            ended += await opened.broker.expire(grant.id)
        return ended

    async def get_audit_logs(
        self,
        user_id: str | None = None,
        since: float | datetime | None = None,
        limit: int = 100,
    ) -> list[dict[str, object]]:
        """Return what happened, the newest first.

        The keys are timestamp (Unix seconds), event, user_id, resource, auth_method
        and hostname.

        Args:
            user_id: None for every user.
            since: Unix seconds or a time, None for all.
            limit: how many lines at most.
        """
        if limit < 0:
            raise InvalidRequest(f"limit is {limit}; the limit is 0 or more", "limit")
        after = moment(since, "since")
        earliest = None if after is None else after.timestamp()
        opened = await self.shared.get()
        if user_id is None:
            grants = await self._grants()
        else:
            grant = await opened.broker.status(key_of(user_id))
            grants = [] if grant is None else [grant]
        newest: list[tuple[float, int, dict[str, object]]] = []
        for grant in grants:
            for index, event in await opened.ledger.history(grant.id):
                for at, line in lines(grant, event):
                    if earliest is None or at >= earliest:
                        newest.append((at, index, line))
            newest = heapq.nlargest(limit, newest, key=lambda found: found[:2])
        return [line for _, _, line in newest]

    async def _grants(self) -> list[UserGrant]:
        """Return the grants that this storage keeps, none that was erased."""
        ledger = (await self.shared.get()).ledger
        return [
            grant
            for grant in await ledger.grants(PROVIDER)
            if grant.state.subject and grant.state.label == DEFAULT_LABEL
        ]

    async def _rotated(
        self,
        broker: Broker,
        key: GrantKey,
        token: RefreshToken,
        expires_at: datetime | None,
    ) -> bool:
        """Store a successor; False if the grant ended in the meantime."""
        try:
            await broker.store(self.shared.caller, key, token, expires_at)
        except NotProvisioned:
            return False
        return True

    def _entry(
        self,
        broker: Broker,
        key: GrantKey,
        grant: UserGrant | None,
        held: HeldRefreshToken | None,
    ) -> AccessEntry:
        """Return the journal entry of a reading, or of one that found nothing."""
        env = broker.env
        usable = grant is not None and held is not None
        return AccessEntry(
            at=env.clock.now(),
            outcome=Outcome.HANDED_OUT if usable else Outcome.DENIED,
            caller=self.shared.caller.id,
            request_id=env.ids.request_id(),
            provider=key.provider,
            grant_id=grant.id if grant else None,
            grant_version=grant.version if grant else 0,
            generation=grant.state.generation if grant else 0,
            token_ref=held.version if held else None,
            source=Source.CACHED if usable else None,
            reason=REFRESH_TOKEN,
            policy=env.policy.version,
            private=None if usable else EntryPrivate(subject=key.subject),
        )
