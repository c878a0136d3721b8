"""The verifier needs `cryptography` and nothing else of this project or of others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from tests.house.tree import ROOT
from tests.verify.scene import Written

# What `cryptography` itself brings: its C parts, for those it was built with.
NEEDED = ("cryptography", "cffi", "_cffi_backend", "pycparser")
PACKAGE = Path("grantledger/projections/verify")


def alone(folder: Path) -> Path:
    """Make a folder in which the verifier and `cryptography` are all there is."""
    shutil.copytree(ROOT / "projections" / PACKAGE, folder / PACKAGE)
    source = Path(str(distribution("cryptography").locate_file("")))
    for name in NEEDED:
        for found in source.glob(f"{name}*"):
            if not found.name.endswith(".dist-info"):
                (folder / found.name).symlink_to(found)
    return folder


def test_it_runs_where_only_cryptography_can_be_imported(
    written: Written, tmp_path: Path
) -> None:
    folder = alone(tmp_path / "alone")
    code = (
        "import sys\n"
        f"sys.path.append({str(folder)!r})\n"
        "from grantledger.projections.verify.command import main\n"
        "code = main(sys.argv[1:])\n"
        "ours = [n for n in sys.modules if n.startswith('grantledger.')]\n"
        "assert all(n.startswith('grantledger.projections') for n in ours), ours\n"
        "sys.exit(code)\n"
    )
    asked = [*("ledger", str(written.path), "--json"), *("--key", written.key)]
    done = subprocess.run(
        # -I -S: no site packages, no environment.
        [sys.executable, "-I", "-S", "-c", code, *asked, "--older", str(written.older)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"]


def test_nothing_that_it_imports_is_the_brokers() -> None:
    for path in (ROOT / "projections" / PACKAGE).glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("import grantledger", "from grantledger")):
                assert line.startswith("from grantledger.projections.verify"), path
