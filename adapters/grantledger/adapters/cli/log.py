"""`grantledger log`: the Merkle log for others: tiles, proofs, checkpoints."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.files import write_private
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.cli.running import with_broker
from grantledger.adapters.ledger.log_export import Exported, export
from grantledger.adapters.ledger.published_log import Published
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidRequest,
    Unavailable,
    UpstreamRejected,
)
from grantledger.domain.policy import Operation
from grantledger.projections.checkpoints import (
    MAX_NOTE_BYTES,
    SignedCheckpoint,
    read_note,
    verifier_key,
    written_hash,
)
from grantledger.projections.cosigning import AddCheckpoint
from grantledger.projections.portable_proofs import PortableProof
from grantledger.projections.proofs import check_consistency

app = typer.Typer(help="The Merkle log for others.", no_args_is_help=True)

Out = Annotated[
    Path | None,
    typer.Option("--out", help="Write it to a new file instead.", show_default=False),
]


@app.command("export")
def export_log(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new directory; none is replaced.")
    ],
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Write the whole log as tiles, with its checkpoint, keys and tables to compare.

    `grantledger-verify` checks the directory on a machine without the broker. Leaves
    hold surrogates only; what is sealed is not in it.
    """
    if directory.exists() or directory.is_symlink():
        raise ConfigurationError(f"{directory} exists and is not replaced", "dir")

    async def work(opened: OpenBroker) -> tuple[Exported, str]:
        caller = local_caller()
        await opened.broker.authorise(caller, Operation.READ_LOG)
        opened.guard.signer()
        await opened.broker.audit_access.record(
            caller, AuditUse.LOG, "the whole log as tiles"
        )
        return await _exported(opened, directory)

    done, origin = with_broker(config, work, tend=False)
    output.show(
        as_json,
        {
            "directory": directory,
            "origin": origin,
            "leaves": done.size,
            "pruned": done.pruned,
            "root": done.root.hex(),
            "files": done.files,
        },
        output.facts(
            [
                ("tiles", f"{directory}, {done.files} files"),
                ("leaves", f"{done.size}, {done.pruned} of them without their bytes"),
                ("root", f"{done.root.hex()}, signed for {origin}"),
            ]
        ),
        Text("Keep it, or serve it as it is: `grantledger-verify` checks it."),
    )


async def _exported(opened: OpenBroker, directory: Path) -> tuple[Exported, str]:
    half = directory.with_name(f".{directory.name}.{os.urandom(8).hex()}.part")
    try:
        half.mkdir(mode=0o700)
        log = opened.ledger.published
        if opened.publisher.witnesses:
            # So that their cosignatures are on it, if nobody appends meanwhile.
            with suppress(Unavailable, UpstreamRejected):
                await opened.publisher.publish()
                await opened.publisher.spread()
        done = await export(log, half)
        origin, note = await opened.guard.sign(done.size, done.root)
        published = await log.published(origin, done.size)
        if published is not None and published.root == done.root:
            opened.guard.vouch(published)
            note = published.text
        keys = [verifier_key(origin, key) for key in opened.guard.public_keys()]
        keys += [witness.cosigner.key for witness in opened.publisher.witnesses]
        (half / "keys.txt").write_text("".join(f"{key}\n" for key in keys))
        (half / "checkpoint").write_text(note)
        half.rename(directory)
    except OSError as cause:
        raise ConfigurationError(
            f"cannot write {directory}: {cause.strerror}", "dir"
        ) from cause
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return done, origin


@app.command("publish")
def publish(config: Config = None, *, as_json: Json = False) -> None:
    """Publish a checkpoint now, have it cosigned and written away; for a timer.

    Services and workers do it by themselves.
    """

    async def work(opened: OpenBroker) -> Published | None:
        log = opened.ledger.published
        await opened.publisher.publish()
        await opened.publisher.spread()
        return await log.newest(await opened.guard.origin())

    newest = with_broker(config, work, tend=False)
    if newest is None:
        output.show(as_json, {"size": 0}, Text("The log has no leaves."))
        return
    output.show(
        as_json,
        {
            "origin": newest.origin,
            "size": newest.size,
            "root": newest.root.hex(),
            "at": newest.at,
            "cosignatures": len(newest.cosignatures),
        },
        output.facts(
            [
                ("leaves", f"{newest.size}, of {newest.origin}"),
                ("root", newest.root.hex()),
                ("published", output.utc(newest.at)),
                ("cosigned", f"by {len(newest.cosignatures)} witnesses"),
            ]
        ),
    )


@app.command("proof")
def proof(
    index: Annotated[int, typer.Argument(metavar="INDEX", help="Of the leaf.", min=0)],
    out: Out = None,
    leaf_out: Annotated[
        Path | None,
        typer.Option(
            help="Write the leaf itself to a new file as well.", show_default=False
        ),
    ] = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Prove one leaf: a file in the C2SP tlog-proof format.

    Under the newest published checkpoint, cosignatures and all; a leaf that is younger
    is proven under one that is signed now.
    """

    async def work(opened: OpenBroker) -> PortableProof:
        caller = local_caller()
        await opened.broker.authorise(caller, Operation.READ_LOG)
        log = opened.ledger.published
        newest = await log.newest(await opened.guard.origin())
        if newest is not None and newest.size > index:
            opened.guard.vouch(newest)
            note = newest.text
        else:
            note = await opened.guard.checkpoint()
        size = read_note(note.encode()).checkpoint.size
        made = PortableProof(index, tuple(await log.inclusion(index, size)), note)
        (leaf,) = await log.leaves(index, index + 1)
        try:
            made.check(leaf.hashed)
        except ValueError as cause:
            raise IntegrityError(f"{opened.ledger.name}: {cause}") from cause
        if leaf_out is not None:
            if not leaf.state:
                raise InvalidRequest(
                    f"leaf {index} was pruned: it has no bytes", "leaf"
                )
            await opened.broker.audit_access.record(
                caller, AuditUse.LOG, f"leaf {index}"
            )
            write_private(leaf_out, leaf.state.decode())
        return made

    made = with_broker(config, work, tend=False)
    _say(
        made.text(),
        {
            "index": made.index,
            "hashes": [written_hash(each) for each in made.hashes],
            "checkpoint": made.note,
        },
        out,
        as_json=as_json,
    )


@app.command("consistency")
def consistency(
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A checkpoint kept from before.", show_default=False),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Or how many leaves there were.", min=0, show_default=False),
    ] = None,
    out: Out = None,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """Prove that the log only grew since: in the form that witnesses are asked in.

    `old N`, hashes, an empty line, and a checkpoint signed now.
    """
    if (checkpoint is None) == (size is None):
        raise InvalidRequest("say --checkpoint or --size, one of them", "checkpoint")
    kept = None if checkpoint is None else _kept(checkpoint)
    old = size or 0 if kept is None else kept.checkpoint.size

    async def work(opened: OpenBroker) -> AddCheckpoint:
        await opened.broker.authorise(local_caller(), Operation.READ_LOG)
        note = await opened.guard.checkpoint()
        now = read_note(note.encode()).checkpoint
        if old > now.size:
            raise InvalidRequest(f"the log has {now.size} leaves, not {old}", "size")
        hashes = await opened.ledger.published.consistency(old, now.size)
        if kept is not None:
            try:
                root = kept.checkpoint.root
                check_consistency(old, root, now.size, now.root, hashes)
            except ValueError as cause:
                raise IntegrityError(
                    f"the log does not begin with what {checkpoint} covers: {cause}"
                ) from cause
        return AddCheckpoint(old, tuple(hashes), note)

    made = with_broker(config, work, tend=False)
    _say(
        made.body().decode(),
        {
            "old": made.old,
            "hashes": [written_hash(each) for each in made.proof],
            "checkpoint": made.note,
        },
        out,
        as_json=as_json,
    )


def _kept(path: Path) -> SignedCheckpoint:
    try:
        with path.open("rb") as file:
            return read_note(file.read(MAX_NOTE_BYTES + 1))
    except OSError as cause:
        raise InvalidRequest(
            f"cannot read {path}: {cause.strerror}", "checkpoint"
        ) from cause
    except ValueError as cause:
        raise InvalidRequest(f"{path}: {cause}", "checkpoint") from cause


def _say(
    text: str, data: dict[str, object], out: Path | None, *, as_json: bool
) -> None:
    if out is not None:
        write_private(out, text)
    if as_json:
        output.write_json(data if out is None else data | {"file": out})
    elif out is None:
        output.write(text.removesuffix("\n"))
