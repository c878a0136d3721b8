"""What the settings of proxies, certificates and Unix peers must agree on."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from grantledger.adapters.settings.shape_http import HttpProxySettings, HttpSettings
from grantledger.domain.errors import ConfigurationError

CERT, UNIX = "cert", "unix"
"""What ids of such callers begin with; no issuer may be called so (`resolved`)."""

UNIX_PEER = f"{UNIX}:"

Networks = tuple[IPv4Network | IPv6Network, ...]


def check_proxied(said: HttpSettings) -> None:
    """Refuse what would leave open who a caller is.

    Raises:
        ConfigurationError: two are of one name, or a part needs another that is not
            there; `field` names it.
    """
    _once(said)
    for number, one in enumerate(said.certificates):
        field = f"http.certificates[{number}]"
        if sum(name is not None for name in (one.sha256, one.uri, one.dns)) != 1:
            raise ConfigurationError(f"{field}: one of sha256, uri and dns", field)
    if said.certificates and said.proxy is None:
        raise ConfigurationError(
            "http.certificates: a proxy has to bring them: name it in http.proxy",
            "http.certificates",
        )
    if said.unix_peers and said.socket is None:
        raise ConfigurationError(
            "http.unix_peers: they come by http.socket, which is not said",
            "http.unix_peers",
        )
    if not said.listen and said.socket is None:
        raise ConfigurationError("http.listen: or http.socket, or both", "http.listen")
    if said.proxy is not None:
        _, uids = trusted(said.proxy)
        if uids & {peer.uid for peer in said.unix_peers}:
            raise ConfigurationError(
                "http.proxy.trusted: a user who is a caller by itself is no proxy",
                "http.proxy.trusted",
            )


def trusted(said: HttpProxySettings) -> tuple[Networks, frozenset[int]]:
    """Return the proxies' networks, and the users that they may run as here.

    Raises:
        ConfigurationError: one is neither.
    """
    networks: list[IPv4Network | IPv6Network] = []
    uids: set[int] = set()
    for number, text in enumerate(said.trusted):
        user = text.removeprefix(UNIX_PEER)
        try:
            if user != text:
                uids.add(int(user))
            else:
                networks.append(ip_network(text))
        except ValueError:
            field = f"http.proxy.trusted[{number}]"
            raise ConfigurationError(
                f"{field}: an address, a network, or unix:UID", field
            ) from None
    return tuple(networks), frozenset(uids)


def _once(said: HttpSettings) -> None:
    """Refuse two of one name: whose token would it be?

    One caller may have several certificates, such as while one is replaced.
    """
    proofs = [
        text.lower() if text is one.sha256 else text
        for one in said.certificates
        for text in (one.sha256, one.uri, one.dns)
        if text is not None
    ]
    peers = [f"{peer.uid}:{peer.gid}" for peer in said.unix_peers]
    for field, names in (
        ("http.certificates", proofs),
        ("http.unix_peers", peers),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigurationError(f"{field}: {twice!r} stands twice", field)
