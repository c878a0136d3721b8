"""What every endpoint works with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.http.identity import Authenticator
from grantledger.adapters.http.streams import Streams
from grantledger.adapters.http.transmitting import Transmitter
from grantledger.adapters.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """An open broker, who calls it, and the settings of both.

    Attributes:
        opened: stays open as long as the service runs.
        who: tells who calls.
        transmitters: who may send security events, by name.
        streams: counts answers that take long.
        draining: set when the service stops: answers without an end do then.
    """

    opened: OpenBroker
    who: Authenticator
    settings: Settings
    transmitters: Mapping[str, Transmitter] = field(
        default_factory=dict[str, Transmitter]
    )
    streams: Streams = field(default_factory=Streams)
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def body_limit(self) -> int:
        """Bytes of a request's body at most."""
        return self.settings.file.http.max_body_bytes
