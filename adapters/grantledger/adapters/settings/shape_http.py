"""What the settings' file may say of the service: `[http]` and what is below it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from grantledger.adapters.settings.bounds import (
    MAX_LISTED,
    MAX_TEXT_LENGTH,
    MAX_UID,
    CallerName,
    Name,
    SecretHash,
    Text,
    Texts,
)
from grantledger.adapters.settings.shape_events import TransmitterSettings
from grantledger.domain.values import MAX_NAME_LENGTH


class _Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base: an unknown name is a mistake, not a hint."""


class CallerIssuerSettings(_Settings):
    """An issuer whose JWTs callers present.

    Attributes:
        name: begins its callers' ids, `name:claim`.
        audience: of tokens that are meant for this broker.
        caller_claim: that names the caller.
        require_at_jwt: only tokens typed `at+jwt` (RFC 9068 section 4).
        subject_claim: that names the user, where its tokens are users'.
        subject_providers: the providers whose subjects that claim names.
    """

    name: CallerName
    issuer: Text
    audience: Text
    caller_claim: Name = "client_id"
    require_at_jwt: bool = True
    subject_claim: Name | None = None
    subject_providers: Texts = []
    discovery_url: Text | None = None
    internal_base_url: Text | None = None
    ca_file: Text | None = None


class HttpClientSettings(_Settings):
    """A caller with a secret, of which only the argon2 hash stands here."""

    id: CallerName
    secret_hash: SecretHash


class ConnectSettings(_Settings):
    """Consent in the browser.

    Attributes:
        return_urls: where a browser may be sent afterwards, each exactly.
    """

    return_urls: Texts = []


class HttpProxySettings(_Settings):
    """The proxies before the service, and how they name a client's certificate.

    Attributes:
        trusted: their addresses or networks; `unix:UID` for one that comes by the
            Unix socket as that user.
        header: where the certificate stands that the proxy has verified.
        format: `rfc9440`, DER in base64 between colons, or `pem`, percent-encoded.
    """

    trusted: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=64)]
    header: Annotated[
        str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]*$", max_length=MAX_NAME_LENGTH)
    ] = "client-cert"
    format: Literal["rfc9440", "pem"] = "rfc9440"


class HttpCertificateSettings(_Settings):
    """A caller by its certificate; exactly one of the three names it.

    Attributes:
        id: its caller is called `cert:id`.
        sha256: of the certificate's DER, in hexadecimal.
        uri, dns: a name of the certificate (subjectAltName), compared exactly.
    """

    id: CallerName
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    uri: Text | None = None
    dns: Text | None = None


class HttpPeerSettings(_Settings):
    """A process on this machine, by what the kernel says of it.

    Attributes:
        id: its caller is called `unix:id`.
        gid: its group as well, where the user alone does not tell.
    """

    id: CallerName
    uid: Annotated[int, msgspec.Meta(ge=0, le=MAX_UID)]
    gid: Annotated[int, msgspec.Meta(ge=0, le=MAX_UID)] | None = None


class HttpSettings(_Settings):
    """The service; limits are each process's own.

    Attributes:
        listen: `host:port`; port 0 is any free one, and nothing at all is no TCP.
            TLS is a proxy's business.
        socket: a Unix socket, beside `listen` or instead of it.
        socket_mode: of that socket, in octal digits.
        workers: processes that serve.
        public_url: where browsers reach it; without, nobody consents over HTTP.
        metrics_listen: `host:port` of `GET /metrics`, apart from callers; off without.
        max_body_bytes: of a request.
        max_connections: at once; more are answered 503.
        requests_per_second: of one caller; more are answered 429.
        burst: that may come at once; a second's worth by default.
        failures_per_minute: tokens of one address that prove no caller.
        secret_failures_per_minute: wrong secrets of one address for one client.
        read_seconds: for the head of a request, and again for its body.
    """

    listen: Annotated[str, msgspec.Meta(max_length=MAX_TEXT_LENGTH)] = "127.0.0.1:8080"
    socket: Text | None = None
    socket_mode: Annotated[str, msgspec.Meta(pattern=r"^0?[0-7]{3}$")] = "0660"
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    public_url: Text | None = None
    connect: ConnectSettings = msgspec.field(default_factory=ConnectSettings)
    metrics_listen: Text | None = None
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1_048_576)] = 65_536
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    requests_per_second: Annotated[float, msgspec.Meta(ge=0.01, le=1e6)] = 10_000.0
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    failures_per_minute: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 600.0
    secret_failures_per_minute: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 10.0
    read_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=300)] = 20.0
    proxy: HttpProxySettings | None = None
    certificates: Annotated[
        list[HttpCertificateSettings], msgspec.Meta(max_length=MAX_LISTED)
    ] = []
    unix_peers: Annotated[
        list[HttpPeerSettings], msgspec.Meta(max_length=MAX_LISTED)
    ] = []
    issuers: Annotated[list[CallerIssuerSettings], msgspec.Meta(max_length=32)] = []
    clients: Annotated[
        list[HttpClientSettings], msgspec.Meta(max_length=MAX_LISTED)
    ] = []
    transmitters: Annotated[list[TransmitterSettings], msgspec.Meta(max_length=32)] = []
