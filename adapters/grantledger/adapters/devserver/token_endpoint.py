"""The token endpoint: what is common to all grants, and the record of each request.

Source: RFC 6749 section 3.2; Nextcloud OIDC 2.0.9 and 2.5.1.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grantledger.adapters.devserver import exchange
from grantledger.adapters.devserver.answers import json_answer, refusal
from grantledger.adapters.devserver.code_grant import redeem_code
from grantledger.adapters.devserver.errors import DevServerError, OAuthError
from grantledger.adapters.devserver.forms import Call, check_form, read_call
from grantledger.adapters.devserver.records import TokenAnswer, TokenRequest
from grantledger.adapters.devserver.rotation import refresh_in_place, refresh_in_table
from grantledger.adapters.devserver.snapshot import save_snapshot
from grantledger.adapters.devserver.state import DevState


class TokenEndpoint:
    """`POST token`."""

    def __init__(self, state: DevState) -> None:
        self._state = state

    def routes(self, base: str) -> list[Route]:
        """Return the routes below the path `base`."""
        return [Route(f"{base}/token", self.post, methods=["POST"])]

    async def post(self, request: Request) -> Response:
        """Answer one token request and record it, without its secrets."""
        state = self._state
        call = await read_call(request, lenient=state.legacy)
        try:
            state.check_outage("token")
            state.check_throttle(call.source)
            response = json_answer(state, await self._grant(request, call))
        except DevServerError as error:
            response = refusal(state, error)
            self._record(call, response.status_code, error.body.get("error"))
        else:
            self._record(call, response.status_code, None)
        save_snapshot(state)
        return response

    async def _grant(self, request: Request, call: Call) -> TokenAnswer:
        if self._state.legacy:
            return await self._legacy_grant(call)
        check_form(request, call)
        match call.need("grant_type"):
            case "authorization_code":
                return await redeem_code(self._state, call)
            case "refresh_token":
                return await refresh_in_table(self._state, call)
            case exchange.GRANT_TYPE:
                return await exchange.exchange(self._state, call)
            case _:
                raise OAuthError("unsupported_grant_type", "Unknown grant_type.")

    async def _legacy_grant(self, call: Call) -> TokenAnswer:
        match call.get("grant_type"):
            case "authorization_code":
                return await redeem_code(self._state, call)
            case "refresh_token":
                return await refresh_in_place(self._state, call)
            case _:
                message = "Invalid grant_type provided."
                raise OAuthError("invalid_grant", message)

    def _record(self, call: Call, status: int, error: str | None) -> None:
        state = self._state
        record = TokenRequest(
            at=state.now(),
            grant_type=call.get("grant_type") or "",
            client_id=call.basic[0] if call.basic else call.get("client_id"),
            scope=call.get("scope"),
            resource=call.get("resource"),
            audience=call.get("audience"),
            parameters=tuple(sorted(name for name, _ in call.pairs)),
            status=status,
            error=error,
        )
        with state.lock:
            state.token_requests.append(record)
