"""What is known of a request beside its credentials: from where, and how often.

A proxy is believed only where the settings name it, by its address or as a user on the
Unix socket. From anywhere else an address in X-Forwarded-For is passed over, and a
certificate is refused: whoever sends it means to be somebody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import Request

from grantledger.adapters.http.certificates import EMPTY, Certificates
from grantledger.adapters.http.limits import Pace
from grantledger.adapters.http.peers import UnixPeers, peer
from grantledger.adapters.settings import HttpSettings
from grantledger.adapters.settings.proxied import Networks, trusted
from grantledger.domain.errors import InvalidRequest, RateLimited

FORWARDED = b"x-forwarded-for"
SCOPE = "grantledger.edge"
CERTIFICATE, UNIX_SOCKET = "certificate", "unix_socket"
ONE_WAY = "authenticate in one way, not in two"

_Address = IPv4Address | IPv6Address


class Edge:
    """The rules of one service.

    Args:
        said: the service's settings.
        now: aware UTC, for certificates.
        ticks: seconds of a clock that is never set, for rates.

    Attributes:
        failures: attempts that proved no caller, since the start.
    """

    def __init__(
        self,
        said: HttpSettings,
        now: Callable[[], datetime],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._ticks = ticks
        self._peers = UnixPeers(said.unix_peers)
        proxy = said.proxy
        self._networks: Networks = ()
        self._uids: frozenset[int] = frozenset()
        self._header: bytes | None = None
        if proxy is not None:
            self._networks, self._uids = trusted(proxy)
            if said.certificates:
                self._header = proxy.header.encode()
                self._certificates = Certificates(said.certificates, proxy.format)
        rate = said.requests_per_second
        self._pace = Pace(rate, rate if said.burst is None else said.burst)
        self._failing = _a_minute(said.failures_per_minute)
        self._failing_secrets = _a_minute(said.secret_failures_per_minute)
        self.failures = 0
        # What most services do without costs nothing.
        self._believes = bool(self._networks or self._uids)
        self._knows = self._header is not None or bool(said.unix_peers)

    @property
    def headers_alone(self) -> bool:
        """Whether nothing but the Authorization header can name a caller here."""
        return not self._knows

    # -- from where

    def address(self, request: Request) -> str | None:
        """Return the address that the request came from, None by the Unix socket.

        Behind trusted proxies it is the last one that none of them has.
        """
        client = request.scope.get("client")
        said: str | None = client[0] if client else None
        if not self._believes or not self._from_proxy(request):
            return said
        lines = [v for n, v in request.scope["headers"] if n == FORWARDED]
        for text in reversed(b",".join(lines).decode("latin-1").split(",")):
            found = _parsed(text.strip())
            if found is None:
                break
            said = str(found)
            if not self._is_proxy(found):
                break
        return said

    def _from_proxy(self, request: Request) -> bool:
        found = peer(request)
        if found is not None:
            return found.uid in self._uids
        if not self._networks or request.client is None:
            return False
        address = _parsed(request.client.host)
        return address is not None and self._is_proxy(address)

    def _is_proxy(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)

    # -- who

    def caller_id(self, request: Request) -> tuple[str, str] | None:
        """Return who calls by what brings the request, and what that was.

        None where that is nobody known.

        Raises:
            InvalidRequest: a certificate that cannot be believed or read, or a second
                way to authenticate beside it.
            NotAuthenticatedError: the certificate is not valid now.
        """
        if not self._knows:
            return None
        found, way = self._by_certificate(request), CERTIFICATE
        if found is None:
            found, way = self._by_socket(request), UNIX_SOCKET
        if found is not None and "authorization" in request.headers:
            raise InvalidRequest(ONE_WAY, "authorization")
        return None if found is None else (found, way)

    def _by_socket(self, request: Request) -> str | None:
        found = peer(request)
        return None if found is None else self._peers.caller_id(found)

    def _by_certificate(self, request: Request) -> str | None:
        header = self._header
        if header is None:
            return None
        said = [value for name, value in request.scope["headers"] if name == header]
        if not said:
            return None
        field = header.decode()
        if not self._from_proxy(request):
            raise InvalidRequest(f"{field} is for trusted proxies to say", field)
        if len(said) > 1:
            raise InvalidRequest(f"{field} stands twice", field)
        text = said[0].decode("latin-1").strip()
        if text in EMPTY:
            return None
        return self._certificates.caller_id(text, field, self._now())

    # -- how often

    def admit(self, caller_id: str) -> None:
        """Count a request of a caller.

        Raises:
            RateLimited: there were too many; says when to come again.
        """
        wait = self._pace.take(caller_id, self._ticks())
        if wait:
            raise RateLimited("too many requests of this caller", wait)

    def attempt(self, request: Request) -> Attempt:
        """Return the attempt to prove a caller that a request is."""
        return Attempt(self, request)

    def wait(self, address: str, client: str | None) -> float:
        """Return the seconds until credentials from there are looked at again."""
        key, failures = self._counted(address, client)
        return failures.wait(key, self._ticks())

    def failed(self, address: str, client: str | None) -> None:
        """Count credentials from there that proved no caller."""
        self.failures += 1
        key, failures = self._counted(address, client)
        failures.take(key, self._ticks())

    def _counted(self, address: str, client: str | None) -> tuple[str, Pace]:
        # A secret by client as well: many clients may share an address.
        if client is None:
            return address, self._failing
        return f"{address} {client}", self._failing_secrets


def edge_of(request: Request) -> Edge:
    """Return the rules that a request came under (see `build_app`)."""
    found: Edge = request.scope[SCOPE]
    return found


class Attempt:
    """One attempt to prove a caller, from the address that a request has."""

    def __init__(self, edge: Edge, request: Request) -> None:
        self._edge = edge
        self._request = request
        self._client: str | None = None

    def looks(self, client: str | None = None) -> None:
        """Begin to look at credentials that have not been proven before.

        Args:
            client: whose secret it would be, "" for nobody's; None for a token.

        Raises:
            RateLimited: too many from there proved nothing.
        """
        self._client = client
        wait = self._edge.wait(self._address(), client)
        if wait:
            raise RateLimited("too many attempts that prove no caller", wait)

    def failed(self) -> None:
        """Take note that it proved nobody."""
        self._edge.failed(self._address(), self._client)

    def _address(self) -> str:
        return self._edge.address(self._request) or "unix"


def _a_minute(number: float) -> Pace:
    return Pace(number / 60, number)


def _parsed(text: str) -> _Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
