"""Bar charts of counts over time: stacked bars as SVG, made on the server, with the figures in a table.

Only attributes and classes: the content security policy allows no inline style and no inline script.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

WIDTH: Final = 600
HEIGHT: Final = 120
GAP: Final = 1.5
TICKS: Final = 5
"""Marks of a time axis."""
COLOURS: Final = 8
"""Classes `hub-c0` and so on; the style sheet defines them for light and dark."""


def plain(value: float) -> str:
    """A number without superfluous digits."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


@dataclass(frozen=True, slots=True)
class Bar:
    x: str
    y: str
    width: str
    height: str
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of the legend."""

    name: str
    colour: str
    total: str


@dataclass(frozen=True, slots=True)
class Picture:
    """`series` maps a name to a value for each of `labels`; the bars of one label are stacked.

    The colour of a series depends on its position, so that it is the same in every window; a series of zeros keeps its
    position and is not shown. `total` reduces a series to one figure for the legend, by default the sum of its values.
    """

    key: str
    """Prefix of element ids."""
    title: str
    labels: list[str]
    series: dict[str, list[float]]
    axis: str = "From"
    """Heading of the labels' column."""
    is_over_time: bool = True
    """Whether the labels are consecutive times."""
    unit: str = ""
    nothing: str = "No data in this window."
    """Shown if there is nothing to draw."""
    total: Callable[[list[float]], float] = field(default=sum)

    @property
    def shown(self) -> list[tuple[str, str, list[float]]]:
        """Name, colour and values of each series that has values."""
        return [
            (name, f"hub-c{place % COLOURS}", values)
            for place, (name, values) in enumerate(self.series.items())
            if any(values)
        ]

    @property
    def is_empty(self) -> bool:
        return not self.shown

    @property
    def highest(self) -> float:
        return max(map(sum, zip(*self.series.values(), strict=True)), default=0.0)

    @property
    def top(self) -> str:
        return self._say(self.highest)

    @property
    def scale(self) -> list[str]:
        """Marks of the upright axis, from the top to zero."""
        return [self._say(self.highest), self._say(self.highest / 2), "0"]

    @property
    def lines(self) -> list[str]:
        """Heights of the lines behind the bars, one for each mark."""
        return ["0.5", f"{HEIGHT / 2:.1f}", f"{HEIGHT - 0.5:.1f}"]

    @property
    def times(self) -> list[str]:
        """Marks of the time axis: the first and last label, and some between them at equal distances."""
        last = len(self.labels) - 1
        return [self.labels[round(last * place / (TICKS - 1))] for place in range(TICKS)] if self.labels else []

    @property
    def description(self) -> str:
        """Text alternative of the chart; the details are in the table."""
        if self.is_empty:
            return self.nothing
        told = ", ".join(f"{key.name} {key.total}" for key in self.keys)
        if not self.is_over_time:
            return f"{told}."
        return f"From {self.labels[0]} to {self.labels[-1]}: {told}; at most {self.top} at a time."

    @property
    def keys(self) -> list[Key]:
        return [Key(name, colour, self._say(self.total(values))) for name, colour, values in self.shown]

    @property
    def bars(self) -> list[Bar]:
        if self.is_empty:
            return []
        step = WIDTH / len(self.labels)
        made = []
        for column, label in enumerate(self.labels):
            below = 0.0
            for name, colour, values in self.shown:
                height = HEIGHT * values[column] / self.highest
                below += height
                if height:
                    made.append(
                        Bar(
                            x=f"{column * step:.2f}",
                            y=f"{HEIGHT - below:.2f}",
                            width=f"{step - GAP:.2f}",
                            height=f"{height:.2f}",
                            colour=colour,
                            title=f"{label}, {name}: {self._say(values[column])}",
                        )
                    )
        return made

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """The table: a label and its figures, without empty labels."""
        columns = zip(*(values for _, _, values in self.shown), strict=True)
        return [
            (label, [plain(value) for value in values])
            for label, values in zip(self.labels, columns, strict=False)
            if any(values)
        ]

    def _say(self, value: float) -> str:
        return f"{plain(value)} {self.unit}".rstrip()
