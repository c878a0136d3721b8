"""Who is at the other end of a Unix socket: the kernel says it, nobody else.

The credentials are those of the process that connected, at that moment
(SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request

from grantledger.adapters.settings.proxied import UNIX
from grantledger.adapters.settings.shape_http import HttpPeerSettings

STATE = "grantledger.peer"
_CREDENTIALS = struct.Struct("=iII")


@dataclass(frozen=True, slots=True)
class Peer:
    """A process on this machine, as the kernel names it."""

    uid: int
    gid: int


class Connected(Protocol):
    """What a transport gives as its socket."""

    @property
    def family(self) -> int:
        """Of its address."""
        ...

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return what the kernel says of it."""
        ...


def peer_of(connected: Connected) -> Peer | None:
    """Return the peer of a connected Unix socket, None of any other socket."""
    if connected.family != socket.AF_UNIX:
        return None
    said = connected.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    _, uid, gid = _CREDENTIALS.unpack(said)
    return Peer(uid, gid)


def peer(request: Request) -> Peer | None:
    """Return the peer of a request that came by the Unix socket."""
    found = request.scope.get("state", {}).get(STATE)
    return found if isinstance(found, Peer) else None


class UnixPeers:
    """Callers by user, or by user and group; the more exact one counts."""

    def __init__(self, said: Sequence[HttpPeerSettings]) -> None:
        self._ids = {(one.uid, one.gid): f"{UNIX}:{one.id}" for one in said}

    def caller_id(self, peer: Peer) -> str | None:
        """Return who that is, None where it is nobody known."""
        exact = self._ids.get((peer.uid, peer.gid))
        return exact or self._ids.get((peer.uid, None))
