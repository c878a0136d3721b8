"""The commands, put together."""

from __future__ import annotations

import typer

from grantledger.adapters.cli import hold, incident, keys, log, policy, provider
from grantledger.adapters.cli.ask import ask
from grantledger.adapters.cli.audit import audit
from grantledger.adapters.cli.backup import backup
from grantledger.adapters.cli.checkpoint import checkpoint
from grantledger.adapters.cli.connect import connect
from grantledger.adapters.cli.console import console
from grantledger.adapters.cli.continuing import continue_log
from grantledger.adapters.cli.copying import copy
from grantledger.adapters.cli.demo.command import demo
from grantledger.adapters.cli.diff import diff
from grantledger.adapters.cli.doctor.command import doctor
from grantledger.adapters.cli.evidence import evidence
from grantledger.adapters.cli.grants import (
    history,
    revoke,
    rotate,
    settle,
    status,
)
from grantledger.adapters.cli.importing import import_grant
from grantledger.adapters.cli.listing import list_grants
from grantledger.adapters.cli.maintenance import erase, prune
from grantledger.adapters.cli.migrate import migrate
from grantledger.adapters.cli.probe import probe
from grantledger.adapters.cli.rebuild import rebuild
from grantledger.adapters.cli.serve import client_secret, serve
from grantledger.adapters.cli.setup import init
from grantledger.adapters.cli.token import token
from grantledger.adapters.cli.trace import trace
from grantledger.adapters.cli.verify import verify
from grantledger.adapters.cli.worker import worker

app = typer.Typer(
    name="grantledger",
    help="An event-sourced OAuth grant ledger and token broker.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    # A traceback with locals would print tokens.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)
for _command, _name in (
    (demo, "demo"),
    (init, "init"),
    (migrate, "migrate"),
    (copy, "copy"),
    (serve, "serve"),
    (client_secret, "client-secret"),
    (probe, "probe"),
    (connect, "connect"),
    (import_grant, "import"),
    (token, "token"),
    (list_grants, "list"),
    (status, "status"),
    (history, "history"),
    (trace, "trace"),
    (diff, "diff"),
    (ask, "ask"),
    (audit, "audit"),
    (rotate, "rotate"),
    (revoke, "revoke"),
    (erase, "erase"),
    (prune, "prune"),
    (settle, "settle"),
    (worker, "worker"),
    (doctor, "doctor"),
    (verify, "verify"),
    (rebuild, "rebuild"),
    (checkpoint, "checkpoint"),
    (evidence, "evidence"),
    (backup, "backup"),
    (continue_log, "continue"),
    (console, "console"),
):
    app.command(_name)(_command)
app.add_typer(provider.app, name="provider")
app.add_typer(hold.app, name="hold")
app.add_typer(keys.app, name="keys")
app.add_typer(policy.app, name="policy")
app.add_typer(incident.app, name="incident")
app.add_typer(log.app, name="log")
