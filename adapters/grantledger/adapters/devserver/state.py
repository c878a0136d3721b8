"""Everything the server knows, in memory, behind one lock.

Tests read it and steer it (`withdraw_consent`, `outage`, ...); the endpoints do
their reading and writing under `lock`, and never wait while they hold it.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from http import HTTPStatus
from typing import Literal, TypeAlias

from grantledger.adapters.devserver.errors import PlainError
from grantledger.adapters.devserver.records import (
    AccessRecord,
    AuthMethod,
    Client,
    CodeRecord,
    Family,
    Outcome,
    Redemption,
    RefreshRecord,
    TokenRequest,
)
from grantledger.adapters.devserver.settings import (
    DEFAULT_GRACE_REISSUE_SECONDS,
    DevSettings,
    Profile,
    User,
)
from grantledger.adapters.devserver.tokens import KeyRing, random_token, sha256

OutageEndpoint: TypeAlias = Literal["token", "revocation"]
"""Where an outage can be staged."""

_CLIENT_ID_CHARACTERS = 64
_SECRET_CHARACTERS = 64


class DevState:
    """The memory of one development server.

    Attributes:
        profile: whose behaviour it shows.
        settings: fixed for its life.
        keys: what signs its JWTs.
        lock: held by every reader and writer of the mappings below.
        clients: by client id.
        refresh_tokens: by SHA-256; profile A keeps current ones only.
        access_tokens: by SHA-256, dead ones too.
        codes: by SHA-256.
        consents: (user, client id) -> scopes.
        redemptions: every refresh token presented, oldest first.
        token_requests: every answered token request, oldest first.
        revocation_requests: how many reached the revocation endpoint.
    """

    def __init__(self, profile: Profile, settings: DevSettings) -> None:
        self.profile: Profile = profile
        self.settings = settings
        self.keys = KeyRing()
        self.lock = threading.RLock()
        self.clients: dict[str, Client] = {}
        self.refresh_tokens: dict[str, RefreshRecord] = {}
        self.access_tokens: dict[str, AccessRecord] = {}
        self.codes: dict[str, CodeRecord] = {}
        self.consents: dict[tuple[str, str], frozenset[str]] = {}
        self.redemptions: list[Redemption] = []
        self.token_requests: list[TokenRequest] = []
        self.revocation_requests = 0
        self._families: dict[str, Family] = {}
        self._outages: dict[OutageEndpoint, tuple[int, int | None]] = {}
        self._client_failures: Counter[str] = Counter()

    # What tests ask.

    @property
    def legacy(self) -> bool:
        """Whether this is profile A."""
        return self.profile == "A"

    @property
    def grace_reissue_seconds(self) -> float | None:
        """Profile G: how long the same successor is given again; else None."""
        if self.profile != "G":
            return None
        chosen = self.settings.grace_reissue_seconds
        return DEFAULT_GRACE_REISSUE_SECONDS if chosen is None else chosen

    @property
    def families(self) -> dict[str, Family]:
        """Copies of all grants by family id, ended ones too."""
        with self.lock:
            return {key: replace(family) for key, family in self._families.items()}

    @property
    def token_request_counts(self) -> Counter[str]:
        """How many token requests were answered, by grant type as sent."""
        with self.lock:
            return Counter(request.grant_type for request in self.token_requests)

    @property
    def live_access_tokens(self) -> list[AccessRecord]:
        """Copies of the access tokens that would be accepted now."""
        with self.lock:
            records = self.access_tokens.values()
            return [replace(one) for one in records if self.is_live(one)]

    def now(self) -> float:
        """Return UNIX seconds by the injected clock."""
        return self.settings.clock()

    def user(self, name: str) -> User | None:
        """Return the user of that name, if there is one."""
        return next((one for one in self.settings.users if one.name == name), None)

    # What tests do.

    def register_client(
        self,
        *,
        redirect_uris: tuple[str, ...] = (),
        auth_method: AuthMethod = "client_secret_post",
        client_id: str | None = None,
        client_secret: str | None = None,
        jwt_access_tokens: bool | None = None,
        scopes: tuple[str, ...] = (),
        resource_url: str | None = None,
        post_logout_redirect_uris: tuple[str, ...] = (),
        name: str = "",
        dynamic: bool = False,
    ) -> Client:
        """Add a client as an administrator would, and return it.

        Args:
            redirect_uris: compared exactly.
            auth_method: `none` makes a public client; not in profile A.
            client_id: random when None.
            client_secret: random when None.
            jwt_access_tokens: the setting's default when None.
            scopes: what it may be granted; empty: anything.
            resource_url: the resource server that it is, if it is one.
            post_logout_redirect_uris: compared exactly.
            name: shown on the consent page.
            dynamic: expires after `client_expire_seconds`, with an RFC 7592
                registration access token.

        Raises:
            ValueError: profile A has no public clients (Nextcloud OIDC 2.0.9).
        """
        if self.legacy and auth_method == "none":
            raise ValueError("profile A knows client_secret_post and _basic only")
        now = self.now()
        secret = client_secret or random_token(_SECRET_CHARACTERS)
        jwt = self.settings.jwt_access_tokens
        client = Client(
            client_id=client_id or random_token(_CLIENT_ID_CHARACTERS),
            client_secret=None if auth_method == "none" else secret,
            redirect_uris=redirect_uris,
            auth_method=auth_method,
            jwt_access_tokens=jwt if jwt_access_tokens is None else jwt_access_tokens,
            scopes=scopes,
            resource_url=resource_url,
            post_logout_redirect_uris=post_logout_redirect_uris,
            dynamic=dynamic,
            name=name,
            issued_at=now,
            expires_at=now + self.settings.client_expire_seconds if dynamic else None,
            registration_token=random_token(_SECRET_CHARACTERS) if dynamic else None,
        )
        with self.lock:
            self.clients[client.client_id] = client
        return client

    def expire_client(self, client_id: str) -> None:
        """Make the client expired from now on (`expired_client`)."""
        with self.lock:
            client = self.clients[client_id]
            self.clients[client_id] = replace(client, expires_at=self.now() - 1)

    def prune_client(self, client_id: str) -> None:
        """Forget the client (`invalid_client`); its grants stay."""
        with self.lock:
            del self.clients[client_id]

    def prune_expired_clients(self) -> None:
        """Forget every expired client, as each registration does."""
        with self.lock:
            for client in list(self.clients.values()):
                if self.is_expired(client):
                    self.prune_client(client.client_id)

    def withdraw_consent(self, user: str, client_id: str) -> None:
        """Withdraw what `user` consented to; refreshes fail until consented again."""
        with self.lock:
            self.consents.pop((user, client_id), None)

    def narrow_grant(self, family_id: str, scopes: tuple[str, ...]) -> None:
        """Set what a grant covers, as an administrator's change of scopes does."""
        with self.lock:
            self._families[family_id].scopes = scopes

    def outage(
        self,
        requests: int,
        *,
        endpoint: OutageEndpoint = "token",
        retry_after: int | None = None,
    ) -> None:
        """Answer 503 to the next `requests` requests, before looking at them.

        Args:
            requests: how many; 0 ends an outage.
            endpoint: which endpoint.
            retry_after: seconds for the Retry-After header, or None for no header.
        """
        with self.lock:
            self._outages[endpoint] = (requests, retry_after)

    def reset_throttle(self) -> None:
        """Forget all client authentication failures."""
        with self.lock:
            self._client_failures.clear()

    # What the endpoints do.

    def check_outage(self, endpoint: OutageEndpoint) -> None:
        """Use up one request of a staged outage.

        Raises:
            PlainError: 503, while the outage lasts.
        """
        with self.lock:
            left, retry_after = self._outages.get(endpoint, (0, None))
            if left <= 0:
                return
            self._outages[endpoint] = (left - 1, retry_after)
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        status = HTTPStatus.SERVICE_UNAVAILABLE
        raise PlainError(status, "Service unavailable", headers)

    def note_client_failure(self, source: str) -> None:
        """Count one failed client authentication from the address `source`."""
        with self.lock:
            self._client_failures[source] += 1

    def check_throttle(self, source: str) -> None:
        """Let the address `source` pass unless it failed too often.

        Raises:
            PlainError: 429, Nextcloud's brute-force protection.
        """
        limit = self.settings.throttle_after_failures
        with self.lock:
            failures = self._client_failures[source]
        if not self.legacy and limit is not None and failures >= limit:
            raise PlainError(HTTPStatus.TOO_MANY_REQUESTS, "Reached maximum delay")

    def is_expired(self, client: Client) -> bool:
        """Return whether `client` has outlived its registration."""
        return client.expires_at is not None and self.now() > client.expires_at

    def is_live(self, record: AccessRecord) -> bool:
        """Return whether an access token is accepted now, and its parents are."""
        if record.ended or self.now() >= record.valid_until:
            return False
        if self._families[record.family_id].ended is not None:
            return False
        if record.parent_sha256 is None:
            return True
        return self.is_live(self.access_tokens[record.parent_sha256])

    def live_access(self, token: str) -> AccessRecord | None:
        """Return the record of `token` when it is accepted now."""
        record = self.access_tokens.get(sha256(token))
        return record if record is not None and self.is_live(record) else None

    def family(self, family_id: str) -> Family:
        """Return the grant itself, to be changed under `lock`."""
        return self._families[family_id]

    def add_family(
        self,
        *,
        user: str,
        client_id: str,
        scopes: tuple[str, ...],
        resource: str | None = None,
        nonce: str | None = None,
    ) -> Family:
        """Record a new grant without tokens, and return it."""
        with self.lock:
            family_id = f"family-{len(self._families) + 1}"
            self._families[family_id] = Family(
                family_id=family_id,
                user=user,
                client_id=client_id,
                scopes=scopes,
                resource=resource,
                nonce=nonce,
                auth_time=int(self.now()),
                created_at=self.now(),
            )
            return self._families[family_id]

    def end_family(
        self, family_id: str, reason: Literal["revoked", "reuse", "deleted"]
    ) -> None:
        """Let no token of the grant work any more; the first reason stays."""
        with self.lock:
            family = self._families[family_id]
            family.ended = family.ended or reason

    def note_redemption(
        self,
        fingerprint: str,
        outcome: Outcome,
        *,
        family_id: str | None = None,
        successor: str | None = None,
    ) -> None:
        """Record what became of a presented refresh token."""
        with self.lock:
            self.redemptions.append(
                Redemption(
                    at=self.now(),
                    sha256=fingerprint,
                    outcome=outcome,
                    family_id=family_id,
                    successor_sha256=successor,
                )
            )
