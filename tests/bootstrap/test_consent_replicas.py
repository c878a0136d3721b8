"""A consent that one replica starts and another finishes."""

from __future__ import annotations

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.devserver import DevServer
from tests.bootstrap.scene import CALLBACK, CALLER, Home, browse


async def test_a_client_registered_by_one_replica_redeems_at_another(
    home: Home,
) -> None:
    """Registered after the other was opened: it takes the client from the ledger."""
    with DevServer() as server:
        home.dynamic(server.issuer)
        async with (
            open_broker(home.settings(), tend=False) as one,
            open_broker(home.settings(), tend=False) as two,
        ):
            start = await one.start_consent("cloud", CALLBACK)
            answer = await browse(start.url)
            grant = await two.finish_consent(CALLER, "cloud", start.session, answer)
            assert grant.state.subject == "alice"
