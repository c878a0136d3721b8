"""Who visits the console, and what they may see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.bootstrap.audit_reading import (
    OPERATIONS,
    Reading,
    admitted,
    on_record,
)
from grantledger.adapters.console.rendering import render
from grantledger.adapters.console.sessions import ConsoleSession, Sessions
from grantledger.adapters.http import bodies, problems
from grantledger.adapters.http.callers import described
from grantledger.adapters.http.edge import Edge
from grantledger.adapters.http.identity import Identity
from grantledger.adapters.http.streams import Streams
from grantledger.adapters.settings import Settings
from grantledger.adapters.upstream.signed import same
from grantledger.domain.audit import AuditFilter
from grantledger.domain.audit_access import AuditUse
from grantledger.domain.errors import Denied, GrantledgerError, InvalidRequest
from grantledger.domain.policy import Operation, Policy
from grantledger.domain.requests import Caller
from grantledger.domain.values import ActorKind
from grantledger.projections.exports.formats import ExportFormat

ROOT = "/console"
ENDED = "console-session"
ROW_FORMATS = (
    ExportFormat.CSV,
    ExportFormat.NDJSON,
    ExportFormat.OCSF,
    ExportFormat.OTEL,
)
GRANT_FORMATS = (ExportFormat.CSV, ExportFormat.NDJSON)
"""How rows of the trail, and grants, are taken out."""
MAX_FORM_BYTES = 65_536
SCRIPTED = "hx-request"
"""A header of what the page asks for by itself; nothing is allowed for it."""
_WHOLE = {"HX-Retarget": "#main", "HX-Reselect": "#main", "HX-Reswap": "outerHTML"}


@dataclass(frozen=True, slots=True)
class Console:
    """What the pages work with.

    Attributes:
        opened: stays open as long as the console is served.
        settings: of that broker.
        sessions: of its visitors.
        origin: of this console, as browsers write it.
        edge: says from where a visitor comes; believes the proxies that it names.
        streams: counts what takes long.
        sign_in: where a visitor without a session is sent; None: by link alone.
        left: sessions that were ended here, where the ledger cannot be told.
    """

    opened: OpenBroker
    settings: Settings
    sessions: Sessions
    origin: str
    edge: Edge
    streams: Streams
    sign_in: str | None = None
    left: set[bytes] = field(default_factory=set[bytes])


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who has signed in.

    Attributes:
        behind: leaves without rows, where this login may not make them.
    """

    console: Console
    request: Request
    session: ConsoleSession
    caller: Caller
    behind: int = 0

    def may(
        self,
        operation: Operation,
        provider: str | None = None,
        subject: str | None = None,
    ) -> bool:
        """Tell whether the visitor may do this; see `Policy.permits`."""
        policy = self.console.opened.broker.env.policy
        return self.session.local or policy.permits(
            self.caller, operation, provider, subject
        )

    def sees_whole(self, operation: Operation, provider: str) -> bool:
        """Tell whether every grant of a provider is the visitor's to see.

        What counts many users' grants says something of each. `""` is the ledger's own.
        """
        return self.may(operation, provider, "")

    def sees_all(self, operation: Operation) -> bool:
        """Tell whether nothing is hidden from the visitor."""
        policy = self.console.opened.broker.env.policy
        return self.session.local or policy.permits_all(self.caller, operation)

    async def must(
        self,
        operation: Operation,
        provider: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Refuse, recorded, what the visitor may not do.

        Raises:
            Denied: `reason` names the operation.
        """
        if not self.session.local:
            await self.console.opened.broker.authorise(
                self.caller, operation, provider, subject
            )

    async def must_see_all(self, operation: Operation) -> None:
        """Refuse, recorded, whoever may not see every grant.

        Raises:
            Denied: some are not the visitor's to see.
        """
        await self.must(operation)
        if not self.session.local:
            await self.console.opened.broker.authorise_all(self.caller, operation)

    async def reading(self, use: AuditUse, wanted: AuditFilter, how: str) -> Reading:
        """Return a reading of the audit trail, once it is allowed and on the record.

        Raises:
            Denied: the policy does not let the visitor.
            Unavailable: it could not be recorded; nothing may be shown.
        """
        broker, how = self.console.opened.broker, f"console: {how}"
        if not self.session.local:
            return await admitted(broker, self.caller, use, wanted, how)
        trail = self.console.opened.ledger
        await on_record(broker, trail, self.caller, use, wanted, how)
        return Reading(trail, Policy.open(), self.caller, OPERATIONS[use], wanted)

    async def record(self, use: AuditUse, asked: str, **about: object) -> None:
        """Record what is about to be shown; see `AuditAccess.record`."""
        access = self.console.opened.broker.audit_access
        await access.record(self.caller, use, f"console: {asked}", **about)  # type: ignore[arg-type]  # passed on as they are

    async def form(self) -> dict[str, str]:
        """Return the form that this session's own page has sent.

        Raises:
            Denied: another has sent it, and that is recorded.
            InvalidRequest: it is none, or too long.
        """
        read = await form_of(self.request, MAX_FORM_BYTES)
        said = {name: values[-1] for name, values in read.items()}
        headers = self.request.headers
        if (
            not same(said.pop("csrf", ""), self.session.csrf)
            or headers.get("origin", self.console.origin).lower() != self.console.origin
            or headers.get("sec-fetch-site", "same-origin") != "same-origin"
        ):
            error = Denied("the form is not this session's", "csrf")
            await self.console.opened.broker.refused(self.caller, error)
            raise error
        return said

    def page(self, template: str, title: str, **values: object) -> Response:
        """Return a page in the console's frame."""
        return HTMLResponse(
            render(
                template,
                title=title,
                visit=self,
                root=ROOT,
                may_export=self.may(Operation.EXPORT),
                may_prove=self.may(Operation.EVIDENCE),
                row_formats=ROW_FORMATS,
                grant_formats=GRANT_FORMATS,
                **values,
            )
        )


Page = Callable[[Visit], Awaitable[Response]]


def visited(console: Console, page: Page) -> Callable[[Request], Awaitable[Response]]:
    """Return a page for those who have signed in; others are sent to do so."""

    async def answer(request: Request) -> Response:
        session = await session_of(console, request)
        if session is None:
            return unknown(console, request)
        visit = Visit(console, request, session, caller_of(request, session))
        try:
            if not console.opened.ledger.appends:
                lag = await console.opened.ledger.audit_lag()
                visit = replace(visit, behind=lag.leaves)
            return await page(visit)
        except GrantledgerError as error:
            await console.opened.broker.refused(visit.caller, error)
            shown = visit.page(
                "error.html",
                "This cannot be shown",
                said=str(error),
                code=error.code,
            )
            shown.status_code = problems.meaning_of(error).status
            shown.headers.update(problems.retry_after(error))
            return shown

    return answer


async def session_of(console: Console, request: Request) -> ConsoleSession | None:
    """Return the session of a request, None where there is none or it was ended."""
    opened = console.opened
    session = console.sessions.current(request.cookies, opened.clock.now())
    if session is None or session.digest in console.left:
        return None
    ended = await opened.ledger.duties.taken(ENDED, session.digest)
    return None if ended else session


def unknown(console: Console, request: Request) -> Response:
    """Return the way in."""
    if SCRIPTED in request.headers:
        # A script follows to no other origin, and nobody asked for a new sign-in.
        shown = entrance(console, "Your session is over", 401)
        shown.headers.update(_WHOLE)
        return shown
    if console.sign_in is not None and request.method == "GET":
        return RedirectResponse(console.sign_in, 303)
    return entrance(console, "Sign in", 401)


def entrance(console: Console, title: str, status: int = 200) -> Response:
    """Return the page that says how to come in here."""
    page = render(
        "entrance.html", title=title, visit=None, root=ROOT, sign_in=console.sign_in
    )
    return HTMLResponse(page, status)


async def form_of(request: Request, limit: int) -> dict[str, list[str]]:
    """Return what a form says.

    Args:
        request: whose body it is.
        limit: of the body, in bytes.

    Raises:
        InvalidRequest: it is none, or longer than the limit.
    """
    try:
        return dict(await bodies.form_of(request, limit))
    except bodies.TooLargeError:
        words = f"the form is longer than {limit} bytes"
    except bodies.WrongTypeError as error:
        words = f"the form must be {error}"
    raise InvalidRequest(words, "form")


def caller_of(request: Request, session: ConsoleSession) -> Caller:
    """Return the visitor as the record knows it."""
    found = Identity(session.caller, session.method)
    return described(request, found, ActorKind.ADMIN)
