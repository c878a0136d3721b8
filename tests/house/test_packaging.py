"""What is shipped, what it needs, and under which licences."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.tree import ROOT, name, project_files

ROOTS = ("domain", "projections", "adapters")
# `LGPL` does not match: the L before it is part of the word.
COPYLEFT = re.compile(r"\bA?GPL|(?<!Lesser )General Public License", re.IGNORECASE)
PIN = re.compile(r"[a-z0-9.-]+==[\w.!+]+( ; .+)?")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names inside a wheel built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("grantledger-*.whl")
    return zipfile.ZipFile(path).namelist()


def test_the_wheel_holds_the_namespace_and_nothing_beside_it(wheel: list[str]) -> None:
    top = {path.split("/")[0] for path in wheel}
    assert {n for n in top if not n.endswith(".dist-info")} == {"grantledger"}
    assert "grantledger/__init__.py" not in wheel


@pytest.mark.parametrize("root", ROOTS)
def test_the_wheel_ships_each_root_whole_and_typed(root: str, wheel: list[str]) -> None:
    shipped = {path for path in wheel if path.startswith(f"grantledger/{root}/")}
    prefix = f"{root}/grantledger/{root}/"
    files = {name(path) for path in project_files() if name(path).startswith(prefix)}
    assert shipped == {path.removeprefix(f"{root}/") for path in files}
    assert f"grantledger/{root}/py.typed" in shipped


def test_the_wheel_carries_its_licence(wheel: list[str]) -> None:
    assert any(path.endswith("/licenses/LICENSE") for path in wheel)


def test_each_command_leads_somewhere() -> None:
    scripts = metadata.entry_points(group="console_scripts")
    ours = [s for s in scripts if s.dist and s.dist.name == "grantledger"]
    assert ours
    for script in ours:
        assert callable(script.load())


@pytest.mark.parametrize("pins", ["run", "bench", "test", "lint"])
def test_pins_are_versions_without_addresses(pins: str) -> None:
    lines = (ROOT / f"requirements/{pins}.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def _pinned(pins: str) -> set[str]:
    lines = (ROOT / f"requirements/{pins}.txt").read_text("utf-8").splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines}


def test_the_pins_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    wanted: dict[str, list[str]] = {
        "run": project["project"]["dependencies"],
        "bench": project["project"]["dependencies"]
        + project["project"]["optional-dependencies"]["bench"],
        "test": project["project"]["dependencies"] + groups["test"],
        "lint": [need for need in groups["lint"] if isinstance(need, str)],
    }
    for pins, needs in wanted.items():
        names = {canonicalize_name(Requirement(need).name) for need in needs}
        assert names - _pinned(pins) == set(), f"run requirements/renew for {pins}"


def _runtime_distributions() -> list[metadata.Distribution]:
    """Return every installed distribution that the package leads to."""
    todo = [Requirement("grantledger")]
    seen: dict[tuple[str, frozenset[str]], metadata.Distribution] = {}
    while todo:
        need = todo.pop()
        key = (canonicalize_name(need.name), frozenset(need.extras))
        if key in seen:
            continue
        seen[key] = metadata.distribution(need.name)
        for text in seen[key].requires or ():
            child = Requirement(text)
            for extra in {"", *need.extras}:
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    todo.append(child)
                    break
    return list({dist.name: dist for dist in seen.values()}.values())


def _licence(dist: metadata.Distribution) -> str:
    fields = dist.metadata
    named = [fields[key] for key in ("License-Expression", "License") if key in fields]
    kinds = [c for c in fields.get_all("Classifier", []) if c.startswith("License")]
    # Where the field holds the whole text, its first line names the licence.
    return "; ".join([text.strip().split("\n")[0] for text in named] + kinds)


def test_no_dependency_forbids_use_in_closed_programs() -> None:
    dists = _runtime_distributions()
    licences = {dist.name: _licence(dist) for dist in dists}
    assert len(licences) > 10
    assert {n for n, text in licences.items() if not text} == set()
    assert {n: text for n, text in licences.items() if COPYLEFT.search(text)} == {}


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("AGPL-3.0-only", True),
        ("GPLv3", True),
        ("GNU General Public License v3", True),
        ("GNU Affero General Public License", True),
        ("LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3", False),
        ("MIT", False),
    ],
)
def test_a_strong_copyleft_licence_is_recognised(text: str, *, refused: bool) -> None:
    assert bool(COPYLEFT.search(text)) == refused
