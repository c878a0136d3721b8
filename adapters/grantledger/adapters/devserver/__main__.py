"""A development server as a process of its own.

    python -m grantledger.adapters.devserver --profile B --port 0 --state-file PATH

It prints one JSON line `{"issuer": ..., "port": ...}` when it is ready, and serves
until SIGTERM or SIGINT. `/_dev/state` shows its state to loopback callers; the state
file holds the same after every token or revocation request, for when it was killed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from grantledger.adapters.devserver.server import DevServer
from grantledger.adapters.devserver.settings import DevSettings, User
from grantledger.adapters.devserver.snapshot import save_snapshot


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit status.

    Args:
        arguments: the command line without the program, or None for the real one.
    """
    chosen = _parser().parse_args(arguments)
    defaults = DevSettings()
    settings = DevSettings(
        access_token_seconds=chosen.access_token_seconds,
        refresh_token_seconds=chosen.refresh_token_seconds,
        client_expire_seconds=chosen.client_expire_seconds,
        jwt_access_tokens=chosen.jwt,
        resources=tuple(chosen.resource),
        reuse_grace_seconds=chosen.reuse_grace_seconds,
        grace_reissue_seconds=chosen.grace_reissue_seconds,
        token_delay_seconds=chosen.token_delay_seconds,
        auto_consent=chosen.auto_consent,
        users=tuple(map(User, chosen.user)) or defaults.users,
        expose_state=True,
        state_file=chosen.state_file,
    )
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with DevServer(chosen.profile, settings, port=chosen.port) as server:
        save_snapshot(server.state)
        ready = {"issuer": server.issuer, "port": server.port}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        stopping.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = DevSettings()
    parser = argparse.ArgumentParser(
        prog="python -m grantledger.adapters.devserver",
        description="A development authorization server. Never for production.",
    )
    add = parser.add_argument
    add("--profile", choices=("A", "B", "G"), default="B")
    add("--port", type=int, default=0, help="0: any free port")
    add("--state-file", type=Path, help="where the state is written as JSON")
    add("--user", action="append", default=[], help="may be repeated")
    add("--resource", action="append", default=[], help="exchange target; repeatable")
    add("--jwt", action="store_true", help="JWT access tokens by default")
    add("--no-auto-consent", dest="auto_consent", action="store_false")
    add("--access-token-seconds", type=int, default=defaults.access_token_seconds)
    add(
        "--refresh-token-seconds",
        type=_seconds_or_never,
        default=defaults.refresh_token_seconds,
        help="or `never`",
    )
    add("--client-expire-seconds", type=int, default=defaults.client_expire_seconds)
    add("--reuse-grace-seconds", type=float, default=defaults.reuse_grace_seconds)
    add("--grace-reissue-seconds", type=int, default=None, help="profile G")
    add("--token-delay-seconds", type=float, default=defaults.token_delay_seconds)
    return parser


def _seconds_or_never(text: str) -> int | None:
    return None if text == "never" else int(text)


if __name__ == "__main__":
    sys.exit(main())
