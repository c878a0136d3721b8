"""The telemetry of a process that runs a broker: opened, sampled, closed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry

from grantledger.adapters.bootstrap.ledgers import spool_of
from grantledger.adapters.bootstrap.opened import OpenBroker
from grantledger.adapters.bootstrap.regularly import regularly
from grantledger.adapters.bootstrap.sampling import sampled
from grantledger.adapters.settings import HttpSettings, Settings, WorkerSettings
from grantledger.adapters.settings.listening import address
from grantledger.adapters.settings.resolved import METRICS_DIRECTORY_ENV
from grantledger.adapters.telemetry.metrics import Metrics, expose, forget
from grantledger.adapters.telemetry.opened import Telemetry, telemetry_of

SAMPLE_SECONDS = 10.0
_TABLE = {HttpSettings: "http", WorkerSettings: "worker"}

_log = logging.getLogger("grantledger.telemetry")


@contextmanager
def watching(
    settings: Settings, part: HttpSettings | WorkerSettings, *, alone: bool = True
) -> Generator[Telemetry | None]:
    """Yield the telemetry that the settings ask for; None where that is nothing.

    On leaving, spans are sent and the listener has stopped.

    Args:
        settings: all of them.
        part: says where this process answers `GET /metrics`.
        alone: it does; otherwise its parent does, for all its children.

    Raises:
        ConfigurationError: a setting is wrong.
        Unavailable: the listener's address is taken.
    """
    directory = settings.metrics_directory
    listen = part.metrics_listen
    counting = listen is not None or directory is not None
    telemetry = telemetry_of(settings, time.monotonic, metrics=counting)
    with ExitStack() as afterwards:
        if telemetry is not None:
            afterwards.callback(telemetry.close)
            if telemetry.metrics is not None and listen and alone:
                host, port = address(listen, f"{_TABLE[type(part)]}.metrics_listen")
                port, stop = expose(host, port, telemetry.metrics.registry, directory)
                afterwards.callback(stop)
                _log.info("metrics at http://%s:%d/metrics", host, port)
        yield telemetry


@contextmanager
def adding_up(
    settings: Settings, part: HttpSettings
) -> Generator[tuple[Mapping[str, str], Callable[[int], object]]]:
    """Show the metrics of child processes, added up, where the settings ask for it.

    Yields what children have to find in their environment, and what is to be told the
    process id of one that has ended.

    Raises:
        ConfigurationError, Unavailable: see `watching`.
    """
    if part.metrics_listen is None:
        yield {}, lambda _: None
        return
    with ExitStack() as afterwards:
        directory = settings.metrics_directory
        if directory is None:
            made = TemporaryDirectory(prefix="grantledger-metrics-")
            directory = Path(afterwards.enter_context(made))
        host, port = address(part.metrics_listen, "http.metrics_listen")
        port, stop = expose(host, port, CollectorRegistry(), directory)
        afterwards.callback(stop)
        _log.info("metrics at http://%s:%d/metrics", host, port)
        yield {METRICS_DIRECTORY_ENV: str(directory)}, partial(_gone, directory)


def _gone(directory: Path, pid: int) -> None:
    forget(pid, directory)


@asynccontextmanager
async def sampling(
    opened: OpenBroker, settings: Settings, telemetry: Telemetry | None
) -> AsyncGenerator[None]:
    """Show in the metrics, from now on, what the broker is."""
    metrics = None if telemetry is None else telemetry.metrics
    if metrics is None:
        yield
        return
    counted: Metrics = metrics
    spool = spool_of(settings)

    async def sample() -> None:
        counted.sampled(await sampled(opened, spool))

    await sample()
    task = asyncio.create_task(regularly(sample, lambda: SAMPLE_SECONDS, "metrics"))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
