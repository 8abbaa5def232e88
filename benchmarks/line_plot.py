"""A plot of lines as SVG, without a plotting library."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 360, 70, 40, 30
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    name: str
    points: Sequence[tuple[float, float]]


def line_plot(title: str, x_name: str, lines: Sequence[Line]) -> str:
    """All curves over one axis, from zero."""
    right = max((x for line in lines for x, _ in line.points), default=1.0) or 1.0
    top = max((y for line in lines for _, y in line.points), default=1.0) or 1.0
    wide, high = _WIDTH - _LEFT - 20, _HEIGHT - _BOTTOM - _TOP

    def place(x: float, y: float) -> str:
        return f"{_LEFT + x / right * wide:.1f},{_TOP + high - y / top * high:.1f}"

    axes = f"{place(0, top)} {place(0, 0)} {place(right, 0)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"',
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{escape(title)}</text>',
        f'<polyline fill="none" stroke="black" points="{axes}"/>',
        f'<text x="{_WIDTH - 20}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x_name)}</text>',
    ]
    for number in range(1, _TICKS + 1):
        x, y = right * number / _TICKS, top * number / _TICKS
        across, _, _ = place(x, 0).partition(",")
        _, _, down = place(0, y).partition(",")
        parts += [
            f'<text x="{across}" y="{_HEIGHT - 22}" text-anchor="middle">{x:.0f}</text>',
            f'<text x="{_LEFT - 6}" y="{down}" text-anchor="end">{y:.0f}</text>',
        ]
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(place(x, y) for x, y in line.points)
        parts += [
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>',
            f'<text x="{_LEFT + 20}" y="{_TOP + 16 + 18 * number}" fill="{colour}">',
            f"{escape(line.name)}</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])
