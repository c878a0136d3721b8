"""Pages from templates: everything escaped, nothing from another host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import cast

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

PACKAGE = "grantledger.adapters.console"
_WORDS = {
    "active": "active",
    "refreshing": "active, a refresh is under way",
    "reauthorization_required": "needs consent again",
    "revoked": "revoked",
    "erased": "erased",
}


def render(template: str, **values: object) -> str:
    """Return a page of this template; a name that it lacks is a mistake."""
    return _environment().get_template(template).render(values)


def moment(at: datetime | None) -> Markup:
    """Return a time as UTC, for a script to show the local time beside it."""
    if at is None:
        return Markup('<span class="none">—</span>')
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        utc.isoformat(), f"{utc:%Y-%m-%d %H:%M:%S} UTC"
    )


def fact(value: object) -> object:
    """Return what the record says of something as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in cast("Sequence[object]", value))
    return value


def stamp(at: datetime) -> str:
    """Return a time as addresses carry it: UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def status_words(status: object) -> str:
    """Return a grant's status in plain words."""
    return _WORDS.get(str(status), str(status))


def count(number: int) -> str:
    """Return a number with its thousands apart."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, object] = {
        "moment": moment,
        "stamp": stamp,
        "fact": fact,
        "status_words": status_words,
        "count": count,
        "duration": duration,
    }
    made.filters.update(filters)
    return made


def _template(name: str) -> str | None:
    found = files(PACKAGE) / "templates" / name
    return found.read_text(encoding="utf-8") if found.is_file() else None
