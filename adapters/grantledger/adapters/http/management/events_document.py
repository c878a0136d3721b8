"""What the OpenAPI document says of security events, taken and sent."""

from __future__ import annotations

from typing import Any

JSON = "application/json"
_TEXT = {"type": "string"}
_PUSH_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "RFC 8935 section 2.3.",
    "required": ["err", "description"],
    "properties": {"err": _TEXT, "description": _TEXT},
}
_POLL: dict[str, Any] = {
    "type": "object",
    "description": "RFC 8936 section 2.4; answered at once.",
    "additionalProperties": False,
    "properties": {
        "maxEvents": {"type": "integer", "minimum": 0},
        "returnImmediately": {"type": "boolean"},
        "ack": {"type": "array", "items": _TEXT, "maxItems": 50},
        "setErrs": {
            "type": "object",
            "maxProperties": 50,
            "additionalProperties": {
                "type": "object",
                "required": ["err"],
                "properties": {"err": _TEXT, "description": _TEXT},
            },
        },
    },
}
_POLLED: dict[str, Any] = {
    "type": "object",
    "required": ["sets", "moreAvailable"],
    "properties": {
        "sets": {"type": "object", "additionalProperties": _TEXT},
        "moreAvailable": {"type": "boolean"},
    },
}


def paths(problems: dict[str, Any], transmitter: dict[str, Any]) -> dict[str, Any]:
    """Return the paths.

    Args:
        problems: the answers that every endpoint may give.
        transmitter: schema of a transmitter's name.
    """
    return {
        "/events/{transmitter}": {
            "post": {
                "summary": "Push a security event (RFC 8935)",
                "operationId": "push_event",
                "security": [{}, {"jwt": []}],
                "parameters": [
                    {
                        "name": "transmitter",
                        "in": "path",
                        "required": True,
                        "schema": transmitter,
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/secevent+jwt": {"schema": _TEXT}},
                },
                "responses": {
                    **problems,
                    "202": {"description": "It is durable here."},
                    "400": _answer(_PUSH_ERROR, "It is not taken, and why."),
                },
            }
        },
        "/security-events/poll": {
            "post": {
                "summary": "Take the security events that are owed (RFC 8936)",
                "operationId": "poll_events",
                "requestBody": {"content": {JSON: {"schema": _POLL}}},
                "responses": {"200": _answer(_POLLED, "The events."), **problems},
            }
        },
        "/security-events/keys": {
            "get": {
                "summary": "The keys that security events are signed with (RFC 7517)",
                "operationId": "event_keys",
                "security": [],
                "responses": {
                    "200": _answer({"type": "object"}, "A JWK set."),
                    "404": problems["404"],
                    "405": problems["405"],
                },
            }
        },
    }


def _answer(schema: object, words: str) -> dict[str, Any]:
    return {"description": words, "content": {JSON: {"schema": schema}}}
