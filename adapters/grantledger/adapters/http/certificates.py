"""A client's certificate as a trusted proxy brings it: RFC 9440 section 2.

The proxy ends TLS and verifies; here it is read whose certificate it was. It counts
from a trusted proxy alone, which has to set or remove the header in every request.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Literal
from urllib.parse import unquote_to_bytes

from cryptography import x509

from grantledger.adapters.http.unauthenticated import NotAuthenticatedError
from grantledger.adapters.settings.proxied import CERT
from grantledger.adapters.settings.shape_http import HttpCertificateSettings
from grantledger.domain.errors import InvalidRequest

MAX_CERTIFICATE_BYTES = 16 * 1024
EMPTY = frozenset({"", "::"})
_PEM_BEGINS = b"-----BEGIN CERTIFICATE-----"


class Certificates:
    """Callers by certificate."""

    def __init__(
        self,
        said: Sequence[HttpCertificateSettings],
        form: Literal["rfc9440", "pem"],
    ) -> None:
        self._form = form
        self._prints: dict[str, str] = {}
        self._uris: dict[str, str] = {}
        self._names: dict[str, str] = {}
        for one in said:
            caller = f"{CERT}:{one.id}"
            if one.sha256 is not None:
                self._prints[one.sha256.lower()] = caller
            elif one.uri is not None:
                self._uris[one.uri] = caller
            elif one.dns is not None:
                self._names[one.dns] = caller

    def caller_id(self, text: str, field: str, now: datetime) -> str | None:
        """Return whose certificate it is, None where it is nobody's known.

        Args:
            text: the header's value.
            field: its name, for the refusal.
            now: aware UTC.

        Raises:
            InvalidRequest: it is no certificate in the form that was agreed on.
            NotAuthenticatedError: it is not valid now, or is of several callers.
        """
        try:
            der, certificate = self._read(text)
            names = _names(certificate)
        except (ValueError, binascii.Error):
            raise InvalidRequest(f"{field} holds no certificate", field) from None
        found = {self._prints.get(sha256(der).hexdigest())}
        if names is not None:
            uris = names.get_values_for_type(x509.UniformResourceIdentifier)
            found.update(self._uris.get(uri) for uri in uris)
            dns = names.get_values_for_type(x509.DNSName)
            found.update(self._names.get(name) for name in dns)
        found.discard(None)
        if not found:
            return None
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if len(found) > 1 or not begins <= now <= ends:
            raise NotAuthenticatedError("invalid_certificate")
        return found.pop()

    def _read(self, text: str) -> tuple[bytes, x509.Certificate]:
        if self._form == "pem":
            pem = unquote_to_bytes(text)
            if len(pem) > MAX_CERTIFICATE_BYTES or pem.count(_PEM_BEGINS) != 1:
                raise ValueError
            certificate = x509.load_pem_x509_certificate(pem)
            der = base64.b64decode(b"".join(pem.split(b"-----")[2].split()))
            return der, certificate
        if len(text) < len("::") or text[0] != ":" or text[-1] != ":":
            raise ValueError
        der = base64.b64decode(text[1:-1], validate=True)
        if len(der) > MAX_CERTIFICATE_BYTES:
            raise ValueError
        return der, x509.load_der_x509_certificate(der)


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        found = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return None
    return found.value
