"""Where published checkpoints are written once, for storage that forgets nothing.

A new file for each checkpoint, `<size, 20 digits>.checkpoint`, and none is ever
replaced: not by us, and not by others where the storage sees to it. What is there
already with the same name is another writer's work, and is left alone.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio.to_thread

from grantledger.adapters.keys import durable
from grantledger.adapters.upstream import urls
from grantledger.adapters.upstream.http import BoundedHttp, HttpAnswer
from grantledger.domain.errors import ConfigurationError, Unavailable, UpstreamRejected
from grantledger.projections.checkpoints import MAX_NOTE_BYTES

PUT_SECONDS = 10.0
SUFFIX = ".checkpoint"
FILE_MODE = 0o444
# RFC 9110 section 13.1.2: the precondition failed, so there is one.
THERE = 412
_FINE = range(200, 300)
_SERVER_ERROR = 500


def name_of(size: int) -> str:
    """Return what the checkpoint of a size is called; names sort as sizes do."""
    return f"{size:020}{SUFFIX}"


class CheckpointExport(ABC):
    """One place.

    Attributes:
        name: for messages, without anything secret.
    """

    name: str

    @abstractmethod
    async def write(self, size: int, note: str) -> None:
        """Have the place hold this checkpoint, durable on return.

        Raises:
            Unavailable: it could not be written now.
            UpstreamRejected: the place refuses, or is seen to hold another one.
        """


class DirectoryExport(CheckpointExport):
    """A directory on a file system, perhaps one that is written once."""

    def __init__(self, directory: Path) -> None:
        self.name = str(directory)
        self._directory = directory

    async def write(self, size: int, note: str) -> None:
        """See `CheckpointExport.write`."""
        await anyio.to_thread.run_sync(self._write, size, note)

    def _write(self, size: int, note: str) -> None:
        target = self._directory / name_of(size)
        half = self._directory / f".{target.name}.{os.urandom(8).hex()}.part"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if target.exists():
                self._compare(target, note)
                return
            handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            # A link is made or is not, and replaces nothing.
            try:
                os.link(half, target)
            except FileExistsError:
                self._compare(target, note)
            finally:
                half.unlink()
            durable.sync(self._directory)
        except OSError as cause:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            raise Unavailable(
                f"cannot write a checkpoint to {self._directory}: {cause.strerror}"
            ) from cause

    def _compare(self, target: Path, note: str) -> None:
        """See that what is there is of this checkpoint, whoever has cosigned it.

        Raises:
            UpstreamRejected: it is of another log, or of a fork of this one.
        """
        with target.open("rb") as file:
            there = file.read(MAX_NOTE_BYTES)
        if there.partition(b"\n\n")[0] != note.encode().partition(b"\n\n")[0]:
            raise UpstreamRejected(
                f"{target} holds another checkpoint of as many leaves: of another "
                "log, or of a fork of this one",
                "fork",
            )


class HttpExport(CheckpointExport):
    """A prefix of an object store, by PUT with `If-None-Match: *` (RFC 9110)."""

    def __init__(self, url: str, http: BoundedHttp) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._url = url
        self._http = http

    async def write(self, size: int, note: str) -> None:
        """See `CheckpointExport.write`."""
        parts = urlsplit(self._url)
        path = f"{parts.path.rstrip('/')}/{name_of(size)}"
        answer = await self._http.request(
            "PUT",
            parts._replace(path=path).geturl(),
            budget_seconds=PUT_SECONDS,
            headers={
                "If-None-Match": "*",
                "Content-Type": "text/plain; charset=utf-8",
            },
            content=note.encode(),
            what="checkpoint",
        )
        if not isinstance(answer, HttpAnswer):
            raise Unavailable(f"{self.name}: {answer.error}")
        if answer.status in _FINE or answer.status == THERE:
            return
        words = f"{self.name} answers {answer.status} to a checkpoint"
        if answer.status >= _SERVER_ERROR:
            raise Unavailable(words)
        raise UpstreamRejected(words, f"status_{answer.status}")


def export_to(url: str, http: BoundedHttp) -> CheckpointExport:
    """Return the place of a URL.

    Raises:
        ConfigurationError: it is neither `file:///directory` nor an https prefix.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return DirectoryExport(Path(unquote(parts.path)))
    checked = urls.split(url)
    if checked is None or not urls.is_secure(checked):
        raise ConfigurationError(
            "an export is file:///directory, or an https prefix that takes PUT",
            "log.exports",
        )
    return HttpExport(url, http)
