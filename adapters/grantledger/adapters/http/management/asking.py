"""How every request to the management API is taken: who, where, and what it says."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from grantledger.adapters.http import bodies
from grantledger.adapters.http.callers import caller_of
from grantledger.adapters.http.guarding import guarded
from grantledger.adapters.http.service import Service
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller, check_key
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import MAX_NAME_LENGTH, GrantKey

M = TypeVar("M", bound=BaseModel)
Handled = Callable[[Request], Coroutine[Any, Any, Response]]
GRANT = "/v1/grants/{provider}/{subject}"
MAX_NESTED = 32
MAX_ENCODED = 3 * 2048


def route_of(service: Service) -> type[APIRoute]:
    """Return the class of routes whose refusals are answered and recorded."""

    class Guarded(APIRoute):
        """Every refusal is a problem document, and in the ledger."""

        def get_route_handler(self) -> Handled:
            """Return the handler, guarded."""
            inner = super().get_route_handler()

            async def asked(request: Request) -> Response:
                try:
                    return await inner(request)
                except RequestValidationError as error:
                    raise _refusal(error.errors()) from None

            handler: Callable[[Request], Awaitable[Response]] = guarded(service, asked)

            async def handled(request: Request) -> Response:
                return await handler(request)

            return handled

    return Guarded


async def calling(request: Request) -> Caller:
    """Return who calls; the first thing that is asked of a request.

    Raises:
        NotAuthenticatedError: nobody known.
    """
    service: Service = request.app.state.service
    return await caller_of(request, service.who)


Calling = Annotated[Caller, Depends(calling)]


def _segment(text: str, name: str) -> str:
    """Return a path's segment, decoded by itself, so that `a%2Fb` is one name."""
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} is no UTF-8 text", name) from None


async def keyed(
    caller: Calling,
    provider: Annotated[
        str, Path(min_length=1, max_length=MAX_ENCODED, description="Its name.")
    ],
    subject: Annotated[
        str,
        Path(
            min_length=1,
            max_length=MAX_ENCODED,
            description="The user's id there; a / in it is written %2F.",
        ),
    ],
    label: Annotated[
        str,
        Query(
            min_length=1,
            max_length=MAX_NAME_LENGTH,
            description="Tells several grants of one user apart.",
        ),
    ] = "default",
) -> GrantKey:
    """Return which grant the path names."""
    del caller  # who calls is known before anything is refused
    key = GrantKey(_segment(provider, "provider"), _segment(subject, "subject"), label)
    check_key(key)
    return key


Keyed = Annotated[GrantKey, Depends(keyed)]


async def grant_for(
    service: Service, caller: Caller, operation: Operation, key: GrantKey
) -> UserGrant:
    """Return a grant that the caller may do this to.

    Raises:
        Denied: it may not; whether there is such a grant is not told.
        NotProvisioned: there is none.
    """
    broker = service.opened.broker
    await broker.authorise(caller, operation, key.provider, key.subject, key.label)
    grant = await broker.status(key)
    if grant is None:
        raise NotProvisioned(f"no consent is stored at provider {key.provider}")
    return grant


def body_of(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Return what reads a JSON body of this model, strictly and to a limit."""

    async def read(request: Request, caller: Calling) -> M:
        del caller
        service: Service = request.app.state.service
        raw = await bodies.json_bytes(request, service.body_limit)
        try:
            # Says twice what names stand twice in, and how deep it is.
            said = json.loads(raw, object_pairs_hook=bodies.once)
            if _depth(said) > MAX_NESTED:
                raise InvalidRequest(
                    f"the body is nested deeper than {MAX_NESTED}", "body"
                )
            return model.model_validate_json(raw)
        except ValidationError as error:
            raise _refusal(error.errors(include_input=False)) from None
        except (ValueError, RecursionError):
            raise InvalidRequest("the body is no JSON object", "body") from None

    return read  # type: ignore[return-value] # FastAPI gives it the caller


def body_schema(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Return what the document says of a body."""
    name = model.__name__
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": schema}},
        }
    }


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list):
                below += one
        level = below
    return deepest


def _refusal(errors: Any) -> InvalidRequest:  # noqa: ANN401 - either library's
    """Return the first that is wrong; values are not shown."""
    first = errors[0]
    where = [
        str(part)
        for part in first["loc"]
        # Where it looks, and which member of a union: no part of a name.
        if part not in {"query", "path"} and "[" not in str(part)
    ]
    field = ".".join(where) or "body"
    field = field if field.isprintable() else "body"
    return InvalidRequest(f"{field[:80]}: {first['msg'][:200]}", field[:80])
