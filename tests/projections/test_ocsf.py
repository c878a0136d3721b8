"""The audit trail as OCSF 1.8.0, validated offline."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings

from grantledger.domain.audit import AuditOutcome, AuditRow
from grantledger.domain.values import ReauthorizationReason
from grantledger.projections.exports.ocsf import ocsf_event
from grantledger.projections.exports.ocsf_classes import KINDS
from tests.projections.audit_some import BY, EVENTS, NEW, OLD, bare, row, rows

# Without types of their own.
jsonschema: Any = import_module("jsonschema")
ocsf: Any = import_module("ocsf_json_schema")
SCHEMAS = ocsf.OcsfJsonSchemaEmbedded(ocsf.get_ocsf_schema(version="1.8.0"))
VALIDATORS: dict[int, Any] = {}
TABLE = {
    "Provisioned": 300401,
    "Rotated": 300403,
    "Exchanged": 600301,
    "HandedOut": 600301,
    "Denied": 600301,
    "Revoked": 300404,
    "RedemptionFailed": 300403,
    "RedemptionIntended": 300403,
    "ReauthorizationRequired": 300403,
    "LateAnswerKept": 300403,
    "AccessTokenEnded": 300403,
    "UpstreamRevocationConfirmed": 300404,
    "UpstreamRevocationFailed": 300404,
    "UpstreamRevocationAbandoned": 300404,
    "Erased": 300404,
    "Withheld": 600301,
    "DenialsSuppressed": 600301,
    "ExchangeIntended": 600301,
    "ExchangeFailed": 600301,
    "GivenBack": 600304,
    "AuditAccessed": 600302,
}
OTHER = 600399


def validated(one: AuditRow) -> dict[str, Any]:
    """Return the event as JSON says it; it is one of its class."""
    said: dict[str, Any] = json.loads(json.dumps(ocsf_event(one)))
    assert said["type_uid"] == said["class_uid"] * 100 + said["activity_id"]
    uid = said["class_uid"]
    if uid not in VALIDATORS:
        name = SCHEMAS.lookup_class_name_from_uid(class_uid=uid)
        schema = SCHEMAS.get_class_schema(
            class_name=name, profiles=["security_control"]
        )
        VALIDATORS[uid] = jsonschema.Draft202012Validator(schema)
    VALIDATORS[uid].validate(said)
    return said


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_one_of_its_class(event: str) -> None:
    """The package does not compare type_uid with class and activity: the table does."""
    for outcome in AuditOutcome:
        assert validated(row(event, outcome=outcome))["type_uid"] == TABLE.get(
            event, OTHER
        )
    assert validated(bare(event))["type_uid"] == TABLE.get(event, OTHER)


def test_every_kind_that_is_told_apart_is_in_the_table() -> None:
    assert set(KINDS) == set(TABLE)
    assert set(KINDS) <= set(EVENTS)


@given(rows)
@settings(max_examples=30, deadline=None)
def test_whatever_a_row_says_its_event_is_valid(one: AuditRow) -> None:
    validated(one)


def test_an_event_without_its_class_is_none() -> None:
    validated(row())
    said = ocsf_event(row())
    del said["api"]
    assert not VALIDATORS[6003].is_valid(said)


def test_what_all_events_have_in_common() -> None:
    said = validated(row("Provisioned"))
    assert said["metadata"] == {
        "version": "1.8.0",
        "product": {
            "name": "grantledger",
            "vendor_name": "grantledger",
            "version": "0.1.0",
        },
        "uid": "00000000-0000-0000-0000-000000000007:0",
        "sequence": 7,
        "event_code": "Provisioned",
        "logged_time": 1772373721000,
        "correlation_uid": "r-1",
        "tenant_uid": "cloud",
    }
    assert said["time"] == 1772373720123
    assert said["src_endpoint"] == {"ip": BY.peer_ip}
    assert said["actor"]["user"] == {"uid": BY.id, "type_id": 99}
    assert said["entity"] == {
        "type_id": 99,
        "type": "OAuth Grant",
        "uid": "00000000-0000-0000-0000-000000000009",
        "data": {"generation": 2},
    }


def test_a_denial_is_blocked() -> None:
    said = validated(row("Denied", outcome=AuditOutcome.DENIED))
    assert (said["status_id"], said["status_code"]) == (2, "no_rule")
    assert (said["action_id"], said["disposition_id"]) == (2, 2)
    assert said["metadata"]["profiles"] == ["security_control"]
    assert said["api"]["operation"] == "token_exchange"
    assert said["resources"] == [{"name": "https://notes.example", "type": "audience"}]


def test_a_reuse_is_a_finding_with_its_evidence() -> None:
    reason = ReauthorizationReason.REUSE_SUSPECTED
    failed = AuditOutcome.FAILED
    said = validated(row("ReauthorizationRequired", reason=reason, outcome=failed))
    assert (said["type_uid"], said["severity_id"]) == (200401, 4)
    assert said["evidences"][0]["data"]["token_fingerprint"] == NEW


def test_a_revocation_says_why() -> None:
    assert validated(row("Revoked", reason="operator"))["comment"] == "operator because"


def test_an_outcome_that_nobody_knows_is_no_failure() -> None:
    said = validated(row("RedemptionFailed", outcome=AuditOutcome.UNKNOWN))
    assert (said["status_id"], said["status"]) == (0, "Unknown")


@pytest.mark.parametrize("event", EVENTS)
def test_fingerprints_stand_where_the_mapping_has_them_alone(event: str) -> None:
    said = ocsf_event(row(event, outcome=AuditOutcome.FAILED))
    text = json.dumps(said)
    if event == "Rotated":
        entity: Any = said["entity"]
        assert entity["data"] == {
            "generation": 2,
            "new_fingerprint": NEW,
            "old_fingerprint": OLD,
        }
        assert (text.count(NEW), text.count(OLD)) == (1, 1)
    else:
        assert "hmac-sha256:" not in text
