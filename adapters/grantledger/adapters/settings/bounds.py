"""Of what the settings' fields are made, with their bounds."""

from __future__ import annotations

from typing import Annotated

import msgspec

from grantledger.domain.policy import Role
from grantledger.domain.values import MAX_NAME_LENGTH, MAX_SUBJECT_LENGTH

MAX_TEXT_LENGTH = 2048
MAX_LISTED = 1000
MAX_UID = 2**32 - 2

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_LENGTH)]
CallerName = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]+$", max_length=MAX_NAME_LENGTH)
]
SecretHash = Annotated[
    str, msgspec.Meta(pattern=r"^\$argon2id\$[!-~]+$", max_length=512)
]
Texts = Annotated[list[Text], msgspec.Meta(max_length=MAX_LISTED)]
Subjects = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SUBJECT_LENGTH)]],
    msgspec.Meta(max_length=MAX_LISTED),
]

Roles = Annotated[list[Role], msgspec.Meta(min_length=1, max_length=len(Role))]
