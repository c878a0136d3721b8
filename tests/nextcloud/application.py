"""An application as it was written for the earlier broker; one import has changed.

It is configured by its environment alone and prints what it saw as JSON. The
consent is faked: its refresh token comes on standard input.
"""

import asyncio
import json
import os
import sys

from grantledger.nextcloud import RefreshTokenStorage, TokenBrokerService


async def main(refresh_token: str) -> dict[str, object]:
    storage = RefreshTokenStorage.from_env()
    await storage.initialize()
    broker = TokenBrokerService(
        storage=storage,
        oidc_discovery_url=os.environ["OIDC_DISCOVERY_URL"],
        nextcloud_host=os.environ["NEXTCLOUD_HOST"],
        client_id=os.environ["NEXTCLOUD_OIDC_CLIENT_ID"],
        client_secret=os.environ["NEXTCLOUD_OIDC_CLIENT_SECRET"],
        cache_ttl=300,
        cache_early_refresh=30,
    )
    seen: dict[str, object] = {"users_at_start": await storage.get_all_user_ids()}
    if refresh_token:
        seen["before_consent"] = await broker.get_background_token(
            "alice", ["files.read"]
        )
        await storage.store_refresh_token(
            user_id="alice",
            refresh_token=refresh_token,
            flow_type="flow2",
            token_audience="nextcloud",
            provisioning_client_id="desktop",
            scopes=["openid", "profile", "email", "files.read", "offline_access"],
        )
    # A scanner per user, workers per document.
    for user_id in await storage.get_all_user_ids():
        tokens = await asyncio.gather(
            *(broker.get_background_token(user_id, ["files.read"]) for _ in range(3))
        )
        seen["tokens"] = len(set(tokens))
        seen["token"] = tokens[0]
    seen["rotated"] = await broker.refresh_master_token("alice")
    seen["after_rotation"] = await broker.get_background_token("alice", ["files.read"])
    stored = await storage.get_refresh_token("alice")
    assert stored is not None
    seen["keys"] = sorted(stored)
    seen["flow_type"] = stored["flow_type"]
    seen["provisioned"] = await broker.has_nextcloud_provisioning("alice")
    seen["cleaned_up"] = await storage.cleanup_expired_tokens()
    seen["revoked"] = await broker.revoke_nextcloud_access("alice")
    seen["after_revocation"] = await broker.get_background_token(
        "alice", ["files.read"]
    )
    seen["deleted"] = await storage.delete_refresh_token("alice")
    logs = await storage.get_audit_logs(user_id="alice", limit=100)
    seen["events"] = [entry["event"] for entry in reversed(logs)]
    await broker.close()
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.stdin.read().strip()))))
