"""Where the service listens: TCP, a Unix socket, or both; bound before it is opened.

A socket bound here may be passed on to other processes, all of which then accept.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from stat import S_ISSOCK

from grantledger.adapters.settings import Settings
from grantledger.adapters.settings.listening import address
from grantledger.domain.errors import ConfigurationError, Unavailable

BACKLOG = 2048
MAX_PATH_BYTES = 90  # of 107 that the kernel takes; the rest is for a passing name


def socket_path(settings: Settings) -> Path | None:
    """Return the path of the Unix socket, None where there is to be none.

    Raises:
        ConfigurationError: it is too long for the kernel.
    """
    said = settings.file.http.socket
    if said is None:
        return None
    path = settings.path(said, "http.socket")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ConfigurationError(
            f"http.socket: a path of at most {MAX_PATH_BYTES} bytes", "http.socket"
        )
    return path


@contextmanager
def listening(settings: Settings) -> Generator[list[socket.socket]]:
    """Yield the sockets that are listened on; on leaving they are closed.

    Raises:
        ConfigurationError: address or path is malformed.
        Unavailable: it is taken, or cannot be bound.
    """
    said = settings.file.http
    where = address(said.listen) if said.listen else None
    path = socket_path(settings)
    bound: list[socket.socket] = []
    remove: Callable[[], None] = _nothing
    try:
        if where is not None:
            bound += bound_to(said.listen, *where)
        if path is not None:
            one, remove = _unix(path, int(said.socket_mode, 8))
            bound.append(one)
        yield bound
    finally:
        remove()
        for one in bound:
            one.close()


@contextmanager
def adopted(handles: Sequence[int]) -> Generator[list[socket.socket]]:
    """Yield sockets that the parent listens on; on leaving they are closed."""
    bound = [socket.socket(fileno=handle) for handle in handles]
    try:
        yield bound
    finally:
        for one in bound:
            one.close()


def shown(bound: Sequence[socket.socket], path: Path | None) -> list[str]:
    """Return the addresses for people."""
    said: list[str] = []
    for one in bound:
        if one.family == socket.AF_UNIX:
            said.append(f"unix:{path}")
            continue
        host, port = one.getsockname()[:2]
        said.append(
            f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        )
    return said


def _nothing() -> None:
    """Do nothing."""


def bound_to(listen: str, host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address of a host.

    Raises:
        Unavailable: one is taken, or cannot be bound; names `listen`.
    """
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, where in dict.fromkeys(found):
            one = socket.socket(family, socket.SOCK_STREAM)
            bound.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(where)
            one.listen(BACKLOG)
            one.setblocking(False)
    except OSError as cause:
        for one in bound:
            one.close()
        raise Unavailable(f"cannot listen on {listen}: {cause.strerror}") from None
    return bound


def _unix(path: Path, mode: int) -> tuple[socket.socket, Callable[[], None]]:
    """Return the socket, and what removes its file if it is still there.

    It is made under another name and moved into place when it is listened on and has
    its mode: nobody meets it unready. A file that a dead process has left gives way.
    """
    said = f"cannot listen on {path}"
    if _taken(path):
        raise Unavailable(f"{said}: another process does, or it is no socket")
    passing = path.with_name(f"{path.name}.{os.getpid()}")
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        passing.unlink(missing_ok=True)
        one.bind(str(passing))
        passing.chmod(mode)
        one.listen(BACKLOG)
        one.setblocking(False)
        passing.replace(path)
        ours = _identity(path)
    except OSError as cause:
        one.close()
        with suppress(OSError):
            passing.unlink(missing_ok=True)
        raise Unavailable(f"{said}: {cause.strerror}") from None

    def remove() -> None:
        with suppress(OSError):
            if _identity(path) == ours:
                path.unlink()

    return one, remove


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _taken(path: Path) -> bool:
    """Tell whether something is there that is no socket of a dead process."""
    try:
        if not S_ISSOCK(path.lstat().st_mode):
            return True
    except FileNotFoundError:
        return False
    except OSError:
        return True
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as one:
        try:
            one.setblocking(False)
            one.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True
