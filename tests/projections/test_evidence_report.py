"""What the report and the rows make of what others have written."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from grantledger.domain.values import Actor, ActorKind
from grantledger.projections.evidence import event_line
from grantledger.projections.evidence_report import MAX_TEXT, POLICY, shown
from tests.projections.test_timeline import row

NASTY = st.text() | st.text(
    st.sampled_from("<>\"'&/ =;\x00\x1b\n\u202e\u2066\u200b\ufeff\ud800a")
)


class Reader(HTMLParser):
    """What a browser would take for text, and for anything else."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.other: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the base's
        self.other.append(tag)

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_decl(self, decl: str) -> None:
        self.other.append(decl)


@given(NASTY)
def test_a_text_is_text_and_steers_nothing(text: str) -> None:
    said = shown(text)
    reader = Reader()
    reader.feed(said)
    reader.close()
    assert reader.other == []
    read = "".join(reader.text)
    assert len(read) <= MAX_TEXT + 1
    assert all(c.isprintable() for c in read)
    cut = text[:MAX_TEXT]
    hidden = "\N{REPLACEMENT CHARACTER}"
    assert read[: len(cut)] == "".join(c if c.isprintable() else hidden for c in cut)
    assert html.unescape(said) == read


@given(NASTY, NASTY)
def test_a_row_is_one_line_of_json_whatever_it_says(agent: str, name: str) -> None:
    actor = Actor(name, ActorKind.AGENT, user_agent=agent, act_chain=(name,))
    line = event_line(replace(row("HandedOut"), actor=actor))
    assert line.count("\n") == 1
    assert line.endswith("\n")
    read = json.loads(line)
    assert read["actor"]["act_chain"] == [name]
    assert read["actor"].get("user_agent", agent) == agent


def test_the_policy_lets_nothing_but_its_own_style_in() -> None:
    parts = dict(part.strip().split(" ", 1) for part in POLICY.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["style-src"].startswith("'sha256-")
    assert "unsafe" not in POLICY
    assert parts["base-uri"] == parts["form-action"] == "'none'"
