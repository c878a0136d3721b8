"""Length-prefixed framing: the one way in which parts become one byte string.

Joining strings lets `a:b` + `c` equal `a` + `b:c`; a frame cannot be read in two
ways. It leaves to others what the parts are.
"""

from __future__ import annotations

PREFIX_BYTES = 4
"""Every part is preceded by its length in bytes, unsigned and big-endian."""


def framed(*parts: bytes) -> bytes:
    """Return the parts as one byte string that no other parts give."""
    return b"".join([len(part).to_bytes(PREFIX_BYTES, "big") + part for part in parts])


def first_part(data: bytes) -> tuple[bytes, bytes] | None:
    """Return the first framed part and the bytes after it.

    None when `data` is too short for the length that it claims.
    """
    end = PREFIX_BYTES + int.from_bytes(data[:PREFIX_BYTES], "big")
    if len(data) < max(end, PREFIX_BYTES):
        return None
    return data[PREFIX_BYTES:end], data[end:]
