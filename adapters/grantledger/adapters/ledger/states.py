"""A grant's whole state as bytes, to be sealed into its row.

The first byte is the version of the form. A newer program may add fields; an older
one that is still running then refuses the row instead of dropping them when it
writes the next version. A new form therefore gets a new number, and a migration
that makes the rows anew from their events.
"""

from __future__ import annotations

import msgspec

from grantledger.domain.errors import IntegrityError, NewerSchema
from grantledger.domain.grant_state import GrantState
from grantledger.domain.values import Secret

STATE_VERSION = 1


def reveal(value: object) -> str:
    """Return a secret's text, for what is about to be sealed."""
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} is not stored")


def secret_of(kind: type, value: object) -> object:
    """Return the secret of this kind, from what was sealed."""
    if issubclass(kind, Secret) and isinstance(value, str):
        return kind(value)
    raise TypeError(f"{kind.__name__} is not stored")


_ENCODER = msgspec.json.Encoder(enc_hook=reveal)
_CLEAR = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(GrantState, dec_hook=secret_of)
_FORM = bytes((STATE_VERSION,))


def encode_state(state: GrantState) -> bytes:
    """Return a grant's whole state, secrets included: to be sealed."""
    return _FORM + _ENCODER.encode(state)


def encode_erased(state: GrantState) -> bytes:
    """Return the state of an erased grant, to be stored in the clear.

    Raises:
        TypeError: it holds a secret after all.
    """
    if state.obligations or state.subject:
        raise TypeError(f"grant {state.grant_id} is not erased")
    return _FORM + _CLEAR.encode(state)


def decode_state(data: bytes) -> GrantState:
    """Return the state that `encode_state` wrote.

    Raises:
        NewerSchema: a newer version of this program wrote it.
        IntegrityError: it does not parse.
    """
    form = data[:1]
    if form > _FORM:
        raise NewerSchema(
            f"a grant's state has form {form[0]}; "
            f"this program knows up to {STATE_VERSION}"
        )
    if form != _FORM:
        raise IntegrityError("a grant's state has no known form")
    try:
        return _DECODER.decode(memoryview(data)[1:])
    except msgspec.DecodeError as cause:
        raise IntegrityError(f"a grant's state does not parse: {cause}") from None
    except UnicodeDecodeError:
        # `from None`: the cause holds what it read.
        raise IntegrityError("a grant's state is no UTF-8") from None
