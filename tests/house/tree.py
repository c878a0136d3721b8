"""The project's own files, from git or, in an exported archive, from the disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

_MADE_HERE = {"__pycache__", "build", "dist", "node_modules"}


def _from_git() -> list[Path]:
    """Return what git tracks or would add, nothing without a repository."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"],  # noqa: S607 - git by PATH, as a person would
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return [ROOT / name for name in done.stdout.split("\0") if name]


def _is_source(relative: Path) -> bool:
    folders = relative.parts[:-1]
    hidden = any(part.startswith(".") and part != ".ci" for part in folders)
    made = any(part in _MADE_HERE or part.endswith(".egg-info") for part in folders)
    return not hidden and not made and not relative.name.startswith(".coverage")


def _from_disk() -> list[Path]:
    return [path for path in ROOT.rglob("*") if _is_source(path.relative_to(ROOT))]


def project_files(suffix: str = "") -> list[Path]:
    """Return the project's files whose name ends in `suffix`, sorted."""
    found = {path for path in _from_git() or _from_disk() if path.is_file()}
    return sorted(path for path in found if path.name.endswith(suffix))


def name(path: Path) -> str:
    """Return `path` as it is called inside the project."""
    return path.relative_to(ROOT).as_posix()
