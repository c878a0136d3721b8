"""A skip is visible at home and a failure on CI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.house.tree import ROOT


def test_a_skip_fails_on_ci(tmp_path: Path) -> None:
    """Else a machine without PostgreSQL would pass by testing nothing."""
    rules = (ROOT / "tests/conftest.py").read_text("utf-8")
    (tmp_path / "conftest.py").write_text(rules, "utf-8")
    (tmp_path / "test_one.py").write_text(
        "import pytest\n\n\ndef test_it():\n    pytest.skip('no database here')\n",
        "utf-8",
    )
    (tmp_path / "test_all.py").write_text(
        "import pytest\n\npytest.importorskip('no_such_module')\n", "utf-8"
    )

    def run(ci: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors"],
            cwd=tmp_path,
            env={"CI": ci},
            check=False,
            capture_output=True,
            text=True,
        )

    assert "2 skipped" in run("").stdout
    on_ci = run("true").stdout
    assert "1 failed, 1 error" in on_ci
    assert "no database here" in on_ci
    assert "no_such_module" in on_ci
