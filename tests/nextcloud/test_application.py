"""An application written for the earlier broker, with its import line changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from grantledger.adapters.devserver import Profile
from tests.nextcloud.conftest import Start
from tests.nextcloud.scene import Scene, earlier_database

EVERYWHERE = pytest.mark.parametrize(
    ("profile", "store"),
    [("A", "sqlite"), ("B", "sqlite"), ("B", "postgres")],
    indirect=["store"],
)
APPLICATION = Path(__file__).with_name("application.py")


def run(scene: Scene, refresh_token: str, **environ: str) -> dict[str, Any]:
    """Run the application with nothing but its environment."""
    done = subprocess.run(
        [sys.executable, str(APPLICATION)],
        input=refresh_token,
        env={**os.environ, **scene.environ, **environ},
        cwd=scene.directory,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@EVERYWHERE
def test_the_application_runs_with_its_environment_alone(
    start: Start, profile: Profile
) -> None:
    scene = start(profile)
    seen = run(scene, scene.refresh_token())
    events = seen.pop("events")
    first, second = seen.pop("token"), seen.pop("after_rotation")
    assert seen == {
        "users_at_start": [],
        "before_consent": None,
        "tokens": 1,
        "rotated": True,
        "keys": [
            "expires_at",
            "flow_type",
            "provisioned_at",
            "refresh_token",
            "scopes",
            "token_audience",
        ],
        "flow_type": "flow2",
        "provisioned": True,
        "cleaned_up": 0,
        "revoked": True,
        "after_revocation": None,
        "deleted": False,
    }
    assert first != second
    assert scene.redemptions == 2
    assert not scene.server.state.live_access_tokens or profile == "A"
    assert events[0] == "provisioned"
    assert {"rotated", "exchanged", "handed_out", "revoked", "denied"} <= set(events)


@EVERYWHERE
def test_the_earlier_users_are_there_at_the_first_start(
    start: Start, profile: Profile
) -> None:
    """The database is where the earlier broker left it, and stays as it is."""
    scene = start(profile)
    key = Fernet.generate_key()
    earlier_database(
        scene.database, key, {"alice": scene.refresh_token()}, {"flow_type": "flow2"}
    )
    before = scene.database.read_bytes()
    seen = run(scene, "", TOKEN_ENCRYPTION_KEY=key.decode())
    assert seen["users_at_start"] == ["alice"]
    assert seen["flow_type"] == "flow2"
    assert seen["rotated"] is True
    assert scene.database.read_bytes() == before
    made = "taken-over" if "DATABASE_URL" in scene.environ else "ledger"
    assert (scene.directory / f"tokens.db.{made}").is_file()
