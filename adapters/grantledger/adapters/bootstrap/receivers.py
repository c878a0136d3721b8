"""The receivers of security events that the settings name."""

from __future__ import annotations

from collections.abc import Mapping

from grantledger.adapters.settings import ReceiverSettings, Settings
from grantledger.adapters.upstream.announcements import EventReceiver, SetSigner
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.trust import trust_of
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.ports import Clock

SECTION = "announcements"


class Receivers:
    """Who is told of revocations; leave it with `aclose`.

    Attributes:
        signer: of the tokens, None where nobody is told.
        by_name: every receiver; its acknowledgements are recorded as of
            `receiver:name`.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Read the settings.

        Raises:
            ConfigurationError: the key or a file is wrong; names the setting.
        """
        said = settings.file.announcements
        self.signer: SetSigner | None = None
        self.by_name: Mapping[str, EventReceiver] = {}
        self._connections: list[BoundedHttp] = []
        if not said.receivers:
            return
        pem = settings.secret(said.key_file, said.key_env, f"{SECTION}.key")
        if pem is None or said.issuer is None:
            missing = "issuer" if said.issuer is None else "key_file"
            raise ConfigurationError(
                f"{SECTION}.{missing} is missing: receivers have to know who tells",
                f"{SECTION}.{missing}",
            )
        try:
            self.signer = SetSigner(pem, said.issuer, clock)
        except ConfigurationError as cause:
            field = f"{SECTION}.{cause.field}"
            raise ConfigurationError(f"{field}: {cause}", field) from None
        issuers = {name: p.issuer for name, p in settings.file.providers.items()}
        made = [
            self._made(number, one, self.signer, issuers, settings)
            for number, one in enumerate(said.receivers)
        ]
        self.by_name = {one.name: one for one in made}

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            await connection.aclose()

    def _made(
        self,
        number: int,
        said: ReceiverSettings,
        signer: SetSigner,
        issuers: Mapping[str, str],
        settings: Settings,
    ) -> EventReceiver:
        at = f"{SECTION}.receivers[{number}]"
        http: BoundedHttp | None = None
        if said.url is not None:
            http = BoundedHttp(
                ssl_context=trust_of(said.ca_file, f"{at}.ca_file", settings.path)
            )
            self._connections.append(http)
        return EventReceiver(
            name=f"receiver:{said.name}",
            audience=said.audience,
            providers=frozenset(said.providers),
            issuers=issuers,
            signer=signer,
            url=said.url,
            http=http,
            secret=settings.secret(said.secret_file, said.secret_env, f"{at}.secret"),
            caller=said.caller,
        )
