"""Checks of the key ring, the ledger, and what is owed and due in it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from grantledger.adapters.bootstrap.sampling import EVER, LATE, MAX_OWED
from grantledger.adapters.cli.doctor.findings import Finding, warning, well, wrong
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.ledger import datastore
from grantledger.adapters.ledger.postgres.clock import DatabaseClock
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.settings import Settings
from grantledger.domain.errors import GrantledgerError, LedgerError
from grantledger.domain.grant_state import GrantState
from grantledger.domain.ports import Clock
from grantledger.domain.provider import ProviderRules

SOON = timedelta(days=7)
APART_SECONDS = 1.0


def check_ring(ring: KeyRing, settings: Settings) -> list[Finding]:
    """Tell whether the ring has every key that is needed."""
    text = settings.keyring_text
    where = f"the variable {text[1]}" if text else str(settings.keyring_file)
    if ring.signer() is None:
        return [
            warning(
                "keys",
                f"the key ring at {where} has no key to sign checkpoints with",
                "grantledger keys complete",
            )
        ]
    uses = ", ".join(use.value for use in KeyUse)
    return [well("keys", f"{where} has an active key of each use: {uses}")]


def check_file(settings: Settings, ring: KeyRing) -> list[Finding]:
    """Look at a ledger's file before anything is opened, which would migrate it."""
    path = settings.ledger_path
    try:
        datastore.check(path)
        ring.verify_check_values(datastore.key_checks(path))
        schema, newest = datastore.schema(path), datastore.newest_schema()
    except GrantledgerError as error:
        return [wrong("ledger", error)]
    if schema < newest:
        older = LedgerError(f"{path} has schema {schema}, this program's is {newest}")
        return [wrong("schema", older, "grantledger migrate")]
    return []


async def check_ledger(ledger: StoredLedger) -> list[Finding]:
    """Tell whether the ledger takes appends; a restored or a moved one does not."""
    try:
        await ledger.writable()
        standing = await ledger.standing()
    except GrantledgerError as error:
        return [wrong("ledger", error)]
    return [
        well("ledger", f"{ledger.name} can be read and written"),
        well("schema", f"its schema is {standing.schema}, the newest"),
        well("guard", "it is the log that this replica knows"),
    ]


async def check_checkpoints(ledger: StoredLedger) -> list[Finding]:
    """Tell whether the log says that its checkpoints are not published in time."""
    try:
        late = (await ledger.life()).state.unpublished
    except GrantledgerError as error:
        return [wrong("checkpoints", error)]
    if late:
        return [
            warning(
                "checkpoints",
                "the log says that checkpoints are not published in time",
                "start `grantledger serve`, or see what `grantledger log publish` says",
            )
        ]
    return [well("checkpoints", "none is late, as far as the log says")]


def check_clock(clock: Clock, local: Clock) -> list[Finding]:
    """Tell how far this machine's clock is from the database's."""
    if not isinstance(clock, DatabaseClock):
        return [well("clock", "the ledger is a file: it goes by this machine's clock")]
    apart = (local.now() - clock.now()).total_seconds()
    said = f"this machine's clock is {abs(apart):.1f} s from the database's"
    if abs(apart) > APART_SECONDS:
        return [warning("clock", said, "see that both are synchronised (NTP)")]
    return [well("clock", said)]


async def check_due(ledger: StoredLedger, now: datetime) -> list[Finding]:
    """Tell what is owed to servers, and what nobody has looked after in time."""
    owed: Counter[str] = Counter()
    late: Counter[str] = Counter()
    leases = 0
    try:
        for grant_id in await ledger.due(now + EVER, MAX_OWED):
            grant = await ledger.get(grant_id)
            if grant is None:
                continue
            state = grant.state
            for one in state.open_obligations():
                owed[state.provider] += 1
                late[state.provider] += bool(
                    one.next_try_at and one.next_try_at + LATE < now
                )
            leases += _lease_over(state, now)
    except GrantledgerError as error:
        return [wrong("obligations", error)]
    found: list[Finding] = []
    todo = "start `grantledger serve` or `grantledger worker`: nobody does it now"
    for name, count in sorted((+late).items()):
        said = f"{count} revocations at {name} should have been tried over an hour ago"
        found.append(warning("obligations", said, todo))
    if not found:
        said = f"{owed.total()} revocations are owed, none of them late"
        found.append(well("obligations", said))
    if leases:
        said = f"{leases} redemptions have no outcome, and their leases are over"
        found.append(warning("leases", said, todo))
    else:
        found.append(well("leases", "no redemption is left without an outcome"))
    return found


def _lease_over(state: GrantState, now: datetime) -> bool:
    intents = (state.intent, *state.displaced)
    return any(one and one.lease_expires_at < now for one in intents)


async def check_endings(
    ledger: StoredLedger, rules: dict[str, ProviderRules], now: datetime
) -> list[Finding]:
    """Tell which grants will end because nobody uses them in time."""
    ending: Counter[str] = Counter()
    try:
        for grant_id in await ledger.duties.ended(now + SOON, MAX_OWED):
            grant = await ledger.get(grant_id)
            if grant is None or grant.state.refresh is None:
                continue
            ends = grant.state.refresh.expires_at
            known = rules.get(grant.state.provider)
            if ends and ends < now + SOON and not (known and known.rotates):
                ending[grant.state.provider] += 1
    except GrantledgerError as error:
        return [wrong("keep_alive", error)]
    return [
        warning(
            "keep_alive",
            f"{count} grants at {name} end within {SOON.days} days: the settings keep "
            "none of them alive",
            f"set providers.{name}.keep_alive = true and run a worker, or have the "
            "users connect again",
        )
        for name, count in sorted(ending.items())
    ] or [well("keep_alive", f"no grant ends within {SOON.days} days unasked")]
