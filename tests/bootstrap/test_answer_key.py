"""Which key sealed an answer on disk, while brokers bring answers home."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from grantledger.adapters.bootstrap.rekeying import answer_key
from grantledger.adapters.keys.ring import KeyRing, KeyUse


def test_an_answer_names_its_key_and_one_that_is_gone_names_none(
    tmp_path: Path,
) -> None:
    """`keys list` and `keys retire` do not fail for one brought home meanwhile."""
    ring = KeyRing.generate(os.urandom, datetime.now(UTC))
    answer = tmp_path / "answer"
    answer.write_bytes(ring.seal_spool(b"x", b""))
    assert answer_key(answer) == ring.active_id(KeyUse.SPOOL)
    answer.unlink()
    assert answer_key(answer) is None
    assert answer_key(tmp_path) is None
