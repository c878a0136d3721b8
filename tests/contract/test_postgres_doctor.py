"""`grantledger doctor` over a ledger in PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from grantledger.adapters.cli.doctor.examining import examine
from grantledger.adapters.cli.doctor.findings import Finding, Level
from tests.contract.stores import PostgresStore
from tests.support.pg_scene import pg_scene


async def bad(config: Path) -> dict[str, Finding]:
    found = await examine(config)
    return {one.check: one for one in found if one.level is not Level.OK}


async def test_all_is_well_until_the_schema_is_another(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    with pg_scene(tmp_path, postgres) as scene:
        async with scene.open():
            pass
        config = scene.home.write()
        for path in (config, tmp_path / "cloud.secret"):
            path.chmod(0o600)
        assert await bad(config) == {}
        scene.home.url = "postgresql://u:canary@127.0.0.1:9/x"  # type: ignore[attr-defined] # a PgHome
        config = scene.home.write()
        gone = await bad(config)
        assert gone["ledger"].error == "unavailable"
        assert "canary" not in str(gone)
