"""A cold grant: 200 callers on 4 replicas ask at once, and one redemption serves all.

    python -m benchmarks.cold [--rounds 9] [--callers 200] [--replicas 4]
        [--answer-seconds 0.2] [--json FILE]

Each round has a grant of its own, of which no replica knows anything. The replicas are
processes with a broker each over one PostgreSQL; at an agreed moment 50 callers on each
ask for a token. Compared, round by round:

- answer: what the authorization server itself takes for a refresh, as a bare httpx
  client sees it just before. It waits so long on purpose (`--answer-seconds`).
- commit: one row by psycopg, INSERT and COMMIT, in a database with fsync on, just
  before; the median of twenty. And an audited commit: a hand-out of a cached token to
  one caller alone, the median of twenty as well.
- callers: from the agreed moment to the token, which is in the journal by then.

Fair, because the server, the disk and the two cores are the same, and because nothing
is taken off: what 200 callers of 4 processes cost in processor time is in their wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import anyio
import httpx
import psycopg

from benchmarks.appends import check_durable, shipped_server
from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.devserver.tokens import sha256
from grantledger.adapters.http.serving import settled
from grantledger.adapters.settings import load
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import GrantKey, RefreshToken

PROVIDER, CLIENT = "cloud", "bench"
SCOPES = ("files.read", "offline_access", "openid")
COMMITS = 20
AHEAD_SECONDS = 0.5
ALLOWED_COMMITS = 5
SETTINGS = """
[ledger]
url = {url}

[providers.cloud]
issuer = {issuer}
preset = "nextcloud-2.5"
client_id = "bench"
client_secret_file = "cloud.secret"
auth_method = "client_secret_post"
base_scopes = []
"""


@dataclass(frozen=True, slots=True)
class Round:
    """One round, in milliseconds.

    Attributes:
        redemptions: of the grant's refresh token that reached the server.
        tokens: how many different ones the callers were given.
        commit: of one row; `audited` of a hand-out.
    """

    redemptions: int
    tokens: int
    callers: int
    answer: float
    commit: float
    audited: float
    p50: float
    p99: float
    most: float

    @property
    def over(self) -> float:
        """How many commits the p99 is beyond the server's answer."""
        return (self.p99 - self.answer) / self.commit

    @property
    def over_audited(self) -> float:
        """The same in audited commits."""
        return (self.p99 - self.answer) / self.audited


# -- a replica, in a process of its own


async def replica(config: Path, callers: int) -> None:
    """Ask as each line of standard input says: a subject, and a moment."""
    caller = Caller("bench")
    async with open_broker(load(config, {}), tend=False) as opened:
        settled()
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            subject, moment = line.split()
            request = TokenRequest(GrantKey(PROVIDER, subject))
            said = await _asked(opened, caller, request, float(moment), callers)
            print(json.dumps(said), flush=True)


async def _asked(
    opened: OpenBroker,
    caller: Caller,
    request: TokenRequest,
    moment: float,
    callers: int,
) -> list[tuple[float, str]]:
    async def one() -> tuple[float, str]:
        handed = await opened.broker.hand_out(caller, request)
        return time.monotonic() - moment, sha256(handed.access_token.reveal())

    await asyncio.sleep(moment - time.monotonic())
    return await asyncio.gather(*(one() for _ in range(callers)))


@contextmanager
def replicas(
    config: Path, number: int, callers: int
) -> Generator[Callable[[str], list[tuple[float, str]]]]:
    """Start replicas; yield what has all of them ask for one subject's token."""
    line = [sys.executable, "-m", "benchmarks.cold", "--replica", str(config)]
    line += ["--callers", str(callers // number)]
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own line
                    line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(number)
        ]
        for one in started:
            assert _out(one.stdout).readline() == "ready\n"

        def ask(subject: str) -> list[tuple[float, str]]:
            moment = time.monotonic() + AHEAD_SECONDS
            for one in started:
                into = _out(one.stdin)
                into.write(f"{subject} {moment}\n")
                into.flush()
            return [
                (waited, token)
                for one in started
                for waited, token in json.loads(_out(one.stdout).readline())
            ]

        yield ask
        for one in started:
            _out(one.stdin).close()


def _out(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


# -- what it is compared with


class Beside:
    """The server's own answer time, and commits."""

    def __init__(self, server: DevServer, secret: str, dsn: str) -> None:
        self._server = server
        self._secret = secret
        self._http = httpx.Client(timeout=60)
        self._postgres = psycopg.connect(dsn, autocommit=True)
        self._postgres.execute("CREATE TABLE IF NOT EXISTS bench_commit (n bytea)")

    def answer(self) -> float:
        """Return the seconds of a refresh by a client that does nothing else."""
        grant = self._server.issue_grant("nobody", CLIENT, SCOPES)
        form = {
            "grant_type": "refresh_token",
            "refresh_token": grant.refresh_token,
            "client_id": CLIENT,
            "client_secret": self._secret,
        }
        start = time.perf_counter()
        said = self._http.post(f"{self._server.base_url}/token", data=form)
        took = time.perf_counter() - start
        said.raise_for_status()
        return took

    def commit(self) -> float:
        """Return the seconds of a commit of one row."""
        return _median(self._one_row)

    def _one_row(self) -> None:
        # Autocommit: the answer comes when it is on the disk.
        self._postgres.execute("INSERT INTO bench_commit VALUES (%s)", (bytes(512),))


def _median(do: Callable[[], object]) -> float:
    def timed() -> Iterator[float]:
        for _ in range(COMMITS):
            start = time.perf_counter()
            do()
            yield time.perf_counter() - start

    return statistics.median(timed())


async def _audited(opened: OpenBroker) -> float:
    """Return the seconds of a hand-out to one caller alone."""
    request = TokenRequest(GrantKey(PROVIDER, "warm"))
    took: list[float] = []
    for _ in range(COMMITS):
        start = time.perf_counter()
        await opened.broker.hand_out(Caller("bench"), request)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


# -- the rounds


def measure(
    rounds: int, callers: int, number: int, answer_seconds: float
) -> list[Round]:
    """Return every round; one more before them is for connections and metadata."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        dsn = stack.enter_context(shipped_server())
        check_durable(dsn)
        said = DevSettings(
            access_token_seconds=3600,
            refresh_token_seconds=86_400,
            token_delay_seconds=answer_seconds,
        )
        server = stack.enter_context(DevServer("B", said))
        client = server.state.register_client(client_id=CLIENT)
        secret = client.client_secret or ""
        config = _prepared(folder / "home", dsn, server, secret)
        ask = stack.enter_context(replicas(config, number, callers))
        beside = Beside(server, secret, dsn)

        async def all_rounds() -> list[Round]:
            async with open_broker(load(config, {}), tend=False) as opened:
                await _consent(opened, server, "warm")
                return [
                    await _round(opened, server, beside, ask, f"user-{one}")
                    for one in range(rounds + 1)
                ][1:]

        return asyncio.run(all_rounds())


async def _round(
    opened: OpenBroker,
    server: DevServer,
    beside: Beside,
    ask: Callable[[str], list[tuple[float, str]]],
    subject: str,
) -> Round:
    await _consent(opened, server, subject)
    answer, commit = await asyncio.to_thread(beside.answer), beside.commit()
    audited = await _audited(opened)
    known = len(server.state.redemptions)
    answered = await asyncio.to_thread(ask, subject)
    waited = sorted(waited for waited, _ in answered)
    return Round(
        redemptions=len(server.state.redemptions) - known,
        tokens=len({token for _, token in answered}),
        callers=len(waited),
        answer=1e3 * answer,
        commit=1e3 * commit,
        audited=1e3 * audited,
        p50=1e3 * waited[len(waited) // 2],
        p99=1e3 * waited[len(waited) * 99 // 100],
        most=1e3 * waited[-1],
    )


async def _consent(opened: OpenBroker, server: DevServer, subject: str) -> None:
    token = server.issue_grant(subject, CLIENT, SCOPES).refresh_token
    assert token is not None
    consent = Consent(
        key=GrantKey(PROVIDER, subject),
        client_id=CLIENT,
        flow="import",
        scopes=SCOPES,
        refresh_token=RefreshToken(token),
    )
    await opened.broker.provision(Caller("bench"), consent)


def _prepared(home: Path, dsn: str, server: DevServer, secret: str) -> Path:
    command = str(Path(sys.executable).with_name("grantledger"))
    config = home / "grantledger.toml"
    _run(command, "init", "--dir", str(home))
    said = SETTINGS.format(url=json.dumps(dsn), issuer=json.dumps(server.issuer))
    config.write_text(said, encoding="utf-8")
    (home / "cloud.secret").write_text(secret, encoding="utf-8")
    _run(command, "migrate", "--config", str(config))
    return config


def _run(*line: str) -> None:
    subprocess.run(line, check=True, capture_output=True)  # noqa: S603 - our own line


def table(rounds: Sequence[Round]) -> str:
    """Return the medians, and the lowest and highest rounds."""

    def line(name: str, values: Sequence[float], unit: str) -> str:
        middle = statistics.median(values)
        ends = f"({min(values):.1f} to {max(values):.1f})"
        return f"{name:44}{middle:9.1f} {unit:8} {ends}"

    ms = "ms"
    return "\n".join(
        (
            line(
                "redemptions of the refresh token", [r.redemptions for r in rounds], ""
            ),
            line("different tokens", [r.tokens for r in rounds], ""),
            line("server's own answer", [r.answer for r in rounds], ms),
            line("commit of one row", [r.commit for r in rounds], ms),
            line("audited commit, one caller", [r.audited for r in rounds], ms),
            line("callers, p50", [r.p50 for r in rounds], ms),
            line("callers, p99", [r.p99 for r in rounds], ms),
            line("callers, most", [r.most for r in rounds], ms),
            line("p99 beyond the answer", [r.p99 - r.answer for r in rounds], ms),
            line("p99 beyond the answer", [r.over for r in rounds], "commits"),
            line("p99 beyond the answer", [r.over_audited for r in rounds], "audited"),
        )
    )


def main() -> int:
    """Run, print, write; 1 where there was not exactly one redemption each time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--answer-seconds", type=float, default=0.2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--replica", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.replica is not None:
        # The loop and the collector are as `grantledger serve` has them.
        anyio.run(
            replica,
            said.replica,
            said.callers,
            backend_options={"use_uvloop": True},
        )
        return 0
    rounds = measure(said.rounds, said.callers, said.replicas, said.answer_seconds)
    print(f"{said.callers} callers on {said.replicas} replicas, {said.rounds} rounds")
    print(table(rounds))
    if said.json:
        said.json.write_text(json.dumps([asdict(one) for one in rounds], indent=1))
    return 0 if all(r.redemptions == r.tokens == 1 for r in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
