"""The deployment files, read as what runs them would read them."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from tests.house.tree import ROOT

DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes.yaml"
UNIT = DEPLOY / "grantledger.service"


@dataclass(frozen=True)
class Instruction:
    """One of a Dockerfile; `said` is what follows its name."""

    name: str
    said: str

    @property
    def words(self) -> list[str]:
        """The words of an exec form."""
        words: list[str] = json.loads(self.said[self.said.index("[") :])
        return words


def stages() -> list[list[Instruction]]:
    found: list[list[Instruction]] = []
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, said = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, said.strip()))
    return found


def compose() -> dict[str, Any]:
    said: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return said


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(KUBERNETES.read_text()))


def container() -> dict[str, Any]:
    found = next(m for m in manifests() if m["kind"] == "StatefulSet")
    said: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return said


def commands() -> dict[str, list[str]]:
    """Return every command line of ours that the files have run, by where it stands."""
    last = {one.name: one for one in stages()[-1]}
    found = {
        "Dockerfile": last["CMD"].words,
        "Dockerfile, health": last["HEALTHCHECK"].words,
        "Kubernetes": container()["args"],
    }
    for name, service in compose()["services"].items():
        if name.startswith("broker"):
            found[f"compose, {name}"] = service["command"]
            found[f"compose, {name}, health"] = service["healthcheck"]["test"][1:]
    for line in UNIT.read_text().splitlines():
        if line.startswith("ExecStart="):
            found["systemd"] = shlex.split(line.partition("=")[2])[1:]
    return found
