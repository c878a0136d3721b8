"""Destroying what is to be forgotten: erase a grant, prune the journal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.ledgers import place_of
from grantledger.adapters.cli import output, views
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import DEFAULT_LABEL, Config, Json, Label
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.settings import Settings, load
from grantledger.domain import pruning
from grantledger.domain.context import Context
from grantledger.domain.erasing import Applied, ErasureReceipt
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.maintenance import Prunable
from grantledger.domain.pruning import Pruning
from grantledger.domain.values import ErasureReason, GrantKey, Outcome

Thorough: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--thorough",
        help="Rewrite the store whatever its size, so that no trace stays.",
    ),
]


def erase(
    provider: Annotated[
        str | None, typer.Argument(metavar="PROVIDER", show_default=False)
    ] = None,
    subject: Annotated[
        str | None, typer.Argument(metavar="SUBJECT", show_default=False)
    ] = None,
    label: Label = DEFAULT_LABEL,
    reason: Annotated[
        ErasureReason, typer.Option(help="Why, as one word; stored in clear.")
    ] = ErasureReason.USER_REQUEST,
    *,
    abandon: Annotated[
        bool,
        typer.Option(
            "--abandon",
            help="Erase although the server has not confirmed every revocation.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Finish erasures that were cut short.")
    ] = False,
    from_list: Annotated[
        bool,
        typer.Option(
            "--from-list", help="After a restore: erase again what the list names."
        ),
    ] = False,
    thorough: Thorough = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Forget one grant for ever: ended, then its data key and sealed data destroyed."""
    named = provider is not None and subject is not None
    if (provider is not None) + resume + from_list != 1 or named == (
        resume or from_list
    ):
        raise InvalidRequest(
            "name PROVIDER and SUBJECT, or --resume, or --from-list", "subject"
        )
    if resume:
        left = with_broker(
            config,
            lambda opened: opened.broker.resume_erasures(thorough=thorough),
            tend=False,
        )
        words = f"{left} erasures were left over and are finished."
        output.show(as_json, {"finished": left}, Text(words))
    elif from_list:
        applied = with_broker(
            config,
            lambda opened: opened.broker.apply_erasures(local_caller()),
            tend=False,
        )
        _show_applied(applied, as_json=as_json)
    else:
        key = GrantKey(provider or "", subject or "", label)
        receipt = with_broker(
            config,
            lambda opened: opened.broker.erase(
                local_caller(), key, reason=reason, abandon=abandon, thorough=thorough
            ),
        )
        _show_receipt(receipt, remains(load(config)), as_json=as_json)


def remains(settings: Settings) -> list[str]:
    """Return where bytes of what was erased may be that this program cannot reach."""
    found = [
        "backups from before: they open it with the key ring of their time",
        "exports and evidence from before: `audit --event AuditAccessed` says whose",
        "blocks that the file system or a snapshot of the disk still keeps",
        "freed memory of brokers that had the data key open, until they are restarted",
    ]
    if place_of(settings) is not None:
        found += [
            "segments of the write-ahead log, recycled ones too, until overwritten",
            "archived write-ahead logs, and standbys that have not replayed it",
        ]
    return found


def _show_receipt(
    receipt: ErasureReceipt, remaining: list[str], *, as_json: bool
) -> None:
    erasure = receipt.erasure
    data = {
        "grant_id": erasure.grant_id,
        "status": "erased",
        "receipt": erasure.receipt,
        "erased_at": erasure.at,
        "reason": erasure.reason,
        "sealed_parts": receipt.parts,
        "freed": receipt.freed,
        "backups_until": erasure.backups_until,
        "archives_until": erasure.archives_until,
        "remains": remaining,
        "abandoned": [views.obligation_data(o) for o in receipt.abandoned],
        "live": [views.hand_out_data(line) for line in receipt.live],
    }
    output.show(as_json, data, views.erasure_view(receipt, remaining))


def _show_applied(applied: Applied, *, as_json: bool) -> None:
    data = {
        "erased_again": applied.again,
        "finished": applied.finished,
        "done": applied.done,
        "unknown": applied.unknown,
        "held": applied.held,
    }
    output.show(
        as_json,
        data,
        Text(
            f"{applied.again} grants were alive and are erased again; "
            f"{applied.finished} erasures were finished; {applied.done} were done; "
            f"{applied.unknown} are of no grant here; {applied.held} are under legal "
            "hold."
        ),
    )


def prune(
    before: Annotated[
        str,
        typer.Option(
            "--before",
            help="Only what was recorded before this date or time (UTC).",
            show_default=False,
        ),
    ],
    reason: Annotated[
        str,
        typer.Option("--reason", help="Why; stored sealed.", show_default=False),
    ],
    outcome: Annotated[
        list[Outcome] | None,
        typer.Option(
            "--outcome", help="Only batches of these outcomes alone; repeatable."
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would go.")
    ] = False,
    thorough: Thorough = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Destroy old hand-outs and denials; hashes stay, so that the log still proves."""
    at = _time(before)
    outcomes = tuple(outcome or ())

    async def look(opened: OpenBroker) -> Prunable:
        now = opened.clock.now()
        return await opened.ledger.prunable(at, outcomes or tuple(Outcome), now)

    async def work(opened: OpenBroker) -> Pruning:
        env = opened.broker.env
        request_id = env.ids.request_id()

        def context() -> Context:
            return env.context(local_caller().actor, request_id, env.policy.version)

        return await pruning.prune(
            opened.ledger,
            opened.ledger,
            context,
            before=at,
            outcomes=outcomes,
            reason=reason,
            thorough=thorough,
        )

    if dry_run:
        plan = with_broker(config, look, tend=False)
        done = Pruning(plan, 0, freed=False)
    else:
        done = with_broker(config, work, tend=False)
    _show_pruning(done, dry_run=dry_run, as_json=as_json)


def _show_pruning(done: Pruning, *, dry_run: bool, as_json: bool) -> None:
    plan = done.plan
    data = {
        "dry_run": dry_run,
        "below": plan.below,
        "prunable": plan.leaves,
        "entries": plan.entries,
        "kept": plan.kept,
        "pruned": done.leaves,
        "freed": done.freed,
    }
    words = (
        f"{plan.leaves} journal leaves below {plan.below} would go, with "
        f"{plan.entries} entries"
        if dry_run
        else f"{done.leaves} journal leaves below {plan.below} are pruned"
    )
    output.show(
        as_json,
        data,
        Text(
            f"{words}; {plan.kept} stay: a token lives, another outcome, a legal hold."
        ),
    )


def _time(text: str) -> datetime:
    """Return the aware UTC time that an option names; a date is its beginning.

    Raises:
        InvalidRequest: it is neither.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            f"before is {text!r}; a date or time such as 2026-01-31 or "
            "2026-01-31T12:00:00Z",
            "before",
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
