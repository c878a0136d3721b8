"""What commands say of a grant: without tokens, with fingerprints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from grantledger.adapters.cli import output
from grantledger.adapters.http.shown import (
    grant_data,
    hand_out_data,
    obligation_data,
    obligation_word,
)
from grantledger.domain.erasing import ErasureReceipt
from grantledger.domain.grant_state import GrantState, HeldAccessToken, Obligation
from grantledger.domain.requests import RevocationReceipt
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ERASED_TEXT, GrantStatus

__all__ = ["grant_data", "hand_out_data", "obligation_data"]

STYLES = {
    GrantStatus.ACTIVE: "green",
    GrantStatus.REFRESHING: "cyan",
    GrantStatus.REAUTHORIZATION_REQUIRED: "yellow",
    GrantStatus.REVOKED: "red",
    GrantStatus.ERASED: "red",
}


def erasure_view(receipt: ErasureReceipt, remaining: Sequence[str]) -> RenderableType:
    """Return what is known after an erasure, for people."""
    erasure = receipt.erasure
    freed = (
        "freed"
        if receipt.freed
        else "destroyed in the ledger; the disk's copy is not freed yet"
    )
    backups = (
        f"made before, they open it until {output.utc(erasure.backups_until)}"
        if erasure.backups_until
        else "made before, they open it as long as they and the key ring are kept"
    )
    archives = (
        f"they hold it until {output.utc(erasure.archives_until)}"
        if erasure.archives_until
        else "they hold it as long as they are kept"
    )
    rows: list[tuple[str, RenderableType]] = [
        ("grant", Text(f"{erasure.grant_id}: erased", style="red")),
        ("receipt", erasure.receipt),
        ("destroyed", f"its data key and {receipt.parts} sealed parts; {freed}"),
        ("backups", backups),
        ("archived logs", archives),
        *(("remains", what) for what in remaining),
        *_owed_rows(receipt.abandoned),
    ]
    rows += [
        (
            "handed out",
            f"to {line.caller}, until {output.utc(line.expires_at)}",
        )
        for line in receipt.live
    ]
    return output.facts(rows)


def grant_view(grant: UserGrant) -> RenderableType:
    """Return a grant for people."""
    state = grant.state
    rows: list[tuple[str, RenderableType]] = [
        ("grant", grant_name(state)),
        ("status", _status(state)),
        ("id", f"{state.grant_id}, version {grant.version}"),
        ("scopes", " ".join(state.provisioning.scopes) or "not known"),
        ("consent", _consent(state)),
    ]
    if state.refresh is not None:
        until = output.utc(state.refresh.expires_at, "no end is known")
        mark = output.short(state.refresh.fingerprint)
        rows.append(("refresh", f"R:{mark}, until {until}"))
    rows += [("access", _access(token)) for token in state.access_tokens]
    if state.intent is not None:
        lease = output.utc(state.intent.lease_expires_at)
        rows.append(("under way", f"by {state.intent.node}, leased until {lease}"))
    if state.ambiguity is not None:
        rows.append(("ambiguous", "the refresh token was sent, no answer came"))
    if state.retry_at is not None:
        rows.append(
            ("waiting", f"{state.failures} failures; {output.utc(state.retry_at)}")
        )
    rows += _owed_rows(state.obligations)
    return output.facts(rows)


def receipt_view(receipt: RevocationReceipt) -> RenderableType:
    """Return what is known after a revocation, for people."""
    state = receipt.grant
    words = "had ended before" if receipt.already else "ended here, effective now"
    rows: list[tuple[str, RenderableType]] = [
        ("grant", f"{state.subject} at {state.provider}, label {state.label}"),
        ("status", Text(f"{state.status}: {words}", style=STYLES[state.status])),
        *_owed_rows(receipt.obligations),
    ]
    if not receipt.live:
        rows.append(("handed out", "nothing that has not expired"))
        return output.facts(rows)
    table = output.table("caller", "tokens until", "times", "scopes")
    for line in receipt.live:
        table.add_row(
            Text(line.caller),
            output.utc(line.expires_at),
            str(line.count),
            Text(" ".join(line.scopes)),
        )
    title = "handed out before, and not expired by its own time:"
    return Group(output.facts(rows), Text(f"\n {title}"), table)


def grant_name(state: GrantState) -> str:
    """Return whose grant it is, as far as anybody knows."""
    if state.status is GrantStatus.ERASED:
        return f"{ERASED_TEXT} at {state.provider}"
    return f"{state.subject} at {state.provider}, label {state.label}"


def _consent(state: GrantState) -> str:
    said = state.provisioning
    at = output.utc(said.provisioned_at)
    return f"generation {state.generation}, {said.flow}, {at}"


def _access(token: HeldAccessToken) -> str:
    until = output.utc(token.expires_at)
    mark = output.short(token.fingerprint)
    return f"A:{mark}, until {until}: {' '.join(token.scopes)}"


def _owed_rows(
    obligations: Sequence[Obligation],
) -> list[tuple[str, RenderableType]]:
    return [("at server", _owed(o)) for o in obligations]


def _owed(obligation: Obligation) -> Text:
    letter = obligation.kind[0].upper()
    text = Text(f"{letter}:{output.short(obligation.fingerprint)} ")
    word = obligation_word(obligation)
    if word == "confirmed":
        return text.append("confirmed dead", style="green")
    if word == "open":
        text.append("not confirmed yet", style="yellow")
        text.append(f"; {obligation.attempts} tries, next ")
        text.append(output.utc(obligation.next_try_at))
    else:
        text.append(f"not revoked there: {obligation.abandoned}", style="yellow")
    seconds = obligation.residual_exposure_seconds
    if seconds is None:
        return text.append("; how long it may live is not known")
    return text.append(f"; it may live {seconds:.0f} s more" if seconds > 0 else "")


def _status(state: GrantState) -> Text:
    reason = f": {state.reauthorization}" if state.reauthorization else ""
    if state.revoked_at is not None and state.status is GrantStatus.REVOKED:
        reason = f" since {output.utc(state.revoked_at)}"
    return Text(f"{state.status}{reason}", style=STYLES[state.status])
