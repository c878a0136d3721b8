"""What may not be read or written is said so, file or directory, and left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger.scene import Scene
from tests.ledger.unprivileged import NOBODY

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that the child may enter: pytest's own are closed to it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def _as_nobody(scene: Scene) -> str:
    if os.getuid() == 0:
        os.chown(scene.path.parent, NOBODY, NOBODY)
        for path in scene.path.parent.iterdir():
            os.chown(path, NOBODY, NOBODY)
    done = subprocess.run(
        [sys.executable, "-m", "tests.ledger.unprivileged", str(scene.path)],
        cwd=ROOT,
        input=scene.ring.reveal(),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "said"),
    [
        (0o600, 0o755, "committed"),
        (0o444, 0o755, "LedgerReadOnly: {path} cannot be written by this user"),
        (0o600, 0o555, "LedgerReadOnly: {folder} cannot be written by this user"),
        (0o000, 0o755, "LedgerReadOnly: cannot open {path}: Permission denied"),
        (0o600, 0o600, "LedgerReadOnly: cannot open {path}: Permission denied"),
    ],
    ids=["all well", "file", "folder", "unreadable", "unsearchable"],
)
def test_the_error_names_what_may_not_be_written(
    folder: Path, file_mode: int, folder_mode: int, said: str
) -> None:
    scene = Scene(folder / "ledger.db").make()
    scene.open_once()
    before = scene.files()
    scene.path.chmod(file_mode)
    folder.chmod(folder_mode)
    came = _as_nobody(scene)
    folder.chmod(0o755)
    scene.path.chmod(0o600)
    assert came == said.format(path=scene.path, folder=folder)
    assert (scene.files() == before) is (came != "committed")
