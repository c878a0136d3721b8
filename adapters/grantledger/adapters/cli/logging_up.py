"""Logs as the settings want them, for the commands that stay."""

from __future__ import annotations

from collections.abc import Callable

from grantledger.adapters.settings import Settings
from grantledger.adapters.telemetry import logs


def logging_of(settings: Settings) -> Callable[[str], None]:
    """Set the process's logging up; return what tells people a line of our own."""
    said = settings.file.telemetry
    trace_id = None
    if said.traces is not None:
        try:
            from grantledger.adapters.telemetry import tracing  # noqa: PLC0415 - an extra, which need not be installed
        except ImportError:
            pass  # told where the traces are opened
        else:
            trace_id = tracing.trace_id
    return logs.set_up(said.log_format, said.log_level, trace_id=trace_id)
