"""Cosignatures and witness requests, against the specifications' own examples."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.keys.signing import RingSigner, is_signed
from grantledger.projections.checkpoints import (
    Checkpoint,
    read_note,
    read_signatures,
    signed_note,
)
from grantledger.projections.cosigning import (
    AddCheckpoint,
    Cosigner,
    cosignatures,
    cosigned,
    read_request,
)

# C2SP tlog-witness, the example of a request.
REQUEST = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5\
/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
SIGNER = RingSigner(SEED)
WITNESS = Cosigner("witness.example.com/w1", SIGNER.public_key)
LOG = RingSigner(bytes(32))
CHECKPOINT = Checkpoint("example.com/grants", 8, bytes(32))
NOTE = signed_note(CHECKPOINT, LOG)
TEXT = CHECKPOINT.text().encode()
TIME = 1_679_315_147


def found_in(lines: str, *cosigners: Cosigner) -> list[tuple[str, int]]:
    signatures = read_signatures(lines)
    return [
        (each.cosigner.name, each.time)
        for each in cosignatures(TEXT, signatures, cosigners, is_signed)
    ]


def test_the_specifications_request_is_read_and_written() -> None:
    request = read_request(REQUEST.encode())
    assert request.old == 20_852_014
    assert len(request.proof) == 4
    assert request.signed().checkpoint.size == 20_852_163
    assert request.body() == REQUEST.encode()


def test_a_first_request_has_no_proof() -> None:
    assert AddCheckpoint(0, (), NOTE).body() == b"old 0\n\n" + NOTE.encode()
    assert read_request(b"old 0\n\n" + NOTE.encode()) == AddCheckpoint(0, (), NOTE)


def test_a_cosignature_is_over_the_specifications_message() -> None:
    line = cosigned(WITNESS.name, TEXT, TIME, SIGNER)
    (signature,) = read_signatures(line)
    assert signature.key_id == WITNESS.id
    assert signature.signature[:8] == TIME.to_bytes(8, "big")
    message = b"cosignature/v1\ntime 1679315147\n" + TEXT
    assert is_signed(SIGNER.public_key, message, signature.signature[8:])
    assert found_in(line, WITNESS) == [(WITNESS.name, TIME)]


def test_a_witness_key_is_of_type_4_and_a_logs_key_is_none() -> None:
    assert Cosigner.read(WITNESS.key) == WITNESS
    assert base64.b64decode(WITNESS.key.split("+", 2)[2])[0] == 4
    ours = "example.com/grants+49b272c4+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
    with pytest.raises(ValueError, match="verifier key"):
        Cosigner.read(ours)


def test_a_cosigned_note_is_still_the_same_checkpoint() -> None:
    note = read_note((NOTE + cosigned(WITNESS.name, TEXT, TIME, SIGNER)).encode())
    assert note.checkpoint == CHECKPOINT
    assert [each.name for each in note.signatures] == [CHECKPOINT.origin, WITNESS.name]


@pytest.mark.parametrize(
    "line",
    [
        cosigned("witness.example.com/w2", TEXT, TIME, SIGNER),
        cosigned(WITNESS.name, TEXT, TIME, LOG),
        cosigned(WITNESS.name, TEXT + b"more\n", TIME, SIGNER),
        cosigned(WITNESS.name, TEXT, 1 << 63, SIGNER),
        signed_note(Checkpoint(WITNESS.name, 8, bytes(32)), SIGNER).rpartition("\n\n")[
            2
        ],
    ],
    ids=["another name", "another key", "another text", "no time", "no cosignature"],
)
def test_what_a_known_witness_did_not_sign_is_passed_over(line: str) -> None:
    good = cosigned(WITNESS.name, TEXT, TIME, SIGNER)
    assert found_in(line + good + good, WITNESS) == [(WITNESS.name, TIME)]
    assert found_in(line, WITNESS) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "begins with"),
        (b"old 1\n" + NOTE.encode(), "begins with|line 2"),
        (b"old 01\n\n" + NOTE.encode(), "begins with"),
        (b"old -1\n\n" + NOTE.encode(), "begins with"),
        (b"old 1\nAAAA\n\n" + NOTE.encode(), "line 2"),
        (b"\xff", "UTF-8"),
        (b"old 9\n" + b"A" * 43 + b"=\n" + (b"A" * 43 + b"=\n") * 63 + b"\n", "63"),
    ],
)
def test_what_is_no_request_is_refused_by_its_line(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_request(body)


@given(st.binary(max_size=200))
def test_a_request_of_anybody_is_read_or_refused(body: bytes) -> None:
    try:
        request = read_request(body)
    except ValueError:
        return
    assert request.body() == body
