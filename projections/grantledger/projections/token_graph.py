"""A picture of tokens and which came from which, as SVG: left to right, by descent.

Without a script, a style or a colour of its own: whoever shows one gives the classes
their colours. Words tell what colours do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from grantledger.domain.values import TokenKind
from grantledger.projections.token_family import TokenId
from grantledger.projections.trace import GrantTrace, TracedToken

MAX_DRAWN = 60
MAX_ANCESTORS = 4
BOX_WIDTH, BOX_HEIGHT = 192, 46
GAP_X, GAP_Y, MARGIN = 46, 14, 8


@dataclass(frozen=True, slots=True)
class TokenGraph:
    """The picture.

    Attributes:
        svg: empty where there is nothing.
        left_out: tokens that are in the trace and not in the picture.
    """

    svg: str
    left_out: int


def token_graph(trace: GrantTrace) -> TokenGraph:
    """Return the picture of what a trace found: ancestors, the traced, descendants."""
    near = list(trace.ancestors)[:MAX_ANCESTORS]
    everything = [*near, *trace.traced, *trace.descendants]
    traced = {one.token.id for one in trace.traced}
    # What may live, and what was asked for, is drawn before the rest.
    chosen = sorted(
        everything,
        key=lambda one: (
            one.token.id not in traced,
            not one.may_live,
            -one.token.id.leaf_index,
        ),
    )[:MAX_DRAWN]
    drawn = sorted(chosen, key=lambda one: one.token.id)
    total = len(trace.ancestors) + len(trace.traced) + len(trace.descendants)
    if not drawn:
        return TokenGraph("", total)
    places = _places(drawn)
    width = max(x for x, _ in places.values()) + BOX_WIDTH + MARGIN
    height = max(y for _, y in places.values()) + BOX_HEIGHT + MARGIN
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        'aria-label="Tokens, and which came from which">'
    )
    parts = [opening]
    parts += [_line(one, places) for one in drawn]
    parts += [_box(one, places, asked=one.token.id in traced) for one in drawn]
    return TokenGraph("".join([*parts, "</svg>"]), total - len(drawn))


def _places(drawn: Sequence[TracedToken]) -> Mapping[TokenId, tuple[int, int]]:
    """Return where each box is: a column for each step of descent."""
    depth: dict[TokenId, int] = {}
    filled: dict[int, int] = {}
    places: dict[TokenId, tuple[int, int]] = {}
    # A parent always stands before its children.
    for one in drawn:
        token = one.token
        parent = token.parent
        column = depth[parent] + 1 if parent is not None and parent in depth else 0
        row = filled.get(column, 0)
        depth[token.id], filled[column] = column, row + 1
        places[token.id] = (
            MARGIN + column * (BOX_WIDTH + GAP_X),
            MARGIN + row * (BOX_HEIGHT + GAP_Y),
        )
    return places


def _line(one: TracedToken, places: Mapping[TokenId, tuple[int, int]]) -> str:
    parent = one.token.parent
    if parent is None or parent not in places:
        return ""
    (x1, y1), (x2, y2) = places[parent], places[one.token.id]
    start, middle = x1 + BOX_WIDTH, y1 + BOX_HEIGHT // 2
    end, below = x2, y2 + BOX_HEIGHT // 2
    bend = (start + end) // 2
    return (
        f'<path class="edge" fill="none" d="M{start} {middle} C{bend} {middle} '
        f'{bend} {below} {end} {below}"/>'
    )


def _box(
    one: TracedToken, places: Mapping[TokenId, tuple[int, int]], *, asked: bool
) -> str:
    token = one.token
    x, y = places[token.id]
    refresh = token.id.kind is TokenKind.REFRESH
    kind = "refresh" if refresh else "access"
    names = f"token {kind}{' asked' if asked else ''}{'' if one.may_live else ' over'}"
    name = "Refresh token" if refresh else "Access token"
    life = str(one.life).replace("_", " ")
    words = (
        f"{name}, leaf {token.id.leaf_index}, generation {token.generation}, {life}"
        f"{', asked for' if asked else ''}"
    )
    return (
        f'<g class="{names}"><title>{escape(words)}</title>'
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text x="{x + 10}" y="{y + 19}">{name}, leaf {token.id.leaf_index}</text>'
        f'<text class="life" x="{x + 10}" y="{y + 36}">{escape(life)}</text></g>'
    )
