"""What a development authorization server can be told, with every unit named.

The defaults are those of Nextcloud's OIDC app. What follows from a profile is
decided where it happens (`rotation`, `token_endpoint`, ...), not here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Profile: TypeAlias = Literal["A", "B", "G"]
"""A: Nextcloud OIDC 2.0.9. B: Nextcloud OIDC 2.5.1. G: B, with a re-issue grace."""

DEFAULT_GRACE_REISSUE_SECONDS = 30
"""What profile G uses when the settings name no grace, in seconds."""

DEFAULT_SCOPES = ("openid", "profile", "email", "roles", "groups", "offline_access")
"""The scopes that discovery lists unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class User:
    """A person who can log in; there are no passwords.

    Attributes:
        name: the `sub` and `preferred_username`.
        display_name: the `name` claim; empty: the same as `name`.
        email: the `email` claim; empty: no such claim.
    """

    name: str
    display_name: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevSettings:
    """The settings of one development server; they do not change while it runs.

    Attributes:
        access_token_seconds: announced life of an access token (`expire_time`).
        refresh_token_seconds: life of a refresh token (`refresh_expire_time`),
            or None for `never`.
        client_expire_seconds: life of a dynamically registered client
            (`client_expire_time`).
        jwt_access_tokens: what a client gets that does not say: JWT (RFC 9068)
            or 72 opaque alphanumerics.
        resources: the resources that a token may be exchanged for.
        reuse_grace_seconds: profile B: a used refresh token presented again
            within this time costs an error, later it costs the family.
        grace_reissue_seconds: profile G only: how long a used refresh token is
            answered with the same successor; None: 30.
        code_seconds: life of an authorization code.
        token_delay_seconds: pause between reading and writing at the token
            endpoint, in real seconds, so that requests can truly overlap.
        auto_consent: a known `login_hint` logs in and consents at once.
        users: who can log in.
        scopes_supported: what discovery lists; other scopes are granted too,
            unless the client is registered with a list.
        throttle_after_failures: profiles B and G: after so many client
            authentication failures a source address gets 429; None: never.
        expose_state: serve `/_dev/state` to loopback callers.
        state_file: where the same state is written after every change, or None.
        clock: UNIX seconds.

    Source: Nextcloud OIDC 2.0.9 and 2.5.1.
    """

    access_token_seconds: int = 900
    refresh_token_seconds: int | None = 900
    client_expire_seconds: int = 3600
    jwt_access_tokens: bool = False
    resources: tuple[str, ...] = ()
    reuse_grace_seconds: float = 5
    grace_reissue_seconds: int | None = None
    code_seconds: int = 60
    token_delay_seconds: float = 0
    auto_consent: bool = True
    users: tuple[User, ...] = (User("alice", "Alice", "alice@example.org"),)
    scopes_supported: tuple[str, ...] = DEFAULT_SCOPES
    throttle_after_failures: int | None = None
    expose_state: bool = False
    state_file: Path | None = None
    clock: Callable[[], float] = time.time
