"""`grantledger keys`: the key ring itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker, rekeying
from grantledger.adapters.bootstrap.opened import key_ring
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.keys import changing
from grantledger.adapters.keys.clock import SystemClock
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.adapters.settings import load
from grantledger.domain.context import Context
from grantledger.domain.errors import ConfigurationError

Use = Annotated[KeyUse, typer.Option("--use", help="Which key; see the docs.")]
app = typer.Typer(help="Look after the key ring.", no_args_is_help=True)


@app.command()
def complete(config: Config = None, *, as_json: Json = False) -> None:
    """Add a key of each use that the ring lacks; the others stay as they are.

    A ring that was made before the log was signed has no signing key.
    """
    settings = load(config)
    if settings.keyring_text is not None:
        raise ConfigurationError(
            "the key ring stands in a variable: write it to a file, complete that, and "
            "set the variable anew",
            "keys.env",
        )
    path = settings.keyring_file
    ring = KeyRing.load(path)
    whole = ring.completed(SystemClock().now())
    added = [use.value for use in KeyUse if not ring.ids(use)]
    if added:
        whole.save(path, overwrite=True)
    words = f"added: {', '.join(added)}" if added else "nothing is missing"
    output.show(as_json, {"keyring": path, "added": added}, Text(f"{path}: {words}."))


@app.command("list")
def list_keys(config: Config = None, *, as_json: Json = False) -> None:
    """Show every key, by id: its use, its age, and what needs it. Never the key."""
    settings = load(config)
    needed = with_broker(
        config, lambda opened: rekeying.used(opened, settings), tend=False
    )
    ring = key_ring(settings)
    rows = [
        {
            "id": key.id,
            "use": key.use.value,
            "active": key.active,
            "prepared": key.id == changing.waiting(ring.keys, key.use),
            "created_at": key.created_at,
            "needed_by": needed.get(key.id),
        }
        for key in ring.keys
    ]
    table = output.table("key", "use", "state", "since", "needed by")
    for row, key in zip(rows, ring.keys, strict=True):
        state = "active" if key.active else "prepared" if row["prepared"] else "older"
        table.add_row(
            key.id,
            key.use.value,
            state,
            output.utc(key.created_at),
            needed.get(key.id, "-"),
        )
    output.show(as_json, {"keys": rows}, table)


@app.command()
def prepare(use: Use, config: Config = None, *, as_json: Json = False) -> None:
    """Add a key that is not active yet, to be copied to every machine's ring first."""
    key_id = rekeying.prepare(load(config), use)
    words = f"{key_id} waits: copy the ring to every machine, then `keys rotate`."
    output.show(as_json, {"use": use, "prepared": key_id}, Text(words))


@app.command()
def rotate(use: Use, config: Config = None, *, as_json: Json = False) -> None:
    """Make the prepared key of a use, or a new one, the active one; brokers go on.

    What older keys made is made anew where that can be; what they wrapped or marked
    stays readable and searchable.
    """
    settings = load(config)
    before = key_ring(settings).active_id(use)
    key_id = rekeying.prepare(settings, use)

    async def work(opened: OpenBroker) -> rekeying.Remade:
        await opened.ledger.ready()  # else the older keys' work would be left as it is
        await rekeying.activate(opened, settings, key_id, _context(opened))
        return await rekeying.remake(opened, settings)

    done = with_broker(config, work, tend=False)
    data = {"use": use, "active": key_id, "previous": before, **_data(done)}
    output.show(as_json, data, Text(f"{key_id} is the {use} key. {_words(done)}"))


@app.command()
def rewrap(config: Config = None, *, as_json: Json = False) -> None:
    """Make anew what older keys made, such as after a rotation that was cut short."""
    settings = load(config)
    done = with_broker(
        config, lambda opened: rekeying.remake(opened, settings), tend=False
    )
    output.show(as_json, _data(done), Text(_words(done)))


@app.command()
def retire(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `list` shows it.")],
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Take a key out of the ring that nothing stored needs any more.

    Backups from before need it: keep a copy of the old ring as long as they are kept,
    or destroy it, and nothing wrapped with that key is ever opened from them.
    """
    settings = load(config)
    with_broker(
        config,
        lambda opened: rekeying.retire(opened, settings, key, _context(opened)),
        tend=False,
    )
    output.show(as_json, {"retired": key}, Text(f"{key} is retired."))


def _context(opened: OpenBroker) -> Callable[[], Context]:
    env = opened.broker.env
    request_id = env.ids.request_id()
    return lambda: env.context(local_caller().actor, request_id, env.policy.version)


def _data(done: rekeying.Remade) -> dict[str, object]:
    return {
        "data_keys": done.data_keys,
        "rows": done.rows,
        "clients": done.clients,
        "erasures": done.erasures,
    }


def _words(done: rekeying.Remade) -> str:
    return (
        f"Made anew: {done.data_keys} data keys, {done.rows} grants' rows, "
        f"{done.clients} clients, {done.erasures} lines of the erasure list."
    )
