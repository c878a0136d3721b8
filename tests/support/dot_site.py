# mypy: disable-error-code="no-untyped-call, import-untyped, no-untyped-def"
# pyright: basic
"""The Django site of `dot_server`: settings, pages and the server loop.

Started as a module with a folder; says where it listens on one line of JSON.
"""

from __future__ import annotations

import json
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

from tests.support.dot_server import GRACE_SECONDS, REDIRECT_URI, SCOPES

APPS = (
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "oauth2_provider",
)

urlpatterns: list[Any] = []


class Silent(WSGIRequestHandler):  # type: ignore[misc]  # Django has no types
    """Logs nothing: query strings carry codes."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - inherited
        pass


def configure(folder: Path, issuer: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "dot.db",
                "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=list(APPS),
        LOGIN_URL="/_test/login",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        # The tables as the models are now: quicker than every migration in turn.
        MIGRATION_MODULES={app.rpartition(".")[2]: None for app in APPS},
        ROOT_URLCONF=__name__,
        SECRET_KEY=secrets.token_hex(),
        USE_TZ=True,
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_ISS_ENDPOINT": issuer,
            "OIDC_RSA_PRIVATE_KEY": pem.decode(),
            "PKCE_REQUIRED": True,
            "ACCESS_TOKEN_EXPIRE_SECONDS": 900,
            "REFRESH_TOKEN_EXPIRE_SECONDS": 86_400,
            "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": GRACE_SECONDS,
            "REFRESH_TOKEN_REUSE_PROTECTION": True,
            "ROTATE_REFRESH_TOKEN": True,
            "SCOPES": {name: name for name in SCOPES},
        },
    )


def install() -> dict[str, str]:
    """Make the tables, a user and a confidential client; return its credentials."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - needs the settings
    from oauth2_provider.models import Application  # noqa: PLC0415 - likewise

    call_command("migrate", run_syncdb=True, verbosity=0)
    User.objects.create_user("alice")
    secret = secrets.token_urlsafe()
    client = Application.objects.create(
        name="broker",
        algorithm="RS256",
        authorization_grant_type="authorization-code",
        client_type="confidential",
        client_secret=secret,
        redirect_uris=REDIRECT_URI,
        skip_authorization=True,
    )
    return {"client_id": client.client_id, "client_secret": secret}


def pages() -> list[Any]:
    """Return the site's pages: the toolkit's own, and ours for tests."""
    from django.contrib.auth import login  # noqa: PLC0415 - needs the settings
    from django.contrib.auth.models import User  # noqa: PLC0415 - likewise
    from django.db.models import F  # noqa: PLC0415 - likewise
    from django.http import HttpResponseRedirect, JsonResponse  # noqa: PLC0415 - likewise
    from django.urls import include, path  # noqa: PLC0415 - likewise
    from django.utils import timezone  # noqa: PLC0415 - likewise
    from oauth2_provider import models as untyped  # noqa: PLC0415 - likewise
    from oauth2_provider import urls  # noqa: PLC0415 - likewise

    models: Any = untyped

    def log_in(request: Any) -> Any:  # noqa: ANN401 - Django's
        login(request, User.objects.get(username="alice"))
        return HttpResponseRedirect(request.GET["next"])

    def grant(request: Any) -> Any:  # noqa: ANN401 - Django's
        user, _ = User.objects.get_or_create(username=request.POST["user"])
        client = models.Application.objects.get()
        access = models.AccessToken.objects.create(
            user=user,
            application=client,
            token=secrets.token_urlsafe(),
            expires=timezone.now() + timedelta(seconds=900),
            scope=" ".join(SCOPES),
        )
        refresh = models.RefreshToken.objects.create(
            user=user,
            application=client,
            access_token=access,
            token=secrets.token_urlsafe(),
            token_family=None,
        )
        refresh.token_family = models.uuid.uuid4()
        refresh.save()
        return JsonResponse({"refresh_token": refresh.token})

    def age(request: Any) -> Any:  # noqa: ANN401 - Django's
        back = timedelta(seconds=float(request.POST["seconds"]))
        rotated = models.RefreshToken.objects.filter(revoked__isnull=False)
        rotated.update(revoked=F("revoked") - back)
        return JsonResponse({})

    def tokens(request: Any) -> Any:  # noqa: ANN401 - Django's
        mine = models.RefreshToken.objects.filter(user__username=request.POST["user"])
        access = models.AccessToken.objects.filter(user__username=request.POST["user"])
        live = mine.filter(revoked__isnull=True).values_list("token", flat=True)
        return JsonResponse(
            {
                "live": list(live),
                "rotated": mine.filter(revoked__isnull=False).count(),
                "access": access.count(),
            }
        )

    # One namespace: the metadata names what it finds in its own.
    toolkit = urls.metadata_urlpatterns + urls.base_urlpatterns
    toolkit += urls.oidc_urlpatterns
    return [
        path("_test/login", log_in),
        path("_test/grant", grant),
        path("_test/age", age),
        path("_test/tokens", tokens),
        path("", include((toolkit, urls.app_name))),
    ]


def serve(folder: Path) -> None:
    server = ThreadedWSGIServer(("127.0.0.1", 0), Silent)
    issuer = f"http://127.0.0.1:{server.server_port}"
    configure(folder, issuer)
    django.setup()
    said = {"issuer": issuer} | install()
    # The settings name a module: as __main__ this one is another.
    sys.modules[__name__].__dict__["urlpatterns"] = pages()
    site: Any = get_wsgi_application()
    server.set_app(site)
    print(json.dumps(said), flush=True)  # noqa: T201 - what the parent waits for
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
