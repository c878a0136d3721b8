"""Every error that a caller of the broker can meet, one branch per decision.

The tree::

    GrantledgerError
      NotProvisioned             consent needed
      ReauthorizationRequired    consent needed again, with the reason
        GrantRevoked             ended on purpose; consent starts a new generation
      Denied                     policy said no
      LegalHoldInForce           not destroyed while a legal hold covers it
      InvalidRequest             the request itself is wrong: names field and limit
        InvalidScope             a scope beyond the grant, or not granted upstream
        InvalidTarget            an audience or resource that the provider lacks
        InvalidSubjectToken      a session token that does not verify
      UpstreamRejected           an operator must act: invalid_client, redirects, ...
        ClientExpired            the registered client itself has expired
        Unsupported              the server has no such endpoint or grant type
      Unavailable                retry after `retry_after` seconds
        RateLimited              this caller, or the server, is over its rate
        OutcomeUnknown           sent, and nobody knows what became of it
        StillOwed                not erased while its server is owed revocations
      LedgerError                the store cannot be used as it is
        KeyInUse                 a key is not retired while something needs or uses it
        WrongKey                 the key ring does not open this ledger
        IntegrityError           what is stored does not prove itself
        NewerSchema              written by a newer version of this program
        NotALedger               a file of another program
        LedgerReadOnly           the file or its directory cannot be written
        LedgerClosed             it takes no more writes, such as after a move
        LedgerRestored           it is older than, or not, the log that was known
      ConfigurationError         settings are wrong: names the field

The domain knows no HTTP status and no exit code; the edges map these types.
Messages carry ids and limits, never a token.
"""

from __future__ import annotations

from grantledger.domain.values import ReauthorizationReason


class GrantledgerError(Exception):
    """Base of the tree; `code` is the stable machine-readable name of the branch.

    Attributes:
        recorded: the ledger holds this refusal already.
    """

    code = "error"
    recorded = False


class NotProvisioned(GrantledgerError):
    """No consent is stored for this user at this provider."""

    code = "not_provisioned"


class ReauthorizationRequired(GrantledgerError):
    """The grant cannot be used any more; only the user's consent mends it.

    Attributes:
        reason: why, as recorded in the grant's history.
    """

    code = "reauthorization_required"

    def __init__(self, message: str, reason: ReauthorizationReason | None) -> None:
        super().__init__(message)
        self.reason = reason


class GrantRevoked(ReauthorizationRequired):
    """The grant was revoked or erased; nothing is handed out from it."""

    code = "revoked"


class Denied(GrantledgerError):
    """Policy refuses this caller; `reason` is the rule's own word."""

    code = "denied"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class LegalHoldInForce(GrantledgerError):
    """A legal hold covers what was to be destroyed; the message names the hold."""

    code = "legal_hold"


class InvalidRequest(GrantledgerError):
    """The request is wrong in itself; `field` names the part.

    Attributes:
        missing: what the field names is not there, such as a provider.
    """

    code = "invalid_request"
    missing = False

    def __init__(self, message: str, field: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.missing = missing


class InvalidScope(InvalidRequest):
    """A scope that was never granted, or that the server did not grant now."""

    code = "invalid_scope"

    def __init__(self, message: str, field: str = "scopes") -> None:
        super().__init__(message, field)


class InvalidTarget(InvalidRequest):
    """An audience or resource that this provider does not have (RFC 8707 section 2)."""

    code = "invalid_target"

    def __init__(self, message: str, field: str = "audience") -> None:
        super().__init__(message, field)


class InvalidSubjectToken(InvalidRequest):
    """A presented session token that does not verify (RFC 8693 section 2.2.2)."""

    code = "invalid_grant"

    def __init__(self, message: str, field: str = "subject_token") -> None:
        super().__init__(message, field)


class UpstreamRejected(GrantledgerError):
    """The authorization server refuses, and only an operator can change that.

    Attributes:
        error: our name for the refusal, such as `invalid_client`.
    """

    code = "upstream_rejected"

    def __init__(self, message: str, error: str) -> None:
        super().__init__(message)
        self.error = error


class ClientExpired(UpstreamRejected):
    """The dynamically registered client has expired (RFC 7591 section 3.2.1)."""

    code = "client_expired"

    def __init__(self, message: str, error: str = "expired_client") -> None:
        super().__init__(message, error)


class Unsupported(UpstreamRejected):
    """The server does not offer what was asked for."""

    code = "unsupported"

    def __init__(self, message: str, error: str = "unsupported") -> None:
        super().__init__(message, error)


class Unavailable(GrantledgerError):
    """Nothing is wrong with the grant; try again in `retry_after` seconds."""

    code = "unavailable"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(Unavailable):
    """Over a rate: the caller's own at the broker, or the broker's at the server."""

    code = "rate_limited"


class OutcomeUnknown(Unavailable):
    """The refresh token was sent and no answer came; the provider's rule decides."""

    code = "outcome_unknown"


class StillOwed(Unavailable):
    """The server is owed revocations that erasing would make impossible."""

    code = "still_owed"


class LedgerError(GrantledgerError):
    """The store cannot be used as it is; nothing was changed."""

    code = "ledger_error"


class WrongKey(LedgerError):
    """The key ring lacks the key that this ledger was written with."""

    code = "wrong_key"


class KeyInUse(LedgerError):
    """Something stored needs an older key, or somebody uses it; the message says."""

    code = "key_in_use"


class IntegrityError(LedgerError):
    """What is stored contradicts its own hash, code or neighbours."""

    code = "integrity"


class NewerSchema(LedgerError):
    """The ledger was written by a newer version of this program."""

    code = "newer_schema"


class NotALedger(LedgerError):
    """The file exists and is no ledger."""

    code = "not_a_ledger"


class LedgerReadOnly(LedgerError):
    """The file, or the directory it stands in, cannot be written."""

    code = "read_only"


class LedgerClosed(LedgerError):
    """The ledger takes no more writes: its log goes on elsewhere."""

    code = "ledger_closed"


class LedgerRestored(LedgerError):
    """The log is not the one that was last seen: it is older, or another.

    Nothing is handed out, sent or signed until an operator has continued it.
    """

    code = "ledger_restored"


class ConfigurationError(GrantledgerError):
    """A setting is missing or wrong; `field` names it."""

    code = "configuration"

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field
