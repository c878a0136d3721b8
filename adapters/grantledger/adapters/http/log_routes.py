"""`/log/…`: the Merkle log for others (C2SP tlog-tiles), and entries for mirrors.

Checkpoint and tiles of hashes are for callers that may read the log, or for everybody
where the settings say so. Entries are never for everybody, and each reading of them is
recorded before. What is given is covered by the newest published checkpoint.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from grantledger.adapters.http.callers import caller_of
from grantledger.adapters.http.guarding import guarded
from grantledger.adapters.http.service import Service
from grantledger.adapters.ledger.published_log import LoggedLeaf, Published
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller
from grantledger.projections.checkpoints import written_hash
from grantledger.projections.tiles import (
    TILE_WIDTH,
    Tile,
    read_path,
    written_entries,
)

CHECKPOINT = "/log/checkpoint"
TILES = "/log/tile/{tile:path}"
ENTRIES = "/log/entries"
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
LINES = "application/x-ndjson"
DEFAULT_ENTRIES, MAX_ENTRIES = 256, 1000
MAX_INDEX = 2**63 - 1
MAX_ANSWER_BYTES = 8 * 1024 * 1024
FRESH_SECONDS = 0.5
KEPT_TILES = 256
FOR_A_MOMENT = "max-age=2"
# A tile of hashes never changes, not even one that is not full.
FOR_EVER = "max-age=31536000, immutable"
# Leaves may be pruned: nobody keeps them along the way.
NEVER = "no-store"


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of a service."""
    log = LogRoutes(service)
    return [
        Route(path, guarded(service, handler), methods=["GET"])
        for path, handler in (
            (CHECKPOINT, log.checkpoint),
            (TILES, log.tile),
            (ENTRIES, log.entries),
        )
    ]


class LogRoutes:
    """The endpoints over one broker."""

    def __init__(self, service: Service) -> None:
        self._opened = service.opened
        self._log = service.opened.ledger.published
        self._who = service.who
        self._public = service.settings.file.log.public
        self._newest: Published | None = None
        self._looked = float("-inf")
        self._tiles: OrderedDict[Tile, bytes] = OrderedDict()

    async def checkpoint(self, request: Request) -> Response:
        """Answer `GET /log/checkpoint`: the newest that was published."""
        await self._admit(request)
        newest = await self._published()
        return self._answer(newest.text.encode(), TEXT, FOR_A_MOMENT)

    async def tile(self, request: Request) -> Response:
        """Answer `GET /log/tile/<L>/<N>[.p/<W>]`, and of `entries`."""
        try:
            tile = read_path(request.path_params["tile"])
        except ValueError as cause:
            raise InvalidRequest(str(cause), "tile", missing=True) from cause
        if tile.level is None:
            return await self._bundle(request, tile)
        await self._admit(request)
        await self._covered(tile)
        return self._answer(await self._hashes(tile), BINARY, FOR_EVER)

    async def entries(self, request: Request) -> Response:
        """Answer `GET /log/entries?from=&limit=`: one JSON object a line.

        `{"index", "leaf"}`, of a pruned leaf `{"index", "leaf_hash"}`, both base64.
        """
        caller = await self._reader(request)
        first = _number(request.query_params, "from", 0, 0, MAX_INDEX)
        limit = _number(request.query_params, "limit", DEFAULT_ENTRIES, 1, MAX_ENTRIES)
        size = (await self._published()).size
        end = min(first + limit, size)
        lines: list[bytes] = []
        if first < end:
            await self._record(caller, first, end)
            lines = await self._lines(first, end)
        return self._answer(b"".join(lines), LINES, NEVER)

    # -- who, and what is there

    async def _reader(self, request: Request) -> Caller:
        caller = await caller_of(request, self._who)
        await self._opened.broker.authorise(caller, Operation.READ_LOG)
        return caller

    async def _admit(self, request: Request) -> None:
        if not self._public:
            await self._reader(request)

    async def _published(self) -> Published:
        """Return the newest checkpoint; looked for twice a second at most."""
        now = self._opened.clock.monotonic()
        if self._newest is None or now - self._looked >= FRESH_SECONDS:
            self._newest = await self._log.newest(await self._opened.guard.origin())
            self._looked = now
        if self._newest is None:
            raise InvalidRequest(
                "no checkpoint is published yet", "checkpoint", missing=True
            )
        return self._newest

    async def _covered(self, tile: Tile) -> None:
        newest = await self._published()
        if not tile.within(newest.size):
            raise InvalidRequest(
                f"tile {tile.path} is not covered by the checkpoint of {newest.size} "
                "leaves",
                "tile",
                missing=True,
            )

    # -- what is given

    async def _hashes(self, tile: Tile) -> bytes:
        known = self._tiles.get(tile)
        if known is not None:
            self._tiles.move_to_end(tile)
            return known
        if tile.level:
            # Else it would be made of many leaves, each time.
            await self._log.complete()
        data = await self._log.read_tile(tile)
        self._tiles[tile] = data
        if len(self._tiles) > KEPT_TILES:
            self._tiles.popitem(last=False)
        return data

    async def _bundle(self, request: Request, tile: Tile) -> Response:
        caller = await self._reader(request)
        await self._covered(tile)
        first, end = tile.start, tile.start + tile.width
        await self._record(caller, first, end)
        leaves = await self._log.leaves(first, end)
        return self._answer(
            written_entries(leaf.state for leaf in leaves), BINARY, NEVER
        )

    async def _lines(self, first: int, end: int) -> list[bytes]:
        lines: list[bytes] = []
        length = 0
        for at in range(first, end, TILE_WIDTH):
            for leaf in await self._log.leaves(at, min(at + TILE_WIDTH, end)):
                line = msgspec.json.encode(_said(leaf)) + b"\n"
                length += len(line)
                if lines and length > MAX_ANSWER_BYTES:
                    return lines
                lines.append(line)
        return lines

    async def _record(self, caller: Caller, first: int, end: int) -> None:
        await self._opened.broker.audit_access.record(
            caller, AuditUse.LOG, f"leaves {first} to {end - 1}"
        )

    def _answer(self, body: bytes, kind: str, caching: str) -> Response:
        shared = "public" if self._public and caching != NEVER else "private"
        headers = {"Content-Type": kind, "Cache-Control": f"{shared}, {caching}"}
        return Response(body, headers=headers)


def _said(leaf: LoggedLeaf) -> dict[str, object]:
    if leaf.state:
        return {"index": leaf.index, "leaf": base64.b64encode(leaf.state).decode()}
    return {"index": leaf.index, "leaf_hash": written_hash(leaf.hashed)}


def _number(
    said: Mapping[str, str], name: str, default: int, least: int, most: int
) -> int:
    text = said.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_INDEX)):
        raise InvalidRequest(f"{name} is no number", name)
    number = int(text)
    if not least <= number <= most:
        raise InvalidRequest(
            f"{name} is {number}; the limit is {least} to {most}", name
        )
    return number
