"""What each error means to a shell: its exit code, and what to do about it.

The only table of exit codes; docs/callers.md shows it to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grantledger.domain import errors

OK = 0
UNEXPECTED = 1
"""A mistake of this program, or a demo that did not keep its promise."""
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error is to whoever typed the command."""

    exit_code: int
    advice: str


_CONSENT = "the user has to consent: grantledger connect"
_MEND = "mend the request; it fails the same way again"
_OPERATOR = "an operator has to mend this at the provider or in the settings"
_LATER = "nothing is lost; try again"
_RESTORE = "restore the key ring that this ledger was written with"

MEANINGS: Mapping[type[errors.GrantledgerError], Meaning] = {
    errors.NotProvisioned: Meaning(10, _CONSENT),
    errors.ReauthorizationRequired: Meaning(11, _CONSENT),
    errors.GrantRevoked: Meaning(12, _CONSENT),
    errors.Denied: Meaning(13, "the policy in the settings decides: ask its operator"),
    errors.LegalHoldInForce: Meaning(
        14, "see `grantledger hold list`; releasing it is for who set it to decide"
    ),
    errors.InvalidRequest: Meaning(20, _MEND),
    errors.InvalidScope: Meaning(21, _MEND),
    errors.InvalidTarget: Meaning(22, _MEND),
    errors.InvalidSubjectToken: Meaning(23, "present a session token that is live"),
    errors.UpstreamRejected: Meaning(30, _OPERATOR),
    errors.ClientExpired: Meaning(31, "connect anew: that registers a new client"),
    errors.Unsupported: Meaning(32, "this server has no such thing"),
    errors.Unavailable: Meaning(40, _LATER),
    errors.RateLimited: Meaning(41, _LATER),
    errors.OutcomeUnknown: Meaning(42, _LATER),
    errors.StillOwed: Meaning(
        43, "try again, let `settle` ask its server, or erase with --abandon"
    ),
    errors.LedgerError: Meaning(50, "check ledger.url in the settings"),
    errors.WrongKey: Meaning(51, _RESTORE),
    errors.IntegrityError: Meaning(52, "stop, keep the file, and look at a backup"),
    errors.NewerSchema: Meaning(53, "use the newer version of this program"),
    errors.NotALedger: Meaning(54, "check ledger.url in the settings"),
    errors.LedgerReadOnly: Meaning(55, "check owner, mode and free space"),
    errors.LedgerClosed: Meaning(56, "use the ledger that it names"),
    errors.LedgerRestored: Meaning(57, "see `grantledger continue --help`"),
    errors.KeyInUse: Meaning(58, "`grantledger keys rewrap` frees what it can"),
    errors.ConfigurationError: Meaning(60, "mend the settings or the option"),
}


def meaning_of(error: errors.GrantledgerError) -> Meaning:
    """Return what the error means, by its nearest known ancestor."""
    for kind in type(error).__mro__:
        if kind in MEANINGS:
            return MEANINGS[kind]
    return Meaning(UNEXPECTED, "")
