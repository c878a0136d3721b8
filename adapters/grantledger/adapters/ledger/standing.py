"""What a ledger says of itself at any time, for probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """What has to hold for as long as a ledger is used.

    Attributes:
        schema, newest: the number stored, and the newest that this program knows.
        key_checks: check value of every key that the ledger was written with.
    """

    schema: int
    newest: int
    key_checks: Mapping[str, bytes]
