"""The OpenAPI document of the whole service: one page that is true.

What FastAPI serves describes itself; the endpoints beside it are described here. A
test compares the routes with it, and another asks the service everything it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from grantledger.adapters.http.management import (
    audit_models,
    events_document,
    log_document,
    models,
    trace_models,
)
from grantledger.domain.values import MAX_NAME_LENGTH, MAX_SUBJECT_LENGTH

BODIES = (
    models.Import,
    models.Revoke,
    models.BulkRevoke,
    models.BulkLineOut,
    models.EvidenceIn,
    audit_models.AuditAsked,
    audit_models.AuditPageOut,
    trace_models.TraceIn,
    models.QuestionIn,
)
PROBLEM = "application/problem+json"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
_STATUSES: Mapping[int, str] = {
    400: "A field is wrong; it is named.",
    401: "Nobody known calls.",
    403: "The policy does not let this caller.",
    404: "There is no such grant.",
    405: "The path has other methods.",
    409: "The user has to consent again.",
    410: "The grant has ended.",
    413: "The body is too long.",
    415: "The body is of another type.",
    429: "Too many; Retry-After says when to come again.",
    500: "The service itself is at fault.",
    502: "The authorization server refuses.",
    503: "Not now; Retry-After says when to come again.",
}
_TEXT = {"type": "string"}
_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "field": _TEXT,
        "reason": _TEXT,
    },
}
_OAUTH_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "RFC 6749 section 5.2.",
    "required": ["error"],
    "properties": {"error": _TEXT, "error_description": _TEXT},
}
_TOKEN: dict[str, Any] = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in", "scope"],
    "properties": {
        "access_token": _TEXT,
        "token_type": _TEXT,
        "expires_in": {"type": "integer", "minimum": 0},
        "scope": _TEXT,
        "issued_token_type": _TEXT,
        "expires_at": {"type": "string", "format": "date-time"},
        "audience": {"type": ["string", "null"]},
        "source": {"enum": ["cached", "fresh", "exchanged"]},
        "grant_id": {"type": "string", "format": "uuid"},
        "generation": {"type": "integer"},
        "request_id": _TEXT,
        "token_ref": {"type": "integer", "minimum": 0},
    },
}
_SCOPES = {
    "anyOf": [
        _TEXT,
        {"type": "array", "items": _TEXT},
    ]
}
_TOKEN_BODY: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "scopes": _SCOPES,
        "audience": {"type": ["string", "null"]},
        "resource": {"type": ["string", "null"]},
        "min_ttl_seconds": {"type": "number", "minimum": 0, "maximum": 86_400},
        "reason": {"type": ["string", "null"], "maxLength": 500},
        "label": {"type": "string", "minLength": 1, "maxLength": 128},
        "newer_than": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    },
}
_EXCHANGE_NAMES = (
    "grant_type",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
    "scope",
    "audience",
    "resource",
    "provider",
    "client_id",
    "client_secret",
)
_GIVEN_BACK: dict[str, Any] = {
    "type": "object",
    "required": ["token"],
    "properties": dict.fromkeys(
        ("token", "token_type_hint", "client_id", "client_secret"), _TEXT
    ),
}
_SEGMENTS: Mapping[str, dict[str, Any]] = {
    "provider": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
    "subject": {"type": "string", "minLength": 1, "maxLength": MAX_SUBJECT_LENGTH},
}
_READY = {"type": "object", "required": ["ready"]}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document.

    Args:
        app: serves the management API.
    """
    made: dict[str, Any] = app.openapi()
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    _, bodies = models_json_schema(
        [(model, "validation") for model in BODIES],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(bodies["$defs"])
    schemas |= {
        "Problem": _PROBLEM_SCHEMA,
        "OAuthError": _OAUTH_ERROR,
        "Token": _TOKEN,
        "TokenBody": _TOKEN_BODY,
    }
    for path in made["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in _SEGMENTS:
                    # What is checked is the name, decoded.
                    parameter["schema"] = _SEGMENTS[parameter["name"]]
            responses = operation["responses"]
            responses.pop("422", None)
            responses |= _problems()
    made["paths"] |= _others()
    made["components"]["securitySchemes"] = {
        "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "secret": {"type": "http", "scheme": "basic"},
    }
    made["security"] = [{"jwt": []}, {"secret": []}]
    return TypeAdapter(dict[str, Any]).validate_python(made)


def _problems() -> dict[str, Any]:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": words, "content": content}
        for status, words in _STATUSES.items()
    }


def _oauth_errors() -> dict[str, Any]:
    oauth = {JSON: {"schema": {"$ref": "#/components/schemas/OAuthError"}}}
    said = {
        str(status): {"description": _STATUSES[status], "content": oauth}
        for status in (400, 401, 413, 415, 429, 500, 502, 503)
    }
    return said | {"405": _problems()["405"]}


def _answer(schema: object, words: str) -> dict[str, Any]:
    return {"description": words, "content": {JSON: {"schema": schema}}}


def _others() -> dict[str, Any]:
    """Return what the document says of the endpoints beside FastAPI's."""
    token = {"$ref": "#/components/schemas/Token"}
    names = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in _SEGMENTS.items()
    ]
    body = {"$ref": "#/components/schemas/TokenBody"}
    form = {
        "type": "object",
        "required": ["grant_type", "subject_token", "subject_token_type"],
        "properties": dict.fromkeys(_EXCHANGE_NAMES, _TEXT),
    }
    return {
        "/v1/grants/{provider}/{subject}/token": {
            "post": {
                "summary": "Hand out an access token, recorded",
                "operationId": "hand_out",
                "parameters": names,
                "requestBody": {"content": {JSON: {"schema": body}}},
                "responses": {"200": _answer(token, "The token."), **_problems()},
            }
        },
        "/oauth/token": {
            "post": {
                "summary": "Exchange a token (RFC 8693)",
                "operationId": "exchange",
                "requestBody": {"required": True, "content": {FORM: {"schema": form}}},
                "responses": {"200": _answer(token, "The token."), **_oauth_errors()},
            }
        },
        "/oauth/revoke": {
            "post": {
                "summary": "Give back an access token (RFC 7009)",
                "operationId": "give_back",
                "requestBody": {
                    "required": True,
                    "content": {FORM: {"schema": _GIVEN_BACK}},
                },
                "responses": {
                    "200": {"description": "It is dead, or was never one."},
                    **_oauth_errors(),
                },
            }
        },
        **log_document.paths(_problems()),
        **events_document.paths(_problems(), _SEGMENTS["provider"]),
        "/healthz": {
            "get": {
                "summary": "Whether the process turns",
                "operationId": "healthz",
                "security": [],
                "responses": {
                    "200": _answer({"type": "object"}, "It does."),
                    "405": _problems()["405"],
                },
            }
        },
        "/readyz": {
            "get": {
                "summary": "Whether it can hand out tokens",
                "operationId": "readyz",
                "security": [],
                "responses": {
                    "200": _answer(_READY, "It can."),
                    "503": _answer(_READY, "It cannot; why is said."),
                    "405": _problems()["405"],
                },
            }
        },
    }
