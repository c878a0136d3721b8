"""Who types the command: the operating system's user, as an administrator."""

from __future__ import annotations

import os
import pwd

from grantledger.domain.errors import InvalidRequest
from grantledger.domain.requests import Caller
from grantledger.domain.values import MAX_NAME_LENGTH, ActorKind


def local_caller() -> Caller:
    """Return `cli:<os user>`, by the process's user id rather than a variable."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Caller(id=f"cli:{name}", kind=ActorKind.ADMIN, auth_method="os_user")


def caller_named(name: str | None) -> Caller:
    """Return a service's identity, with the operator who lends it; or the operator's.

    Raises:
        InvalidRequest: the name is out of bounds.
    """
    operator = local_caller()
    if name is None:
        return operator
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidRequest(
            f"caller has {len(name)} characters; the limit is 1 to {MAX_NAME_LENGTH}, "
            "all of them printable",
            "caller",
        )
    return Caller(id=name, act_chain=(operator.id,), auth_method="os_user")
