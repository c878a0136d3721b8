"""Rows of the audit trail as a file that somebody takes out, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TypeVar

from starlette.responses import Response

from grantledger.adapters.http.guarding import noticed, told
from grantledger.adapters.http.streams import Streamed, Streams
from grantledger.domain.audit import AuditPage
from grantledger.domain.errors import GrantledgerError
from grantledger.projections.exports.formats import MEDIA_TYPES, ExportFormat, writing

T = TypeVar("T")


async def rows_file(
    pages: AsyncGenerator[AuditPage],
    form: ExportFormat,
    streams: Streams,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the file of these pages; see `file_of`."""
    writer = writing(form)
    return await file_of(
        pages,
        lambda page: writer.rows(page.rows),
        streams,
        begin=writer.begin,
        end=writer.end,
        media_type=MEDIA_TYPES[form],
        headers=headers,
    )


async def file_of(
    parts: AsyncGenerator[T],
    written: Callable[[T], bytes],
    streams: Streams,
    *,
    media_type: str,
    begin: Callable[[], bytes] = bytes,
    end: Callable[[], bytes] = bytes,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a file that is written as it is read; it has a place until its end.

    Raises:
        RateLimited: there are too many at once.
        GrantledgerError: the first part cannot be read; it is refused in its own words.
    """
    streams.take()
    try:
        first = await anext(parts, None)
    except BaseException:
        streams.give_back()
        raise
    return Streamed(
        _written(first, parts, written, begin, end),
        streams,
        media_type=media_type,
        headers=headers,
    )


async def _written(
    first: T | None,
    parts: AsyncGenerator[T],
    written: Callable[[T], bytes],
    begin: Callable[[], bytes],
    end: Callable[[], bytes],
) -> AsyncGenerator[bytes]:
    """Yield the file; what fails cuts it off, so that nobody takes it for whole."""
    try:
        async with aclosing(parts):
            yield begin()
            if first is not None:
                yield written(first)
            async for part in parts:
                yield written(part)
            yield end()
    except GrantledgerError as error:
        told(error)
        raise
    except Exception as error:
        noticed(error)
        raise
