"""Consent over real sockets: the server that runs, a browser, and its cookies."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import httpx
import uvicorn

from grantledger.adapters.http.serving import server_config
from tests.http.browsing import Browser, consents


async def test_a_user_consents_looks_and_ends_it_over_a_socket(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        public = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            consents(tmp_path, http=f'public_url = "{public}"', public=public) as there,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            app = there.apps[0].app
            said = there.service.settings.file.http
            server = uvicorn.Server(server_config(app, said))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            browser = Browser(there, client)
            try:
                page = await browser.connect()
                assert page.status_code == 200, page.text
                assert (await browser.session()).json()["status"] == "active"
                beside = await client.get(f"{public}/connect/cloud%2Fcallback")
                assert "no provider of this name" in beside.text
                ended = await browser.post("/connect/cloud/alice/revoke")
                assert ended.json()["status"] == "revoked"
            finally:
                server.should_exit = True
                await serving
