"""Secrets on their way in: from standard input, never from an argument."""

from __future__ import annotations

import getpass
import sys

from grantledger.domain.errors import InvalidRequest

MAX_BYTES = 64 * 1024


def read_secret(what: str, field: str) -> str:
    """Return a secret from standard input, asked for without an echo on a terminal.

    Args:
        what: what a person is asked for.
        field: its name in errors.

    Raises:
        InvalidRequest: it is empty, too long, or holds what no token holds.
    """
    if sys.stdin.isatty():
        text = getpass.getpass(f"{what}: ")
    else:
        raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise InvalidRequest(
                f"{field} is longer than {MAX_BYTES} bytes on standard input", field
            )
        text = raw.decode("utf-8", "replace")
    text = text.strip()
    if not text:
        raise InvalidRequest(f"{field} is empty: give it on standard input", field)
    # RFC 6749 appendix A: VSCHAR. Neither two lines nor a password prompt's rest.
    if not all("!" <= c <= "~" for c in text):
        raise InvalidRequest(
            f"{field} on standard input has a space, a line break or a character "
            "outside ASCII (RFC 6749 appendix A)",
            field,
        )
    return text
