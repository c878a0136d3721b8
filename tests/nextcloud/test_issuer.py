"""The issuer follows from where its metadata stands, and from nothing else."""

from __future__ import annotations

import pytest

from grantledger.adapters.nextcloud.issuer import Whereabouts, whereabouts
from grantledger.domain.errors import ConfigurationError, Unavailable, UpstreamRejected
from tests.nextcloud.scene import Scene
from tests.support.fault_proxy import FaultProxy

WELL_KNOWN = "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("discovery_url", "issuer"),
    [
        (f"https://h{WELL_KNOWN}", "https://h"),
        (f"https://h:8443{WELL_KNOWN}", "https://h:8443"),
        (f"https://h/realms/x{WELL_KNOWN}", "https://h/realms/x"),
        (f"https://h{WELL_KNOWN}/realms/x", "https://h/realms/x"),
        ("https://h/.well-known/oauth-authorization-server", "https://h"),
        ("https://h/.well-known/oauth-authorization-server/t", "https://h/t"),
        ("https://h/apps/oidc/openid-configuration", "https://h"),
        ("https://h/index.php/apps/oidc/openid-configuration", "https://h"),
        ("https://h/cloud/index.php/apps/oidc/openid-configuration", "https://h/cloud"),
        (f"http://127.0.0.1:81{WELL_KNOWN}", "http://127.0.0.1:81"),
        (f"http://localhost{WELL_KNOWN}", "http://localhost"),
    ],
)
def test_the_issuer_follows_from_a_well_known_place(
    discovery_url: str, issuer: str
) -> None:
    assert whereabouts(discovery_url, None) == Whereabouts(issuer, discovery_url, None)


@pytest.mark.parametrize(
    ("discovery_url", "public", "issuer", "internal"),
    [
        (f"http://app:80{WELL_KNOWN}", "https://h", "https://h", "http://app:80"),
        (f"http://app{WELL_KNOWN}", "https://h/", "https://h", "http://app"),
        (f"https://h{WELL_KNOWN}", "https://h", "https://h", None),
        (f"https://h:443{WELL_KNOWN}", "https://h", "https://h", None),
        (
            f"http://kc:8080/realms/x{WELL_KNOWN}",
            "https://id.example",
            "https://id.example/realms/x",
            "http://kc:8080",
        ),
        (
            f"http://kc:8080/auth/realms/x{WELL_KNOWN}",
            "https://id.example/realms/x",
            "https://id.example/realms/x",
            "http://kc:8080",
        ),
        ("http://app/metadata.json", "https://h", "https://h", "http://app"),
    ],
)
def test_a_public_issuer_makes_the_other_host_the_inner_one(
    discovery_url: str, public: str, issuer: str, internal: str | None
) -> None:
    found = whereabouts(discovery_url, public)
    assert (found.issuer, found.internal_base_url) == (issuer, internal)


@pytest.mark.parametrize(
    ("discovery_url", "public", "field"),
    [
        ("https://h/metadata.json", None, "NEXTCLOUD_PUBLIC_ISSUER_URL"),
        (f"http://app{WELL_KNOWN}", None, "OIDC_DISCOVERY_URL"),
        (f"ftp://h{WELL_KNOWN}", None, "OIDC_DISCOVERY_URL"),
        (f"https://user:pass@h{WELL_KNOWN}", None, "OIDC_DISCOVERY_URL"),
        (f"http://app{WELL_KNOWN}", "http://public", "NEXTCLOUD_PUBLIC_ISSUER_URL"),
        (f"https://h{WELL_KNOWN}", "https://h/x?y", "NEXTCLOUD_PUBLIC_ISSUER_URL"),
        (f"https://h{WELL_KNOWN}", "h", "NEXTCLOUD_PUBLIC_ISSUER_URL"),
    ],
)
def test_what_is_not_safe_to_follow_is_refused_by_name(
    discovery_url: str, public: str | None, field: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        whereabouts(discovery_url, public)
    assert refused.value.field == field
    assert "pass" not in str(refused.value)


async def test_every_server_side_request_goes_to_the_inner_host(scene: Scene) -> None:
    """Discovery, keys, refresh, exchange and revocation (row 11, F18)."""
    with FaultProxy(scene.server.issuer) as inner:
        scene.environ["NEXTCLOUD_PUBLIC_ISSUER_URL"] = scene.server.issuer
        scene.environ["OIDC_DISCOVERY_URL"] = (
            f"{inner.url}/.well-known/openid-configuration"
        )
        storage = scene.storage()
        await storage.initialize()
        service = scene.service_from_environment(storage)
        await storage.store_refresh_token(
            "alice", scene.refresh_token(), scopes=["openid", "profile"]
        )
        assert await service.get_background_token("alice", ["openid"])
        # Its `iss` is the public name: the user's browser knows no other.
        session = scene.server.issue_session_token("alice", scene.client.client_id)
        assert await service.get_session_token(session, ["openid"])
        assert await service.revoke_nextcloud_access("alice")
        await service.close()
        seen = {request.path.rsplit("/", 1)[-1] for request in inner.requests}
        assert seen == {"openid-configuration", "jwks", "token", "revoke"}
        asked = [r for r in inner.requests if r.path.endswith(("/token", "/revoke"))]
        assert len(asked) >= len(scene.server.state.token_requests) + 1
        assert all("client_secret" in request.form for request in asked)


@pytest.mark.parametrize("public_name", ["127.0.0.1", "localhost"])
async def test_the_two_names_of_one_server_are_told_apart(
    scene: Scene, public_name: str
) -> None:
    inner_name = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}[public_name]
    port = scene.server.port
    scene.environ["NEXTCLOUD_PUBLIC_ISSUER_URL"] = f"http://{public_name}:{port}"
    scene.environ["OIDC_DISCOVERY_URL"] = f"http://{inner_name}:{port}{WELL_KNOWN}"
    storage = scene.storage()
    service = scene.service_from_environment(storage)
    await storage.store_refresh_token("alice", scene.refresh_token())
    assert scene.alive(await service.get_background_token("alice", ["openid"]))
    await service.close()


async def test_metadata_of_another_issuer_is_not_believed(scene: Scene) -> None:
    """What the answer says of itself never decides (F24)."""
    scene.environ["NEXTCLOUD_PUBLIC_ISSUER_URL"] = f"{scene.server.issuer}/other"
    storage = scene.storage()
    service = scene.service_from_environment(storage)
    await storage.store_refresh_token("alice", scene.refresh_token())
    with pytest.raises((UpstreamRejected, Unavailable)):
        await service.get_background_token("alice", ["openid"])
    assert scene.redemptions == 0
    await service.close()
