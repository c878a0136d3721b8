"""Checkpoints to the byte: against other programs' notes, never against our own.

The first two notes are public: the Go `note` package's example, and a tree head of the
Go checksum database, as the C2SP specification shows it. What is written is compared
with OpenSSL's signature under the seed of RFC 8032 section 7.1, test 1.
"""

from __future__ import annotations

import base64

import pytest

from grantledger.adapters.keys.signing import RingSigner, is_signed
from grantledger.projections.checkpoints import (
    MAX_NOTE_BYTES,
    Checkpoint,
    is_name,
    key_id,
    read_note,
    read_verifier_key,
    signed_note,
    verifier_key,
)

GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_LINE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6Ry"
    "yBwJnAM="
)
SUM_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUM_NOTE = (
    "go.sum database tree\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "— sum.golang.org Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1"
    "gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
ORIGIN = "example.com/grants"
ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
OUR_KEY = "example.com/grants+49b272c4+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
OUR_NOTE = (
    "example.com/grants\n"
    "8\n"
    "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"
    "\n"
    "— example.com/grants SbJyxIjW6QIeo7X1+I3rBvQtwADRi02969Ch5n5bGfYqeh4XKMT5Usmd4cAQf"
    "eR9H/6zfw9O6ebt+7j0lCNr32KR1gM=\n"
)


def test_another_programs_key_and_signature_are_understood() -> None:
    name, public = read_verifier_key(GO_KEY)
    assert name == "PeterNeumann"
    blob = base64.b64decode(GO_LINE)
    assert key_id(name, public) == blob[:4]
    assert is_signed(public, GO_TEXT.encode(), blob[4:])
    assert not is_signed(public, GO_TEXT.encode()[:-1], blob[4:])


def test_the_checkpoint_of_a_public_log_is_read_and_its_signature_holds() -> None:
    note = read_note(SUM_NOTE.encode())
    assert note.checkpoint.origin == "go.sum database tree"
    assert note.checkpoint.size == 20_852_163
    assert base64.b64encode(note.checkpoint.root).decode().startswith("CsUYapGG")
    (line,) = note.signatures
    name, public = read_verifier_key(SUM_KEY)
    assert (line.name, line.key_id) == (name, key_id(name, public))
    assert is_signed(public, note.signed, line.signature)
    assert note.checkpoint.text().encode() == note.signed


def test_a_note_is_what_openssl_signs() -> None:
    signer = RingSigner(SEED)
    assert signer.public_key.hex() == PUBLIC
    checkpoint = Checkpoint(ORIGIN, 8, bytes.fromhex(ROOT))
    assert signed_note(checkpoint, signer) == OUR_NOTE
    assert verifier_key(ORIGIN, signer.public_key) == OUR_KEY
    assert read_verifier_key(OUR_KEY) == (ORIGIN, signer.public_key)
    assert read_note(OUR_NOTE.encode()).checkpoint == checkpoint


def test_lines_after_the_root_and_further_signatures_are_kept() -> None:
    """A witness adds its line; a log may add lines to the text."""
    text = "o\n5\n" + base64.b64encode(bytes(32)).decode() + "\nmore\n"
    lines = "".join(f"— {n} {base64.b64encode(bytes(12)).decode()}\n" for n in "ab")
    note = read_note(f"{text}\n{lines}".encode())
    assert note.checkpoint.extensions == ("more",)
    assert note.checkpoint.text() == text
    assert [s.name for s in note.signatures] == ["a", "b"]


def edited(old: str, new: str) -> bytes:
    assert old in OUR_NOTE
    return OUR_NOTE.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("note", "why"),
    [
        (b"", "a text, a blank line"),
        (OUR_NOTE.encode()[:-1], "a text, a blank line"),
        (edited("\n\n", "\n"), "a text, a blank line"),
        (b"\xff" + OUR_NOTE.encode(), "UTF-8"),
        (b"x" * (MAX_NOTE_BYTES + 1), "the limit is"),
        (edited("8\n", "8\r\n"), "control characters"),
        (edited("8\n", "08\n"), "line 2"),
        (edited("8\n", "-8\n"), "line 2"),
        (edited("8\n", "٨\n"), "line 2"),
        (edited("8\n", "9" * 20 + "\n"), "line 2"),
        (edited("Xcna", "cna"), "line 3"),
        (edited("Xcna", "XcnaAAAA"), "line 3"),
        (edited("RgQyg=", "RgQyh="), "line 3"),
        (edited("example.com/grants\n8", "\n8"), "line 1"),
        (edited("RgQyg=\n", "RgQyg=\n\nmore\n"), "extension"),
        (edited("— ", "- "), "signature line"),
        (edited("— ", "— a+b "), "signature line"),
        (edited("SbJy", "!!!!"), "signature line"),
        (edited("SbJyxIjW6QIe", "SbJyxA==\n"), "signature line"),
        (b"o\n\n" + OUR_NOTE.encode().partition(b"\n\n")[2], "line 2"),
    ],
)
def test_what_is_no_checkpoint_is_refused_by_its_line(note: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_note(note)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "example.com/grants",
        OUR_KEY.replace("49b272c4", "49b272c5"),
        OUR_KEY.replace("+Add", "+Bdd"),
        OUR_KEY[:-4],
        OUR_KEY.replace("+Add", "+!dd"),
        OUR_KEY.replace("example.com", "example com"),
        "+" + OUR_KEY.partition("+")[2],
    ],
)
def test_what_is_no_verifier_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="verifier key"):
        read_verifier_key(key)


def test_a_changed_text_is_not_signed() -> None:
    signer = RingSigner(SEED)
    message = b"o\n1\n"
    signature = signer.sign(message)
    assert is_signed(signer.public_key, message, signature)
    assert not is_signed(signer.public_key, message + b"x", signature)
    assert not is_signed(signer.public_key, message, signature[:-1])
    assert not is_signed(b"short", message, signature)


def test_a_name_has_neither_spaces_nor_plus_signs() -> None:
    assert is_name("example.com/grants/0a1b")
    assert not any(map(is_name, ("", "a b", "a+b", "a\nb", "x" * 257, "a\u2028b")))
