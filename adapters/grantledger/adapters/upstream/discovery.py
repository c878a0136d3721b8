"""The server's metadata: fetched once, believed only as far as it can be checked.

A metadata document decides where refresh tokens are sent. So its issuer must be
the configured one, character by character (RFC 8414 section 3.3), and every
endpoint must be https and of the issuer's origin, or of one that the operator
listed (known failures F24).

Behind a private network the server is reached under another host. With
`internal_base_url` every server-side request goes there: discovery, token,
revocation, introspection, userinfo, registration and keys, each with its path
and query kept. The authorization endpoint stays public, because browsers use it.
Nextcloud writes the host that was asked into `issuer` and into its endpoints;
asked under the internal host, it names the internal one. Therefore, and only when
`internal_base_url` is set, two issuers are accepted: the configured one, and the
configured one with its origin exchanged for the internal one. Tokens are always
checked against the configured issuer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import SplitResult

import anyio

from grantledger.adapters.upstream import failures, urls
from grantledger.adapters.upstream.config import ServerConfig
from grantledger.adapters.upstream.http import BoundedHttp, HttpAnswer
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.values import FailureClass

if TYPE_CHECKING:
    from grantledger.domain.ports import Clock

METADATA_LIMIT_BYTES = 64 * 1024
_RETRY_STALE_SECONDS = 30.0
_OK = 200
_MOST_LISTED = 1000
_BACK_CHANNEL = (
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "userinfo_endpoint",
    "registration_endpoint",
    "jwks_uri",
)


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """What a server says of itself, checked; URLs are as this process uses them.

    Attributes:
        issuer: the configured one, whatever host was asked.
        authorization_endpoint: public, for browsers.
        scopes_supported: None when the server lists none; so with the other lists.
        iss_parameter: `iss` comes with every authorization answer (RFC 9207).
    """

    issuer: str
    authorization_endpoint: str | None
    token_endpoint: str | None
    revocation_endpoint: str | None
    introspection_endpoint: str | None
    userinfo_endpoint: str | None
    registration_endpoint: str | None
    jwks_uri: str | None
    scopes_supported: frozenset[str] | None
    grant_types_supported: frozenset[str] | None
    code_challenge_methods_supported: frozenset[str] | None
    token_endpoint_auth_methods_supported: frozenset[str] | None
    iss_parameter: bool


class _RefusedError(Exception):
    """The document contradicts the configuration; the message is ours alone."""


class Discovery:
    """Keeps the metadata of one server: one fetch at a time, cached, bounded.

    After `metadata_ttl_seconds` the next caller fetches anew. While that fails the
    old metadata serves for `metadata_stale_seconds` more, and is asked for every
    30 s: it was checked when it came, and endpoints rarely move.
    """

    def __init__(self, config: ServerConfig, http: BoundedHttp, clock: Clock) -> None:
        self._config = config
        self._http = http
        self._clock = clock
        self._lock = anyio.Lock()
        self._held: ServerMetadata | None = None
        self._fresh_until = 0.0
        self._stale_until = 0.0
        self._attempts = 0
        self._failure: UpstreamFailure | None = None
        self.locations = Locations(config)

    async def metadata(self) -> ServerMetadata | UpstreamFailure:
        """Return the metadata, or why there is none; `sent` is then False.

        The failure speaks of the request that metadata is needed for: of that one
        nothing was sent, whatever discovery itself did.
        """
        if (held := self._usable()) is not None:
            return held
        attempt = self._attempts
        async with self._lock:
            if attempt == self._attempts:
                await self._refresh()
            # Whoever waited takes the outcome of that one attempt, good or bad:
            # a queue of callers must not become a queue of fetches.
            held = self._held if self._clock.monotonic() < self._stale_until else None
            return held or self._failure or failures.not_sent("discovery_failed")

    def _usable(self) -> ServerMetadata | None:
        return self._held if self._clock.monotonic() < self._fresh_until else None

    async def _refresh(self) -> None:
        outcome = await self._fetch()
        now = self._clock.monotonic()
        if isinstance(outcome, ServerMetadata):
            self._held, self._failure = outcome, None
            self._fresh_until = now + self._config.metadata_ttl_seconds
            self._stale_until = self._fresh_until + self._config.metadata_stale_seconds
        else:
            self._failure = outcome
            self._fresh_until = min(now + _RETRY_STALE_SECONDS, self._stale_until)
        self._attempts += 1

    async def _fetch(self) -> ServerMetadata | UpstreamFailure:
        """Try each place in turn; the first checked document counts."""
        deadline = anyio.current_time() + self._config.discovery_budget_seconds
        refused: UpstreamFailure | None = None
        absent = failures.not_sent(
            "discovery_not_found", "", FailureClass.MISCONFIGURED
        )
        for url in self.locations.discovery_urls():
            answer = await self._http.request(
                "GET",
                url,
                budget_seconds=deadline - anyio.current_time(),
                body_limit_bytes=METADATA_LIMIT_BYTES,
                what="metadata",
            )
            if not isinstance(answer, HttpAnswer):
                return refused or failures.not_sent(f"discovery_{answer.error}")
            if answer.status == _OK:
                try:
                    return self._checked(answer)
                except _RefusedError as cause:
                    refused = failures.not_sent(
                        "discovery_refused", str(cause), FailureClass.MISCONFIGURED
                    )
                    continue
            failed = failures.of_answer(answer, self._clock.now())
            if failed.failure is FailureClass.AMBIGUOUS:
                return refused or failures.not_sent("discovery_server_error")
            if failed.failure in {FailureClass.TRANSIENT, FailureClass.RATE_LIMITED}:
                return refused or UpstreamFailure(
                    failed.failure,
                    sent=False,
                    error="discovery_unavailable",
                    status=failed.status,
                    retry_after=failed.retry_after,
                )
        return refused or absent

    def _checked(self, answer: HttpAnswer) -> ServerMetadata:
        document = failures.read_object(answer.body)
        if document is None:
            raise _RefusedError("the metadata is no JSON object within 64 KiB")
        if document.get("issuer") not in self.locations.accepted_issuers:
            raise _RefusedError("the metadata names another issuer (RFC 8414 3.3)")
        front = self._endpoint(document, "authorization_endpoint")
        back = {
            name: None if parts is None else self.locations.inward(parts)
            for name in _BACK_CHANNEL
            for parts in (self._endpoint(document, name),)
        }
        return ServerMetadata(
            issuer=self._config.issuer,
            authorization_endpoint=front and self.locations.outward(front),
            scopes_supported=_listed(document, "scopes_supported"),
            grant_types_supported=_listed(document, "grant_types_supported"),
            code_challenge_methods_supported=_listed(
                document, "code_challenge_methods_supported"
            ),
            token_endpoint_auth_methods_supported=_listed(
                document, "token_endpoint_auth_methods_supported"
            ),
            iss_parameter=document.get("authorization_response_iss_parameter_supported")
            is True,
            **back,
        )

    def _endpoint(
        self, document: Mapping[str, object], name: str
    ) -> SplitResult | None:
        value = document.get(name)
        if value is None:
            return None
        parts = urls.split(value) if isinstance(value, str) else None
        if parts is None:
            raise _RefusedError(f"{name} is no absolute http(s) URL")
        problem = self.locations.objection(parts)
        if problem:
            raise _RefusedError(f"{name} {problem}")
        return parts


class Locations:
    """Which URLs may be used, and under which host: the rules without the fetching."""

    def __init__(self, config: ServerConfig) -> None:
        self._discovery_url = config.discovery_url
        self._issuer = config.issuer
        self._public = urls.configured(config.issuer, "issuer")
        self._internal: SplitResult | None = None
        self.accepted_issuers = {config.issuer}
        allowed = {urls.origin(self._public)}
        allowed |= {
            urls.origin(urls.configured(other, "allowed_origins", bare=True))
            for other in config.allowed_origins
        }
        self._public_origins = frozenset(allowed)
        if config.internal_base_url is not None:
            self._internal = urls.configured(
                config.internal_base_url, "internal_base_url", bare=True
            )
            # The path is taken as written, so that a trailing slash still counts.
            path = config.issuer.split("://", 1)[1].partition("/")
            self.accepted_issuers.add(
                f"{self._internal.scheme}://{self._internal.netloc}{path[1]}{path[2]}"
            )

    def discovery_urls(self) -> list[str]:
        """Return where to look, in order, as this process reaches it.

        The configured URL alone when there is one; else RFC 8414 section 3.1, the
        same form for OpenID Connect (section 5), and OpenID Connect Discovery
        section 4, which appends instead of inserting.
        """
        if self._discovery_url is not None:
            return [self.inward(urls.configured(self._discovery_url, "discovery_url"))]
        path = self._public.path.rstrip("/")
        forms = (
            f"/.well-known/oauth-authorization-server{path}",
            f"/.well-known/openid-configuration{path}",
            f"{path}/.well-known/openid-configuration",
        )
        return [
            self.inward(self._public._replace(path=form))
            for form in dict.fromkeys(forms)
        ]

    def objection(self, parts: SplitResult) -> str:
        """Return why a URL from the server must not be used, "" when it may."""
        where = urls.origin(parts)
        if self._internal is not None and where == urls.origin(self._internal):
            return ""
        if where not in self._public_origins:
            return "is of an origin that is neither the issuer's nor allowed"
        return "" if urls.is_secure(parts) else "must use https"

    def inward(self, parts: SplitResult) -> str:
        """Return the URL as this process reaches it.

        Only the issuer's own host is known by another name inside; an allowed
        origin is some other host and stays as it is.
        """
        if self._internal is not None and urls.origin(parts) == urls.origin(
            self._public
        ):
            return urls.moved(parts, self._internal)
        return parts.geturl()

    def outward(self, parts: SplitResult) -> str:
        """Return the URL as a browser reaches it."""
        if self._internal is not None and urls.origin(parts) == urls.origin(
            self._internal
        ):
            return urls.moved(parts, self._public)
        return parts.geturl()


def _listed(document: Mapping[str, object], name: str) -> frozenset[str] | None:
    value = document.get(name)
    if not isinstance(value, list):
        return None
    entries = cast("list[object]", value)[:_MOST_LISTED]
    return frozenset(entry for entry in entries if isinstance(entry, str))
