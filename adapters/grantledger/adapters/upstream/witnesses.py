"""Asks witnesses to cosign checkpoints (C2SP tlog-witness v1.0.0, add-checkpoint).

A witness that is behind, or was never asked, says its size; then it is asked once more
from there. What it answers is verified before it counts. It learns sizes and roots,
nothing else of the log.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from grantledger.adapters.keys.signing import is_signed
from grantledger.adapters.upstream import urls
from grantledger.adapters.upstream.http import BoundedHttp, HttpAnswer
from grantledger.domain.errors import ConfigurationError, Unavailable, UpstreamRejected
from grantledger.projections.checkpoints import read_note, read_signatures
from grantledger.projections.cosigning import (
    SIZE_TYPE,
    AddCheckpoint,
    Cosignature,
    Cosigner,
    cosignatures,
)

OK, CONFLICT = 200, 409
MAX_ANSWER_BYTES = 65_536
MAX_SIZE = 2**63 - 1
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
BUSY = frozenset({408, 425, 429})
_SERVER_ERROR = 500

Prove = Callable[[int], Awaitable[Sequence[bytes]]]
"""Returns the proof that the checkpoint's tree begins with one of so many leaves."""


@dataclass(slots=True)
class Witness:
    """One witness.

    Attributes:
        cosigner: as it signs.
        at: the size that it cosigned last, as far as we know.
    """

    cosigner: Cosigner
    url: str
    http: BoundedHttp
    seconds: float
    at: int = 0

    @classmethod
    def of(cls, url: str, key: str, http: BoundedHttp, seconds: float) -> Witness:
        """Return the witness at this URL.

        Raises:
            ConfigurationError: `field` names what is wrong: url or key.
        """
        parts = urls.split(url)
        if parts is None or not urls.is_secure(parts) or parts.query:
            raise ConfigurationError(
                "a witness's url is https, or http on a loopback host", "url"
            )
        try:
            cosigner = Cosigner.read(key)
        except ValueError as cause:
            raise ConfigurationError(f"a witness's key: {cause}", "key") from cause
        return cls(cosigner, f"{url.rstrip('/')}/add-checkpoint", http, seconds)

    async def cosign(self, note: str, prove: Prove) -> Cosignature:
        """Return its cosignature of a checkpoint, verified.

        Args:
            note: signed by the log.
            prove: makes consistency proofs.

        Raises:
            Unavailable: it did not answer, or says to come again.
            UpstreamRejected: it refuses, or its signature is not right; `error` is the
                word for it.
        """
        size = read_note(note.encode()).checkpoint.size
        answer = await self._asked(note, prove, min(self.at, size))
        if answer.status == CONFLICT and answer.headers.get("content-type") == (
            SIZE_TYPE
        ):
            self.at = self._size(answer.body)
            if self.at > size:
                raise UpstreamRejected(
                    f"witness {self.cosigner.name} has cosigned {self.at} leaves, and "
                    f"this log has {size}",
                    "ahead",
                )
            answer = await self._asked(note, prove, self.at)
        if answer.status != OK:
            raise self._refused(answer.status)
        said = self._verified(note, answer)
        self.at = size
        return said

    async def _asked(self, note: str, prove: Prove, old: int) -> HttpAnswer:
        proof = tuple(await prove(old))
        answer = await self.http.request(
            "POST",
            self.url,
            budget_seconds=self.seconds,
            headers={"Content-Type": "text/plain; charset=utf-8", "Accept": "*/*"},
            content=AddCheckpoint(old, proof, note).body(),
            body_limit_bytes=MAX_ANSWER_BYTES,
            what="witness",
        )
        if not isinstance(answer, HttpAnswer):
            raise Unavailable(f"witness {self.cosigner.name}: {answer.error}")
        if answer.status >= _SERVER_ERROR or answer.status in BUSY:
            raise Unavailable(f"witness {self.cosigner.name}: status {answer.status}")
        return answer

    def _size(self, body: bytes) -> int:
        text = body.decode("ascii", "replace").removesuffix("\n")
        if _SIZE.fullmatch(text) is None or int(text) > MAX_SIZE:
            raise UpstreamRejected(
                f"witness {self.cosigner.name} answers a conflict without a size",
                "no_size",
            )
        return int(text)

    def _refused(self, status: int) -> UpstreamRejected:
        words = {
            403: "does not know the log's key",
            404: "does not know the log's origin",
            409: "has cosigned another root for as many leaves",
            422: "does not find the tree consistent with what it has cosigned",
        }
        said = words.get(status, "refuses")
        return UpstreamRejected(
            f"witness {self.cosigner.name} {said} (status {status})", f"status_{status}"
        )

    def _verified(self, note: str, answer: HttpAnswer) -> Cosignature:
        try:
            lines = read_signatures(answer.body.decode())
        except ValueError:
            lines = ()
        text = read_note(note.encode()).signed
        found = cosignatures(text, lines, [self.cosigner], is_signed)
        if not found:
            raise UpstreamRejected(
                f"witness {self.cosigner.name} answers without its own cosignature",
                "bad_cosignature",
            )
        return found[0]
