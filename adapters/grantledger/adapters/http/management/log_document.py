"""What the OpenAPI document says of the Merkle log."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_INDEX = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_ENTRY: dict[str, Any] = {
    "type": "object",
    "description": "One a line; `leaf_hash` stands for a leaf that was pruned.",
    "properties": {"index": _INDEX, "leaf": _TEXT, "leaf_hash": _TEXT},
}


def paths(problems: dict[str, Any]) -> dict[str, Any]:
    """Return the paths.

    Args:
        problems: the answers that every endpoint may give.
    """

    def got(
        name: str, words: str, kind: str, schema: object, *parameters: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "get": {
                "summary": words,
                "operationId": name,
                "parameters": list(parameters),
                "responses": {
                    "200": {
                        "description": words,
                        "content": {kind: {"schema": schema}},
                    },
                    **problems,
                },
            }
        }

    binary = {"type": "string", "format": "binary"}
    tile = {"name": "tile", "in": "path", "required": True}
    limit = {"type": "integer", "minimum": 1, "maximum": 1000}
    return {
        "/log/checkpoint": got(
            "log_checkpoint",
            "The newest published checkpoint (C2SP tlog-checkpoint)",
            "text/plain; charset=utf-8",
            _TEXT,
        ),
        "/log/tile/{tile}": got(
            "log_tile",
            "A tile of hashes or a bundle of entries (C2SP tlog-tiles)",
            "application/octet-stream",
            binary,
            tile | {"schema": {"type": "string", "minLength": 1, "maxLength": 100}},
        ),
        "/log/entries": got(
            "log_entries",
            "Leaves in order, for mirrors",
            "application/x-ndjson",
            _ENTRY,
            {"name": "from", "in": "query", "schema": _INDEX},
            {"name": "limit", "in": "query", "schema": limit},
        ),
    }
