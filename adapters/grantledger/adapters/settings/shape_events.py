"""What the settings' file may say of security events: who sends, and who is told."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from grantledger.adapters.settings.bounds import (
    CallerName,
    Name,
    SecretHash,
    Text,
    Texts,
)


class _Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base: an unknown name is a mistake, not a hint."""


OnEvent = Literal["revoke", "quarantine"]


class TransmitterSettings(_Settings):
    """Who may send security events (RFC 8935), and what they lead to.

    Attributes:
        name: its events are recorded as of `set:name`.
        issuer: of its events.
        audience: of events that are meant for this broker.
        jwks_uri: of its keys; else they are found by the issuer's metadata.
        providers: whose subjects its events name.
        secret_hash: argon2 hash of what it sends as `Authorization: Bearer …`; None:
            its signature alone counts.
    """

    name: CallerName
    issuer: Text
    audience: Text
    providers: Texts
    discovery_url: Text | None = None
    jwks_uri: Text | None = None
    internal_base_url: Text | None = None
    ca_file: Text | None = None
    on_session_revoked: OnEvent = "quarantine"
    on_credential_compromise: OnEvent = "revoke"
    secret_hash: SecretHash | None = None


class ReceiverSettings(_Settings):
    """Who is told of revocations by security events; pushed, or polled for.

    Attributes:
        name: its acknowledgements are recorded as of `receiver:name`.
        audience: as it calls itself.
        url: where events are pushed (RFC 8935); without one, it polls (RFC 8936).
        caller: id of the caller that polls, such as a client's.
        secret_file: what is sent as `Authorization: Bearer …`; likewise `secret_env`.
        providers: whose grants it is told of; empty for all.
    """

    name: CallerName
    audience: Text
    url: Text | None = None
    caller: Name | None = None
    secret_file: Text | None = None
    secret_env: Text | None = None
    providers: Texts = []
    ca_file: Text | None = None


class AnnouncementSettings(_Settings):
    """Security events that this broker sends when a grant is revoked.

    Attributes:
        issuer: of its tokens, a URL.
        key_file: an RSA key in PEM that signs them; likewise `key_env`.
    """

    issuer: Text | None = None
    key_file: Text | None = None
    key_env: Text | None = None
    receivers: Annotated[list[ReceiverSettings], msgspec.Meta(max_length=32)] = []
