"""`grantledger continue`: go on after a restore, or a failover that lost commits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.domain.context import Context
from grantledger.domain.continuing import Continued
from grantledger.domain.fleet import check_text

MAX_TEXT_LENGTH = 500


def continue_log(
    reason: Annotated[str, typer.Option(help="Why, in words; stored sealed.")],
    ticket: Annotated[
        str | None,
        typer.Option(help="Of your own system; stored sealed.", show_default=False),
    ] = None,
    config: Config = None,
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Though nothing outside contradicts the ledger."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Go on with a ledger that is older than, or not, the one last seen.

    What it had lost is not known, so every usable grant needs consent again. The log
    gets a new incarnation and a new origin, linked to the old one in the log itself.
    Cut short, it is run again. Replicas that refuse have to be restarted afterwards.

    On a machine without a guard, such as after its loss, say --force.
    """
    for name, text in (("reason", reason), ("ticket", ticket)):
        check_text(name, text, MAX_TEXT_LENGTH)

    async def work(opened: OpenBroker) -> tuple[Continued, int]:
        env = opened.broker.env
        caller = local_caller()

        def context() -> Context:
            return env.context(caller.actor, request_id, env.policy.version)

        async def erase_again() -> int:
            applied = await opened.broker.apply_erasures(caller)
            return applied.again + applied.finished

        opened.guard.erase_again = erase_again
        request_id = env.ids.request_id()
        done = await opened.guard.go_on(context, reason, ticket, force=force)
        # Only now: an answer kept on disk may mend what was just quarantined.
        return done, await opened.broker.recover()

    done, recovered = with_broker(config, work, tend=False)
    output.show(
        as_json,
        {**asdict(done), "recovered": recovered},
        output.facts(
            [
                ("origin", done.origin),
                ("known", f"{done.known_size} leaves, outside"),
                ("found", f"{done.found_size} leaves"),
                ("quarantined", f"{done.quarantined} grants: their users consent anew"),
                ("erased again", str(done.erased)),
                ("recovered", f"{recovered} answers that had been kept on disk"),
            ]
        ),
    )
