"""Who is calling: client authentication, one function per profile.

Source: RFC 6749 section 2.3; Nextcloud OIDC 2.0.9 and 2.5.1.
"""

from __future__ import annotations

from http import HTTPStatus

from grantledger.adapters.devserver.errors import OAuthError
from grantledger.adapters.devserver.forms import Call
from grantledger.adapters.devserver.records import AuthMethod, Client
from grantledger.adapters.devserver.state import DevState

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="oidc"'}


def authenticate(state: DevState, call: Call) -> Client:
    """Return the client that sent `call`, by the method it is registered with.

    Raises:
        OAuthError: `invalid_client` (401 and a challenge when Basic was used, else
            400; counted for throttling), `invalid_request` for two methods at once,
            `expired_client` for one that is known but expired.

    Source: Nextcloud OIDC 2.5.1.
    """
    method, client_id, secret = _credentials(call)
    client = state.clients.get(client_id)
    if client is None:
        raise _refused(state, call, "Client not found.")
    if client.auth_method != method or not client.knows(secret):
        raise _refused(state, call, "Client authentication failed.")
    return _unexpired(state, client)


def authenticate_owner(state: DevState, call: Call, client_id: str) -> Client:
    """Return the client `client_id`, which owns the presented token, if it called.

    Profile A finds the token first and then compares the credentials, by either
    method, with the token's client.

    Raises:
        OAuthError: `invalid_client` or `expired_client`, always 400.

    Source: Nextcloud OIDC 2.0.9.
    """
    client = state.clients.get(client_id)
    if client is None:
        raise OAuthError("invalid_client", "Client not found.")
    presented = call.basic or (call.get("client_id"), call.get("client_secret"))
    if presented[0] != client.client_id or not client.knows(presented[1]):
        raise OAuthError("invalid_client", "Client authentication failed.")
    return _unexpired(state, client)


def authenticate_any(state: DevState, call: Call) -> Client:
    """Return the client that sent `call`, by whichever secret method.

    Raises:
        OAuthError: `invalid_client`, always 401 (RFC 7662 section 2.3).
    """
    client_id, secret = call.basic or (call.get("client_id"), call.get("client_secret"))
    client = state.clients.get(client_id or "")
    if client is None or client.client_secret is None or not client.knows(secret):
        raise OAuthError(
            "invalid_client",
            "Client authentication failed.",
            HTTPStatus.UNAUTHORIZED,
            _CHALLENGE,
        )
    return client


def _credentials(call: Call) -> tuple[AuthMethod, str, str | None]:
    client_id, secret = call.get("client_id"), call.get("client_secret")
    if call.basic is not None:
        if secret is not None or client_id not in {None, call.basic[0]}:
            raise OAuthError("invalid_request", "More than one authentication method.")
        return "client_secret_basic", call.basic[0], call.basic[1]
    if secret is not None:
        return "client_secret_post", client_id or "", secret
    return "none", client_id or "", None


def _refused(state: DevState, call: Call, description: str) -> OAuthError:
    state.note_client_failure(call.source)
    if call.basic is None:
        return OAuthError("invalid_client", description)
    status = HTTPStatus.UNAUTHORIZED
    return OAuthError("invalid_client", description, status, _CHALLENGE)


def _unexpired(state: DevState, client: Client) -> Client:
    if state.is_expired(client):
        raise OAuthError("expired_client", "Client expired.")
    return client
