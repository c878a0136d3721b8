"""The refusal of whoever proves to be nobody known."""

from __future__ import annotations


class NotAuthenticatedError(Exception):
    """Nobody known calls; `error` is the word for the challenge (RFC 6750 3.1)."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error
