"""The picture of a token's family: of a large one some are drawn, and soon."""

from __future__ import annotations

import time
from dataclasses import replace
from xml.etree import ElementTree as ET

from grantledger.projections.token_family import TokenId
from grantledger.projections.token_graph import MAX_DRAWN, token_graph
from grantledger.projections.trace import Life, TracedToken
from tests.domain.arrange import mark
from tests.projections.test_trace import R, rotated_twice, traced

SVG = "{http://www.w3.org/2000/svg}"
SECONDS = 2.0


def test_of_many_tokens_those_that_may_live_are_drawn_at_once() -> None:
    found = traced(rotated_twice(), mark(R, "rt1"))
    (one,) = found.traced
    many = [
        TracedToken(
            replace(one.token, id=TokenId(leaf, -1, one.token.id.kind), parent=None),
            Life.LIVE if leaf == 7 else Life.REPLACED,
        )
        for leaf in range(20_000)
    ]
    started = time.process_time()
    graph = token_graph(replace(found, traced=many, ancestors=[], descendants=[]))
    assert time.process_time() - started < SECONDS
    assert graph.left_out == len(many) - MAX_DRAWN
    picture = ET.fromstring(graph.svg)  # noqa: S314 - our own
    boxes = picture.findall(f"{SVG}g")
    assert len(boxes) == MAX_DRAWN
    over = [one for one in boxes if "over" in one.attrib["class"]]
    assert len(over) == MAX_DRAWN - 1
