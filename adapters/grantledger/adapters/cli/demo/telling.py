"""How the demo speaks while it goes: one numbered line a step, results beneath."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from grantledger.adapters.cli.output import console

_NAME_WIDTH = 9


@dataclass(frozen=True, slots=True)
class Step:
    """What one step showed."""

    name: str
    lines: tuple[str, ...]


@dataclass(slots=True)
class Teller:
    """Prints each step as it is done, or keeps silent and remembers it.

    Attributes:
        silent: a program reads, so everything comes at the end.
    """

    silent: bool = False
    steps: list[Step] = field(default_factory=list[Step])

    def say(self, name: str, *lines: str) -> None:
        """Tell what a step showed."""
        self.steps.append(Step(name, lines))
        if self.silent:
            return
        grid = Table.grid(padding=(0, 1))
        grid.add_column(justify="right", width=2, style="dim")
        grid.add_column(width=_NAME_WIDTH, style="bold")
        grid.add_column(overflow="fold")
        grid.add_row(str(len(self.steps)), name, Text("\n".join(lines)))
        console().print(grid)
