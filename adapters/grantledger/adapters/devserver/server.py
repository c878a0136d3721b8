"""A development server on a loopback port, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn

from grantledger.adapters.devserver.app import BASE, build_app
from grantledger.adapters.devserver.issue import answer
from grantledger.adapters.devserver.records import IssuedGrant
from grantledger.adapters.devserver.settings import DevSettings, Profile
from grantledger.adapters.devserver.state import DevState

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 10.0
_POLL_SECONDS = 0.005
_GRACEFUL_SECONDS = 1


class DevServer:
    """An authorization server that behaves like Nextcloud's OIDC app.

    Use it as a context manager, or call `start` and `stop`. It listens on
    127.0.0.1 only, speaks plain HTTP and must never be used in production.

    Attributes:
        state: its memory, to be read and steered by tests.
        port: the TCP port, known from construction on.
    """

    def __init__(
        self,
        profile: Profile = "B",
        settings: DevSettings | None = None,
        *,
        port: int = 0,
    ) -> None:
        """Bind a port; nothing is served before `start`.

        Args:
            profile: A, B or G.
            settings: the defaults when None.
            port: 0 for any free one.
        """
        self.state = DevState(profile, settings or DevSettings())
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((_LOOPBACK, port))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            build_app(self.state),
            # Query strings carry codes: nothing is logged per request.
            access_log=False,
            log_config=None,
            lifespan="off",
            ws="none",
            http="h11",
            loop="asyncio",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name=f"devserver-{self.port}",
            daemon=True,
        )

    @property
    def issuer(self) -> str:
        """The issuer when asked at 127.0.0.1."""
        return f"http://{_LOOPBACK}:{self.port}"

    @property
    def base_url(self) -> str:
        """Where the endpoints are: `base_url + "/token"`, ..."""
        return self.issuer + BASE

    def start(self) -> None:
        """Serve from now on.

        Raises:
            TimeoutError: it did not start within ten seconds.
        """
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline:
                raise TimeoutError("the development server did not start")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop serving and close the port; harmless when never started."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        """Start, and return the server."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def rotate_keys(self, *, keep_previous: bool = True) -> str:
        """Sign with a new key from now on; return its `kid`.

        Args:
            keep_previous: go on publishing the earlier keys in the JWKS.
        """
        return self.state.keys.rotate(keep_previous=keep_previous)

    def issue_grant(
        self,
        user: str,
        client_id: str,
        scopes: tuple[str, ...] = ("openid", "profile", "email", "offline_access"),
        *,
        resource: str | None = None,
        as_jwt: bool | None = None,
    ) -> IssuedGrant:
        """Consent and redeem a code on behalf of `user`, without a browser.

        Args:
            user: the subject; need not be one of the settings' users.
            client_id: a registered client.
            scopes: what is granted.
            resource: the RFC 8707 resource.
            as_jwt: JWT or opaque access token; None: as the client is registered.
        """
        with self.state.lock:
            client = self.state.clients[client_id]
            before = self.state.consents.get((user, client_id), frozenset())
            self.state.consents[user, client_id] = before | set(scopes)
            family = self.state.add_family(
                user=user, client_id=client_id, scopes=scopes, resource=resource
            )
            body = answer(self.state, family, client, self.issuer, as_jwt=as_jwt)
        refresh, identity = body.get("refresh_token"), body.get("id_token")
        return IssuedGrant(
            family_id=family.family_id,
            access_token=str(body["access_token"]),
            refresh_token=None if refresh is None else str(refresh),
            id_token=None if identity is None else str(identity),
            expires_in=int(body["expires_in"]),
        )

    def issue_session_token(
        self,
        user: str,
        client_id: str,
        scopes: tuple[str, ...] = ("openid", "profile"),
        *,
        resource: str | None = None,
    ) -> str:
        """Return a JWT access token backed by a new grant (see `issue_grant`)."""
        grant = self.issue_grant(
            user, client_id, scopes, resource=resource, as_jwt=True
        )
        return grant.access_token
