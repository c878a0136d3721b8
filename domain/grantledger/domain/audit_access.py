"""Reading the audit is itself on the record (NIST SP 800-53 AU-9(6), PCI 10.2.1.3)."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from grantledger.domain.journal import MAX_REASON_LENGTH, AccessEntry, EntryPrivate
from grantledger.domain.requests import Caller
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.values import GrantKey, Outcome


class AuditUse(StrEnum):
    """What was read or taken out; stored in clear as the entry's reason."""

    READ = "audit_read"
    FOLLOW = "audit_follow"
    EXPORT = "audit_export"
    HISTORY = "history"
    AS_OF = "as_of"
    DIFF = "diff"
    TRACE = "trace"
    EVIDENCE = "evidence"
    LOG = "log_entries"


class AuditAccess:
    """Writes the record before anything of the audit leaves."""

    def __init__(self, env: Surroundings) -> None:
        self._env = env

    async def record(
        self,
        caller: Caller,
        use: AuditUse,
        asked: str,
        *,
        grant_id: UUID | None = None,
        key: GrantKey | None = None,
    ) -> str:
        """Make an AuditAccessed entry durable; return its request id.

        Args:
            caller: who reads.
            use: what for.
            asked: what was asked for, in words, cut to 500 characters; sealed. It
                names no token and no person.
            grant_id: of the one grant that is read, None for several.
            key: likewise, where the reader named it.

        Raises:
            Unavailable: it could not be recorded, so nothing may leave.
        """
        env = self._env
        grant = None
        if grant_id is not None:
            grant = await env.ledger.get(grant_id)
        elif key is not None:
            grant = await env.ledger.find(key)
        request_id = env.ids.request_id()
        await env.journal.record(
            AccessEntry(
                at=env.clock.now(),
                outcome=Outcome.AUDIT_READ,
                caller=caller.id,
                request_id=request_id,
                provider=key.provider if key else "",
                grant_id=grant.id if grant else None,
                grant_version=grant.version if grant else 0,
                generation=grant.state.generation if grant else 0,
                reason=use.value,
                policy=env.policy.version,
                private=EntryPrivate(
                    actor=caller.private,
                    # Where no grant's key seals it, no erasure would reach it.
                    subject=key.subject if key and grant else None,
                    detail=asked[:MAX_REASON_LENGTH] or None,
                ),
            )
        )
        return request_id
