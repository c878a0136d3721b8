"""What clients, samplers and the one who kills have seen while the load went on.

Times are this machine's monotonic seconds. Tokens appear by their SHA-256 only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Answer:
    """A token that a caller was given.

    Attributes:
        request: the broker's id of it.
        token: SHA-256.
        began: when it was sent, the last time if several replicas were tried.
    """

    request: str
    token: str
    grant: str
    generation: int
    caller: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Ending:
    """A revocation that was acknowledged; `moment` is as the broker tells it."""

    grant: str
    moment: str
    at: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """A published checkpoint as one replica gave it."""

    at: float
    replica: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment.

    Attributes:
        life: how often the replica had been started before.
        rss: resident bytes.
        descriptors: but for callers' connections, which come and go with the load.
        cpu: processor seconds so far.
    """

    at: float
    replica: int
    life: int
    rss: int
    descriptors: int
    callers: int
    threads: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Kill:
    """A replica ended by SIGKILL; `back` is when it served again."""

    at: float
    replica: int
    node: str
    back: float


@dataclass
class Seen:
    """Everything.

    Attributes:
        waited: when each hand-out was due, and how long until its answer.
        refused: answers without a token, by their word.
        broken: requests that ended without an answer.
        late: requests that were not sent: too many were under way, or too late.
        done: what operator and auditor did, by what it was.
        wrong: answers that nobody may get, in words.
        said: what replicas wrote into their logs, each line after the replica's number.
    """

    began: float = 0.0
    ended: float = 0.0
    answers: list[Answer] = field(default_factory=list[Answer])
    endings: list[Ending] = field(default_factory=list[Ending])
    fetched: list[Fetched] = field(default_factory=list[Fetched])
    samples: list[Sample] = field(default_factory=list[Sample])
    kills: list[Kill] = field(default_factory=list[Kill])
    waited: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    refused: Counter[str] = field(default_factory=Counter[str])
    done: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    said: list[str] = field(default_factory=list[str])
    broken: int = 0
    late: int = 0
