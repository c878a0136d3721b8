"""The deployment files are what their schemas and hardening ask for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # ships no types
import pytest

from tests.deploy import files
from tests.house.tree import ROOT

KUBERNETES_VERSIONS = ("1.30", "1.34")
EXPOSURE = 15
"""Of 100, as `systemd-analyze security` counts; a unit without hardening has 96."""


def test_the_compose_file_keeps_to_its_specification() -> None:
    subprocess.run(
        [
            Path(sys.executable).with_name("check-jsonschema"),
            "--builtin-schema",
            "vendor.compose-spec",
            files.COMPOSE,
        ],
        check=True,
    )


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("manifest", files.manifests(), ids=lambda m: m["kind"])
def test_each_manifest_keeps_to_its_schema(
    manifest: dict[str, Any], version: str
) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_that_is_wrong_is_found_out() -> None:
    broken = files.manifests()[2]
    broken["spec"]["template"]["spec"]["containers"][0]["imagePullPolicies"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES_VERSIONS[-1], strict=True)


def unit(tmp_path: Path) -> Path:
    """Return a copy whose program is where this test's is."""
    text = files.UNIT.read_text()
    ours = str(Path(sys.executable).with_name("grantledger"))
    text = re.sub(r"(?<=ExecStart=)\S+", ours.replace("\\", "\\\\"), text)
    copy = tmp_path / "grantledger.service"
    copy.write_text(text)
    return copy


def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is missing (Debian's package systemd)")
    return found


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    said = subprocess.run(
        [systemd_analyze(), "verify", "--man=no", unit(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    mine = [line for line in said.stderr.splitlines() if "grantledger.service" in line]
    assert (said.returncode, mine) == (0, [])


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    subprocess.run(
        [
            systemd_analyze(),
            "security",
            "--offline=true",
            f"--threshold={EXPOSURE}",
            unit(tmp_path),
        ],
        check=True,
        capture_output=True,
    )


def test_the_image_runs_as_nobody_special() -> None:
    last = files.stages()[-1]
    users = [one.said for one in last if one.name == "USER"]
    assert users
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", users[-1])
    assert [one.name for one in last].index("USER") < len(last) - 1
    spoken = " ".join(one.said for stage in files.stages() for one in stage)
    assert re.search(r"(?i)secret|password|token", spoken) is None


def test_the_image_holds_the_pins_and_the_project_alone() -> None:
    build, last = files.stages()
    installs = [i.said for i in build if i.name == "RUN" and " install " in i.said]
    assert [line.partition(" install ")[2] for line in installs] == [
        "-q -r requirements/run.txt",
        "-q --no-deps .",
    ]
    copied = [i.said.split()[:-1] for i in build if i.name == "COPY"]
    sources = {name for names in copied for name in names}
    assert all((ROOT / name).exists() for name in sources)
    let_in = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert sources == let_in
    assert [i.said.split()[0] for i in last if i.name == "COPY"] == ["--from=build"]


@pytest.mark.parametrize("name", ["broker-1", "broker-2"])
def test_a_replica_may_write_where_its_state_is_and_nowhere_else(name: str) -> None:
    service = files.compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert [v.split(":")[1] for v in service["volumes"]] == ["/var/lib/grantledger"]


def test_a_pod_may_write_where_its_state_is_and_nowhere_else() -> None:
    said = files.container()
    assert said["securityContext"]["readOnlyRootFilesystem"] is True
    assert said["securityContext"]["allowPrivilegeEscalation"] is False
    assert said["securityContext"]["capabilities"]["drop"] == ["ALL"]
    writable = {m["mountPath"] for m in said["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/var/lib/grantledger", "/tmp"}  # noqa: S108 - in the pod
    paths = [said[f"{p}Probe"]["httpGet"]["path"] for p in ("liveness", "readiness")]
    assert paths == ["/healthz", "/readyz"]
