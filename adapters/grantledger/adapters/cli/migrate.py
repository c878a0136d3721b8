"""`grantledger migrate`: the ledger brought to this program's schema."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from grantledger.adapters.bootstrap.ledgers import migrate_ledger, schema_script
from grantledger.adapters.cli import output
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.settings import load

PrintSql = Annotated[
    bool,
    typer.Option(
        "--print-sql",
        help="Print the SQL of a PostgreSQL schema and its roles, for psql; run none.",
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(help="With --print-sql: the schema's name, grantledger by default."),
]


def migrate(
    config: Config = None,
    *,
    print_sql: PrintSql = False,
    schema: Schema = None,
    as_json: Json = False,
) -> None:
    """Bring the ledger to the newest schema, under a lock; on PostgreSQL, make it.

    Run it as the role that owns the schema, before the replicas start. Several at
    once do no harm. A database administrator may run what --print-sql prints instead.
    """
    if print_sql:
        script = schema_script(schema) if schema is not None else schema_script()
        if as_json:
            output.write_json({"sql": script})
        else:
            output.write(script.rstrip("\n"))
        return
    if schema is not None:
        raise typer.BadParameter(
            "--schema goes with --print-sql", param_hint="--schema"
        )
    name, number = migrate_ledger(load(config))
    output.show(
        as_json,
        {"ledger": name, "schema": number},
        Text(f"{name} has schema {number}."),
    )
