"""The audit trail as a table: one name and one type a column, for CSV and Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from grantledger.domain.audit import AuditRow
from grantledger.domain.values import Actor
from grantledger.projections.exports.rows import entry_of, facts_data

Cell: TypeAlias = "str | int | datetime | list[str] | None"
NOBODY = Actor(id="")


class ColumnType(StrEnum):
    """What the cells of a column hold, where they hold anything."""

    TEXT = "text"
    INTEGER = "integer"
    TIME = "time"
    TEXTS = "texts"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `of` gives a row's cell."""

    name: str
    type: ColumnType
    of: Callable[[AuditRow], Cell]


def _by(row: AuditRow) -> Actor:
    return row.actor or NOBODY


def _text(name: str, of: Callable[[AuditRow], str | None]) -> Column:
    return Column(name, ColumnType.TEXT, of)


COLUMNS: tuple[Column, ...] = (
    Column("leaf_index", ColumnType.INTEGER, lambda row: row.at.leaf_index),
    Column("entry", ColumnType.INTEGER, entry_of),
    Column("recorded_at", ColumnType.TIME, lambda row: row.recorded_at),
    Column("occurred_at", ColumnType.TIME, lambda row: row.occurred_at),
    _text("event", lambda row: row.event),
    _text("outcome", lambda row: str(row.outcome)),
    _text("what", lambda row: row.what),
    _text("provider", lambda row: row.provider or None),
    _text("subject", lambda row: row.subject),
    _text("label", lambda row: row.label),
    _text("grant_id", lambda row: None if row.grant_id is None else str(row.grant_id)),
    Column("generation", ColumnType.INTEGER, lambda row: row.generation),
    _text("client_id", lambda row: row.client_id),
    _text("caller", lambda row: row.caller),
    _text("actor", lambda row: _by(row).id or None),
    _text(
        "actor_kind",
        lambda row: None if row.actor_kind is None else str(row.actor_kind),
    ),
    Column("act_chain", ColumnType.TEXTS, lambda row: list(_by(row).act_chain)),
    _text("auth_method", lambda row: _by(row).auth_method),
    _text("peer_ip", lambda row: _by(row).peer_ip),
    _text("forwarded_for", lambda row: _by(row).forwarded_for),
    _text("user_agent", lambda row: _by(row).user_agent),
    _text("correlation_id", lambda row: _by(row).correlation_id),
    _text("traceparent", lambda row: _by(row).traceparent),
    _text("token_kind", lambda row: None if row.mark is None else str(row.mark.kind)),
    _text(
        "token_fingerprint",
        lambda row: None if row.mark is None else row.mark.fingerprint,
    ),
    _text(
        "parent_fingerprint",
        lambda row: None if row.parent is None else row.parent.fingerprint,
    ),
    _text("jti", lambda row: row.jti),
    Column("scopes", ColumnType.TEXTS, lambda row: list(row.scopes)),
    _text("audience", lambda row: row.audience),
    Column("expires_at", ColumnType.TIME, lambda row: row.expires_at),
    _text("reason", lambda row: row.reason),
    _text("detail", lambda row: row.detail),
    _text("request_id", lambda row: row.request_id),
    _text("event_id", lambda row: str(row.event_id)),
    _text("stream", lambda row: str(row.stream)),
    Column("stream_seq", ColumnType.INTEGER, lambda row: row.stream_seq),
    _text("node", lambda row: row.node),
    _text("build", lambda row: row.build),
    _text("policy", lambda row: row.policy),
    _text("facts", lambda row: json.dumps(facts_data(row.facts))),
)
