"""Which of several media types an `Accept` asks for (RFC 9110 section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a word of the grammar
_TYPE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_PARAMETER = re.compile(rf"({_TOKEN})=(?:({_TOKEN})|\"([^\"\\]*)\")")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_BLANK = " \t"


@dataclass(frozen=True, slots=True)
class _Media:
    """A media type, or a range of them."""

    kind: str
    parameters: frozenset[tuple[str, str]]
    quality: float = 1.0

    def specificity(self, one: _Media) -> tuple[int, int] | None:
        """Return how exactly this range names a type, None where it does not."""
        exact = 2 if self.kind == one.kind else 0
        if not exact and self.kind == f"{one.kind.partition('/')[0]}/*":
            exact = 1
        if not exact and self.kind != "*/*":
            return None
        if not self.parameters <= one.parameters:
            return None
        return exact, len(self.parameters)


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Return the type that is wanted most; of several the one that is offered first.

    A range that cannot be read counts for nothing. What accepts nothing that is offered
    is disregarded, as section 12.4.1 allows: the first is answered.

    Args:
        accept: all of the header's values, empty for none.
        offered: media types with their parameters, at least one.
    """
    ranges = list(_ranges(accept))
    qualities = [_quality(ranges, one) for one in offered]
    best = max(qualities)
    return offered[qualities.index(best) if best > 0 else 0]


def _quality(ranges: Sequence[_Media], offered: str) -> float:
    """Return the quality that the most specific range gives to a type, 0 for none."""
    one = _media(offered)
    assert one is not None  # noqa: S101 - our own
    found = [
        (exact, said.quality)
        for said in ranges
        if (exact := said.specificity(one)) is not None
    ]
    return max(found, default=((0, 0), 0.0))[1]


def _ranges(accept: str) -> Iterator[_Media]:
    # A comma within quotes parts a range in two that cannot be read: no type of ours
    # has one.
    for part in accept.split(","):
        said = _media(part)
        if said is not None:
            yield said


def _media(text: str) -> _Media | None:
    """Return what a text says, None where it is no media type or range."""
    kind, *rest = (part.strip(_BLANK) for part in text.split(";"))
    if _TYPE.fullmatch(kind) is None:
        return None
    parameters: set[tuple[str, str]] = set()
    quality = 1.0
    for part in filter(None, rest):
        found = _PARAMETER.fullmatch(part)
        if found is None:
            return None
        name, value = found[1].lower(), (found[2] or found[3] or "").lower()
        if name != "q":
            parameters.add((name, value))
        elif _QUALITY.fullmatch(value):
            quality = float(value)
        else:
            return None
    return _Media(kind.lower(), frozenset(parameters), quality)
