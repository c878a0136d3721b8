"""Who is to see the log's checkpoints: witnesses and places of the settings."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio

from grantledger.adapters.bootstrap.checkpoint_exports import (
    CheckpointExport,
    export_to,
)
from grantledger.adapters.bootstrap.guarding import LogGuard
from grantledger.adapters.bootstrap.publishing import Publisher
from grantledger.adapters.settings import LogSettings, Settings
from grantledger.adapters.telemetry.watch import Watch
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.witnesses import Witness
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.surroundings import Surroundings


class Audience:
    """The witnesses and places; leave it with `aclose`.

    Raises:
        ConfigurationError: a setting is wrong; names it.
    """

    def __init__(self, settings: Settings) -> None:
        said = settings.file.log
        self._http: BoundedHttp | None = None
        self.witnesses: Sequence[Witness] = ()
        self.exports: Sequence[CheckpointExport] = ()
        if not (said.witnesses or said.exports):
            if said.quorum:
                raise _too_few(said.quorum, 0)
            return
        http = self._http = BoundedHttp(ssl_context=_trust(settings))
        found: list[Witness] = []
        for number, one in enumerate(said.witnesses):
            try:
                found.append(Witness.of(one.url, one.key, http, one.seconds))
            except ConfigurationError as cause:
                where = f"log.witnesses[{number}].{cause.field}"
                raise ConfigurationError(f"{where}: {cause}", where) from cause
        names = {witness.cosigner.name for witness in found}
        if said.quorum > len(names):
            raise _too_few(said.quorum, len(names))
        self.witnesses = found
        self.exports = [export_to(url, http) for url in said.exports]

    async def aclose(self) -> None:
        """Close every connection."""
        if self._http is not None:
            await self._http.aclose()


@asynccontextmanager
async def publishing(
    env: Surroundings,
    guard: LogGuard,
    said: LogSettings,
    audience: Audience,
    watch: Watch,
    *,
    start: bool,
) -> AsyncGenerator[Publisher]:
    """Yield this process's publisher; on leaving it has stopped.

    Args:
        env: of the broker, for what is decided.
        guard: signs.
        said: the settings.
        audience: closed on leaving.
        watch: counts.
        start: publish from now on.
    """
    publisher = Publisher(
        guard.ledger,
        guard,
        env.system,
        env.clock,
        said,
        audience.witnesses,
        audience.exports,
        watch,
    )
    if start:
        publisher.start()
    try:
        yield publisher
    finally:
        with anyio.CancelScope(shield=True):
            await publisher.stop()
            await audience.aclose()


def _too_few(quorum: int, names: int) -> ConfigurationError:
    return ConfigurationError(
        f"log.quorum is {quorum}, and log.witnesses name {names}", "log.quorum"
    )


def _trust(settings: Settings) -> ssl.SSLContext | None:
    said = settings.file.log.ca_file
    if said is None:
        return None
    path = settings.path(said, "log.ca_file")
    try:
        return ssl.create_default_context(cafile=str(path))
    except OSError as cause:
        raise ConfigurationError(
            f"log.ca_file: cannot read certificates from {path}: {cause.strerror}",
            "log.ca_file",
        ) from cause
