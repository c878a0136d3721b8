"""The user's consent: out to the server with a request, back with a code.

Authorization code with PKCE (S256), `state`, `nonce` and `iss`. What ties a session
to one browser, and its single use, are the HTTP edge's.

The way back has two steps on purpose. `finish` returns the tokens; the caller makes
them durable. `identify` then checks the ID token, which needs the server's keys: a
time-out there must not cost the grant (known failures F7).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from grantledger.adapters.upstream import failures, urls
from grantledger.adapters.upstream.client import CodeAnswer, HttpAuthorizationServer
from grantledger.adapters.upstream.config import UpstreamConfig
from grantledger.adapters.upstream.discovery import Discovery, ServerMetadata
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.adapters.upstream.signed import SignedTokens, expiry, same, text
from grantledger.domain.answers import UpstreamFailure, VerifiedSubject
from grantledger.domain.errors import (
    InvalidRequest,
    InvalidSubjectToken,
    InvalidTarget,
)
from grantledger.domain.values import FailureClass, Scopes, Secret, parse_scopes

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock

SESSION_SECONDS = 600
OFFLINE_ACCESS = "offline_access"
_RANDOM_BYTES = 32
_ID_TOKEN_TYPES = frozenset({"", "jwt"})


@dataclass(frozen=True, slots=True)
class ConsentSession:
    """What must be remembered between the request and its answer; used once.

    Attributes:
        state: ties the answer to this session (RFC 6749 section 10.12).
        nonce: ties the ID token to it.
        code_verifier: ties the code to it (RFC 7636 section 4.1).
        scopes: as asked for, `offline_access` included where it was.
        expires_at: aware UTC, 600 s after the start.
    """

    state: Secret
    nonce: Secret
    code_verifier: Secret
    redirect_uri: str
    scopes: Scopes
    resource: str | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ConsentStart:
    """Where to send the browser, and what to remember."""

    url: str
    session: ConsentSession


@dataclass(frozen=True, slots=True)
class ConsentRefused:
    """The server answered with an error (RFC 6749 section 4.1.2.1).

    Attributes:
        error: `access_denied`, ...
        description: the server's words, at most 500 characters.
    """

    error: str
    description: str


class ConsentFlow:
    """Asks for consent at one server.

    Args:
        config: the registration there.
        server: redeems the code.
        discovery: names the authorization endpoint.
        keys: verify the ID token.
        clock: the time that sessions and lifetimes are measured by.
        random: returns that many bytes from the operating system.
    """

    def __init__(
        self,
        config: UpstreamConfig,
        server: HttpAuthorizationServer,
        discovery: Discovery,
        keys: KeySet,
        *,
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        self._config = config
        self._server = server
        self._discovery = discovery
        self._clock = clock
        self._random = random
        self._tokens = SignedTokens(discovery.locations.accepted_issuers, keys, clock)

    async def start(
        self,
        *,
        redirect_uri: str,
        scopes: Scopes,
        resource: str | None = None,
        prompt: str | None = "consent",
        offline: bool = True,
    ) -> ConsentStart | UpstreamFailure:
        """Return an authorization request for one user.

        `offline_access` is asked for where the server lists it, or lists no scopes
        at all; elsewhere it is left out, because some refuse the whole request.

        Args:
            redirect_uri: where the answer comes to.
            scopes: that are asked for.
            resource: likewise, None for none.
            prompt: what the server is to ask the user again; None: as it likes.
            offline: False: the user signs in and no more; nothing lasting is asked.

        Raises:
            InvalidRequest: `redirect_uri` is plain http to another machine.
            InvalidTarget: `resource` is no absolute URI without fragment.

        Source: RFC 6749 section 4.1.1, RFC 7636 section 4.3, RFC 8707 section 2.
        """
        _check_redirect(redirect_uri)
        _check_resource(resource)
        metadata = await self._discovery.metadata()
        if isinstance(metadata, UpstreamFailure):
            return metadata
        endpoint = metadata.authorization_endpoint
        if endpoint is None:
            return failures.not_sent("no_endpoint", "", FailureClass.MISCONFIGURED)
        methods = metadata.code_challenge_methods_supported
        if methods is not None and "S256" not in methods:
            return failures.not_sent("no_pkce_s256", "", FailureClass.UNSUPPORTED)
        session = ConsentSession(
            state=Secret(self._token()),
            nonce=Secret(self._token()),
            code_verifier=Secret(self._token()),
            redirect_uri=redirect_uri,
            scopes=_asked(scopes, metadata) if offline else scopes,
            resource=resource,
            expires_at=self._clock.now() + timedelta(seconds=SESSION_SECONDS),
        )
        return ConsentStart(
            _location(endpoint, self._config.client_id, session, prompt), session
        )

    async def finish(
        self,
        session: ConsentSession,
        parameters: Mapping[str, str],
        *,
        budget_seconds: float,
    ) -> CodeAnswer | ConsentRefused | UpstreamFailure:
        """Redeem the code in the answer that the browser brought back.

        An answer without a refresh token comes back as it is:
        `answer.refresh_token is None` means that nothing was provisioned, and the
        caller says so (known failures F32).

        Args:
            session: from `start`, already removed from where it was kept.
            parameters: the query of the redirect.
            budget_seconds: the code's redemption, connect to last byte.

        Raises:
            InvalidRequest: the session is over, `state` or `iss` is not ours, or
                there is no code. Nothing was sent.

        Source: RFC 6749 sections 4.1.2 and 10.12, RFC 9207 section 2.4.
        """
        if self._clock.now() >= session.expires_at:
            raise InvalidRequest("the consent session is over", "state")
        if not same(parameters.get("state", ""), session.state.reveal()):
            raise InvalidRequest("state is not this session's", "state")
        metadata = await self._discovery.metadata()
        if isinstance(metadata, UpstreamFailure):
            return metadata
        issuer = parameters.get("iss")
        # Before anything else is believed, an error included: another server's
        # answer must not be acted on (RFC 9207 section 2.4).
        if issuer is None and metadata.iss_parameter:
            raise InvalidRequest("iss is missing and this server sends it", "iss")
        if issuer is not None and issuer != self._config.issuer:
            raise InvalidRequest("iss names another server", "iss")
        if "error" in parameters:
            return ConsentRefused(
                failures.clean(parameters["error"])[:100],
                failures.clean(parameters.get("error_description", "")),
            )
        if not parameters.get("code"):
            raise InvalidRequest("the answer has no code", "code")
        return await self._server.redeem_code(
            parameters["code"],
            redirect_uri=session.redirect_uri,
            code_verifier=session.code_verifier.reveal(),
            resource=session.resource,
            budget_seconds=budget_seconds,
        )

    async def identify(
        self, session: ConsentSession, answer: CodeAnswer
    ) -> VerifiedSubject:
        """Return who consented, by the verified ID token.

        Raises:
            InvalidSubjectToken: there is no ID token, or it does not verify, or it
                belongs to another session or client.
            Unavailable: the keys could not be fetched; try again with the same
                answer.

        Source: OpenID Connect Core section 3.1.3.7.
        """
        if answer.id_token is None:
            raise InvalidSubjectToken("the answer has no ID token", "id_token")
        claims = await self._tokens.claims(
            answer.id_token.reveal(),
            audiences=(self._config.client_id,),
            types=_ID_TOKEN_TYPES,
        )
        self._check_party(claims)
        if not same(text(claims, "nonce") or "", session.nonce.reveal()):
            raise InvalidSubjectToken("the ID token has another nonce", "id_token")
        return VerifiedSubject(
            subject=str(claims["sub"]),
            expires_at=expiry(claims),
            scopes=(),
            client_id=self._config.client_id,
            jti=text(claims, "jti"),
        )

    def _check_party(self, claims: Mapping[str, Any]) -> None:
        alone = claims["aud"] in (self._config.client_id, [self._config.client_id])
        if "azp" not in claims and alone:
            return
        if claims.get("azp") != self._config.client_id:
            raise InvalidSubjectToken("the ID token is another client's", "id_token")

    def _token(self) -> str:
        return _base64url(self._random(_RANDOM_BYTES))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _asked(scopes: Scopes, metadata: ServerMetadata) -> Scopes:
    listed = metadata.scopes_supported
    wanted = set(scopes) - {OFFLINE_ACCESS}
    if listed is None or OFFLINE_ACCESS in listed:
        wanted.add(OFFLINE_ACCESS)
    return parse_scopes(wanted)


def _location(
    endpoint: str, client_id: str, session: ConsentSession, prompt: str | None
) -> str:
    challenge = hashlib.sha256(session.code_verifier.reveal().encode("ascii")).digest()
    parameters = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", session.redirect_uri),
        ("scope", " ".join(session.scopes)),
        ("state", session.state.reveal()),
        ("nonce", session.nonce.reveal()),
        ("code_challenge", _base64url(challenge)),
        ("code_challenge_method", "S256"),
    ]
    if prompt is not None:
        parameters.append(("prompt", prompt))
    if session.resource is not None:
        parameters.append(("resource", session.resource))
    # The endpoint's own query is kept (RFC 6749 section 3.1).
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def _check_redirect(redirect_uri: str) -> None:
    parts = urls.split(redirect_uri)
    if parts is None or not urls.is_secure(parts):
        raise InvalidRequest(
            "redirect_uri must be https, or http on a loopback host", "redirect_uri"
        )


def _check_resource(resource: str | None) -> None:
    if resource is None:
        return
    if not urlsplit(resource).scheme or "#" in resource:
        raise InvalidTarget(
            "resource must be an absolute URI without fragment", "resource"
        )
