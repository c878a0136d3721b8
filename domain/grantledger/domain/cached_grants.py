"""Grants kept in memory: so many, and so many bytes; who was least lately asked goes.

Correctness never needs them: each is proven against the ledger at every use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from uuid import UUID

from grantledger.domain.grant_state import GrantState
from grantledger.domain.held_tokens import View
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey, Secret

GRANT_BYTES = 2_000
"""Of a grant with what was picked from it, without its tokens."""

HELD_BYTES = 500
"""Of a token that is held, without its characters."""


class CachedGrants:
    """By key, within both bounds; used by one thread.

    Args:
        most: grants at most.
        most_bytes: about so many; a grant that is larger alone is not kept.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._views: OrderedDict[GrantKey, View] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._views)

    def get(self, key: GrantKey) -> View | None:
        """Return what is kept of a grant."""
        view = self._views.get(key)
        if view is not None:
            self._views.move_to_end(key)
        return view

    def keep(self, key: GrantKey, grant: UserGrant) -> View:
        """Keep a grant in this state from now on; return it."""
        self.drop(key)
        view = View(grant, weight_of(grant.state))
        if view.weight <= self._most_bytes:
            self._views[key] = view
            self.bytes += view.weight
            while len(self._views) > self._most or self.bytes > self._most_bytes:
                self.drop(next(iter(self._views)))
        return view

    def drop(self, key: GrantKey) -> None:
        """Keep nothing of a grant."""
        view = self._views.pop(key, None)
        if view is not None:
            self.bytes -= view.weight

    def drop_grants(self, grants: Collection[UUID]) -> None:
        """Keep nothing of these."""
        if grants:
            for key in [k for k, v in self._views.items() if v.grant.id in grants]:
                self.drop(key)


def weight_of(state: GrantState) -> int:
    """Return about how many bytes of memory a grant takes in this state."""
    tokens: list[Secret | str | None] = [
        *(one.token for one in (*state.access_tokens, *state.late_access)),
        *(one.token for one in state.siblings),
        *(one.token for one in state.obligations),
    ]
    if state.refresh is not None:
        tokens.append(state.refresh.token)
    said = sum(len(name) + len(value) for name, value in state.provisioning.metadata)
    return GRANT_BYTES + said + sum(HELD_BYTES + _length(one) for one in tokens)


def _length(token: Secret | str | None) -> int:
    if token is None:
        return 0
    return len(token.reveal() if isinstance(token, Secret) else token)
