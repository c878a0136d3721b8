"""The AuthorizationServer port over HTTP: redeem, exchange, revoke, introspect.

No method raises for what the server or the network does. A request is sent once;
whether it may be sent again is the domain's decision. Parameters stand in a fixed
order, so that two equal requests are equal byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import anyio

from grantledger.adapters.upstream import failures
from grantledger.adapters.upstream.client_auth import ClientAuthenticator, Parameters
from grantledger.adapters.upstream.config import UpstreamConfig
from grantledger.adapters.upstream.discovery import Discovery, ServerMetadata
from grantledger.adapters.upstream.http import BoundedHttp, HttpAnswer
from grantledger.adapters.upstream.token_answer import (
    Fields,
    read_id_token,
    read_token_answer,
)
from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.provider import ExchangeTarget
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    IdToken,
    RefreshToken,
    Scopes,
    TokenKind,
)

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock, Ids

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant type's name
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
"""RFC 8693 section 3."""

_OK = 200
_REDIRECTS = 300


@dataclass(frozen=True, slots=True)
class CodeAnswer:
    """A code's answer: the tokens, and the ID token still to be verified."""

    answer: TokenAnswer
    id_token: IdToken | None


@dataclass(frozen=True, slots=True)
class Introspection:
    """What the server says of a token (RFC 7662 section 2.2); `sub` only if live."""

    active: bool
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    """An answer, and of its request the time just before it and its secrets."""

    answer: HttpAnswer
    at: datetime
    secrets: tuple[str, ...] = field(repr=False)


class HttpAuthorizationServer:
    """One authorization server, spoken to with this broker's client credentials.

    Every budget is in seconds and covers all of a call: fetching metadata where
    none is cached, waiting for a connection, and the answer to its last byte.
    """

    def __init__(
        self,
        config: UpstreamConfig,
        http: BoundedHttp,
        discovery: Discovery,
        *,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._config = config
        self._http = http
        self._discovery = discovery
        self._clock = clock
        self._client = ClientAuthenticator(config, clock, ids)

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        """Send the refresh token once; never retries itself.

        Args:
            refresh_token: the grant's current one.
            scopes: asked for; empty leaves the parameter out.
            audience: sent where given; no RFC defines it for this grant type, and
                a server that does not know it must ignore it (RFC 6749 3.2).
            resource: sent where given (RFC 8707 section 2.2).
            budget_seconds: the whole call.

        Source: RFC 6749 section 6.
        """
        parameters = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.reveal()),
            *_given(scope=" ".join(scopes), audience=audience, resource=resource),
        ]
        outcome = await self._tokens(
            parameters, budget_seconds, secrets=(refresh_token.reveal(),)
        )
        return outcome.answer if isinstance(outcome, CodeAnswer) else outcome

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        """Exchange a session token for one with another target.

        Of `audience` and `resource` the one that `exchange_target` names is sent;
        where only the other is given nothing is sent at all, because a target that
        is silently dropped buys a wider token. An actor token is never sent: a
        refresh token is none (known failures F22).

        `unsupported` means that the metadata does not list the grant type (some
        servers answer an unknown one with `invalid_grant`), or that the server said
        `unsupported_grant_type`. An answer of another token type is a defect.

        Source: RFC 8693 sections 2.1 and 2.2.1.
        """
        if self._config.exchange_target is ExchangeTarget.AUDIENCE:
            target, dropped = {"audience": audience}, audience is None and resource
        else:
            target, dropped = {"resource": resource}, resource is None and audience
        if dropped:
            return failures.not_sent(
                "invalid_target",
                f"this provider is asked by {self._config.exchange_target}",
                FailureClass.INVALID_TARGET,
            )
        parameters = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", subject_token.reveal()),
            ("subject_token_type", ACCESS_TOKEN_TYPE),
            ("requested_token_type", ACCESS_TOKEN_TYPE),
            *_given(**target, scope=" ".join(scopes)),
        ]
        outcome = await self._tokens(
            parameters,
            budget_seconds,
            secrets=(subject_token.reveal(),),
            objection=_exchange_objection,
        )
        if isinstance(outcome, UpstreamFailure):
            return outcome
        answer = outcome.answer
        if answer.issued_token_type == ACCESS_TOKEN_TYPE:
            return answer
        defect = "issued_token_type is not an access token"
        return replace(
            answer, defect=f"{answer.defect}; {defect}" if answer.defect else defect
        )

    async def redeem_code(
        self,
        code: str,
        *,
        redirect_uri: str,
        code_verifier: str,
        resource: str | None,
        budget_seconds: float,
    ) -> CodeAnswer | UpstreamFailure:
        """Redeem an authorization code (RFC 6749 section 4.1.3, RFC 7636 4.5)."""
        parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", code_verifier),
            *_given(resource=resource),
        ]
        return await self._tokens(
            parameters, budget_seconds, secrets=(code, code_verifier)
        )

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        """Ask for revocation, with client authentication (RFC 7009 section 2.1)."""
        sent = await self._post(
            lambda metadata: metadata.revocation_endpoint,
            [("token", token), ("token_type_hint", kind.value)],
            budget_seconds,
            missing=FailureClass.UNSUPPORTED,
        )
        if isinstance(sent, UpstreamFailure):
            return sent
        failure = failures.of_revocation(
            sent.answer, self._clock.now(), (token, *sent.secrets)
        )
        return failure or RevocationConfirmed(sent.answer.status)

    async def introspect(
        self, token: AccessToken, *, budget_seconds: float
    ) -> Introspection | UpstreamFailure:
        """Ask whether an access token is live (RFC 7662 section 2.1)."""
        sent = await self._post(
            lambda metadata: metadata.introspection_endpoint,
            [("token", token.reveal()), ("token_type_hint", TokenKind.ACCESS.value)],
            budget_seconds,
            missing=FailureClass.UNSUPPORTED,
        )
        if isinstance(sent, UpstreamFailure):
            return sent
        fields = failures.read_object(sent.answer.body) or {}
        active, subject = fields.get("active"), fields.get("sub")
        if sent.answer.status != _OK or not isinstance(active, bool):
            return failures.of_answer(
                sent.answer,
                self._clock.now(),
                (token.reveal(), *sent.secrets),
            )
        named = active and isinstance(subject, str)
        return Introspection(active, str(subject) if named else None)

    async def _tokens(
        self,
        parameters: Parameters,
        budget_seconds: float,
        *,
        secrets: tuple[str, ...],
        objection: Callable[[ServerMetadata], UpstreamFailure | None] | None = None,
    ) -> CodeAnswer | UpstreamFailure:
        """Ask the token endpoint; any 2xx with a token in it is an answer.

        One with neither token says nothing of what the server did: a failure by
        its `error` where it has one, else ambiguous.
        """
        sent = await self._post(
            lambda metadata: metadata.token_endpoint,
            parameters,
            budget_seconds,
            missing=FailureClass.MISCONFIGURED,
            objection=objection,
        )
        if isinstance(sent, UpstreamFailure):
            return sent
        if _OK <= sent.answer.status < _REDIRECTS:
            fields: Fields = failures.read_object(sent.answer.body) or {}
            answer = read_token_answer(fields, sent.at)
            if answer.refresh_token is not None or answer.access_token is not None:
                return CodeAnswer(answer, read_id_token(fields))
        return failures.of_answer(
            sent.answer, self._clock.now(), (*secrets, *sent.secrets)
        )

    async def _post(
        self,
        endpoint: Callable[[ServerMetadata], str | None],
        parameters: Parameters,
        budget_seconds: float,
        *,
        missing: FailureClass,
        objection: Callable[[ServerMetadata], UpstreamFailure | None] | None = None,
    ) -> _Sent | UpstreamFailure:
        """Send one authenticated form; the only way from here to the server."""
        deadline = anyio.current_time() + budget_seconds
        metadata: ServerMetadata | UpstreamFailure = failures.not_sent("timeout")
        with anyio.move_on_after(budget_seconds):
            metadata = await self._discovery.metadata()
        if isinstance(metadata, UpstreamFailure):
            return metadata
        if objection is not None and (objected := objection(metadata)) is not None:
            return objected
        url = endpoint(metadata)
        if url is None:
            return failures.not_sent("no_endpoint", failure=missing)
        form = self._client.sign(parameters)
        sent_at = self._clock.now()
        answer = await self._http.request(
            "POST",
            url,
            budget_seconds=deadline - anyio.current_time(),
            headers=form.headers,
            content=form.content,
            body_limit_bytes=self._config.token_answer_limit_bytes,
        )
        if isinstance(answer, HttpAnswer):
            return _Sent(answer, sent_at, form.secrets)
        return failures.of_transport(answer)


def _given(**parameters: str | None) -> Parameters:
    """Return the parameters that have a value, in the order of writing."""
    return [(name, value) for name, value in parameters.items() if value]


def _exchange_objection(metadata: ServerMetadata) -> UpstreamFailure | None:
    offered = metadata.grant_types_supported
    if offered is None or TOKEN_EXCHANGE in offered:
        return None
    return failures.not_sent(
        "unsupported_grant_type",
        "the metadata does not list token exchange",
        FailureClass.UNSUPPORTED,
    )
