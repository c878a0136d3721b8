"""Each answer is one of the domain's classes, never a guess (known-failures F26)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grantledger.adapters.upstream import failures
from grantledger.adapters.upstream.http import HttpAnswer, TransportFailure
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.values import FailureClass
from tests.upstream.support import START

F = FailureClass


def _of(status: int, body: object = None, **headers: str) -> UpstreamFailure:
    raw = b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return failures.of_answer(HttpAnswer(status, named, raw), START)


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("invalid_grant", F.INVALID_GRANT),
        ("invalid_client", F.INVALID_CLIENT),
        ("unauthorized_client", F.INVALID_CLIENT),
        ("expired_client", F.EXPIRED_CLIENT),
        ("invalid_scope", F.INVALID_SCOPE),
        ("invalid_target", F.INVALID_TARGET),
        ("unsupported_grant_type", F.UNSUPPORTED),
        ("unsupported_token_type", F.UNSUPPORTED),
        ("temporarily_unavailable", F.TRANSIENT),
        ("slow_down", F.RATE_LIMITED),
        ("server_error", F.AMBIGUOUS),
        ("invalid_request", F.MISCONFIGURED),
        ("something_new", F.MISCONFIGURED),
    ],
)
def test_an_oauth_error_is_taken_at_its_word(code: str, failure: F) -> None:
    """RFC 6749 section 5.2."""
    found = _of(400, {"error": code, "error_description": "why"})
    assert (found.failure, found.error, found.description) == (failure, code, "why")
    assert found.sent
    assert found.status == 400


@pytest.mark.parametrize(
    ("status", "body", "failure", "error"),
    [
        (400, None, F.MISCONFIGURED, "refused_without_error"),
        (400, {"error": ""}, F.MISCONFIGURED, "unreadable_error"),
        (400, {"error": 7}, F.MISCONFIGURED, "refused_without_error"),
        (400, {"error": "<b>"}, F.MISCONFIGURED, "unreadable_error"),
        (401, {"message": ""}, F.INVALID_CLIENT, "unauthorized"),
        (401, {"error": "invalid_client"}, F.INVALID_CLIENT, "invalid_client"),
        (401, {"error": "odd"}, F.INVALID_CLIENT, "odd"),
        (403, None, F.MISCONFIGURED, "refused_without_error"),
        (404, None, F.MISCONFIGURED, "not_found"),
        (405, None, F.MISCONFIGURED, "method_not_allowed"),
        (404, {"error": "invalid_grant"}, F.INVALID_GRANT, "invalid_grant"),
        (408, None, F.AMBIGUOUS, "request_timeout"),
        (425, None, F.TRANSIENT, "too_early"),
        (429, {"message": "Reached maximum delay"}, F.RATE_LIMITED, "rate_limited"),
        (429, {"error": "invalid_grant"}, F.RATE_LIMITED, "invalid_grant"),
        (503, None, F.TRANSIENT, "service_unavailable"),
        (503, {"error": "invalid_grant"}, F.TRANSIENT, "invalid_grant"),
        (500, None, F.AMBIGUOUS, "server_error"),
        (500, {"error": "invalid_grant"}, F.AMBIGUOUS, "invalid_grant"),
        (500, {"error": "temporarily_unavailable"}, F.TRANSIENT, None),
        (502, None, F.AMBIGUOUS, "server_error"),
        (504, None, F.AMBIGUOUS, "server_error"),
        (302, None, F.MISCONFIGURED, "redirected"),
        (307, {"error": "invalid_grant"}, F.MISCONFIGURED, "redirected"),
        (304, None, F.MISCONFIGURED, "redirected"),
        (200, None, F.AMBIGUOUS, "unreadable_answer"),
        (200, {"error": "invalid_grant"}, F.INVALID_GRANT, "invalid_grant"),
        (200, {"error": "odd"}, F.AMBIGUOUS, "unreadable_answer"),
        (204, None, F.AMBIGUOUS, "unreadable_answer"),
        (600, None, F.AMBIGUOUS, "unreadable_answer"),
    ],
)
def test_a_status_without_a_code_has_a_meaning_too(
    status: int, body: object, failure: F, error: str | None
) -> None:
    found = _of(status, body)
    assert found.failure is failure
    assert found.error == (error or "temporarily_unavailable")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("86400", 300.0),
        ("9" * 400, 300.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        (format_datetime(START + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(START - timedelta(seconds=90), usegmt=True), 0.0),
        (format_datetime(START + timedelta(days=9), usegmt=True), 300.0),
        ("Thu, 01 Jan 2026 00:01:00 -0000", 60.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_capped(
    value: str, seconds: float | None
) -> None:
    """RFC 9110 section 10.2.3; the cap is 300 s."""
    for status in (429, 503):
        assert _of(status, retry_after=value).retry_after == seconds
    assert _of(400, retry_after=value).retry_after is None


@pytest.mark.parametrize(
    ("sent", "failure"), [(False, F.TRANSIENT), (True, F.AMBIGUOUS)]
)
def test_a_lost_connection_is_ambiguous_only_after_sending(
    sent: bool,  # noqa: FBT001 - a test's parameter
    failure: F,
) -> None:
    found = failures.of_transport(TransportFailure(sent, "timeout", 200))
    assert (found.failure, found.sent) == (failure, sent)
    assert (found.error, found.status) == ("timeout", 200)


def test_a_server_that_quotes_a_secret_is_not_quoted() -> None:
    secret = "canary secret/+"
    body = {
        "error": "canary",
        "error_description": f"bad {secret}; bad canary%20secret%2F%2B;"
        " bad canary+secret%2F%2B",
    }
    answer = HttpAnswer(400, {}, json.dumps(body).encode())
    found = failures.of_answer(answer, START, (secret, "canary", ""))
    assert "canary" not in repr(found)
    assert found.error == "unreadable_error"


def test_a_description_is_one_bounded_line() -> None:
    found = _of(400, {"error": "x", "error_description": "a\r\nb\x1b[1m" + "c" * 999})
    assert found.description.startswith("a b [1mccc")
    assert len(found.description) == 500
    assert _of(400, {"error": "x", "error_description": 7}).description == ""


@given(
    st.integers(min_value=100, max_value=599),
    st.binary(max_size=200),
    st.text(max_size=50),
)
def test_no_answer_makes_the_classifier_raise(
    status: int, body: bytes, header: str
) -> None:
    answer = HttpAnswer(status, {"retry-after": header}, body)
    found = failures.of_answer(answer, datetime(2026, 1, 1, tzinfo=UTC))
    assert found.sent
    wait = found.retry_after
    assert wait is None or 0 <= wait <= failures.MAX_RETRY_AFTER_SECONDS


@pytest.mark.parametrize("status", [200, 204])
def test_only_the_endpoints_own_yes_confirms_a_revocation(status: int) -> None:
    assert failures.of_revocation(HttpAnswer(status, {}, b""), START) is None


@pytest.mark.parametrize("status", [201, 202, 206, 302, 400, 401, 500, 503])
def test_nothing_else_confirms_a_revocation(status: int) -> None:
    assert failures.of_revocation(HttpAnswer(status, {}, b""), START) is not None
