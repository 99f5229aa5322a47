"""What was measured of growth, as a section of docs/performance.md and as a plot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: operation -> how the table calls it
TITLES = {
    "start": "start of a worker's services",
    "status": "`status`",
    "list": "`list`, everything",
    "list one": "`list PATTERN`, a thousandth",
    "plan one": "planning to evict one artifact",
    "evict one": "executing that",
    "plan half": "planning to evict half",
    "evict half": "executing that, half",
    "recount": "recount",
    "verify": "`verify`, every byte hashed",
}
_COLOURS = (
    *("#1b6ca8", "#c44536", "#2a9d8f", "#8d6a9f", "#e09f3e"),
    *("#3d405b", "#d1495b", "#66803d", "#6b705c", "#0b3954"),
)
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 860, 480, 70, 20, 240, 50
_MIB = 2**20

#: number of objects -> operation -> measured
Growth = dict[int, dict[str, dict[str, Any]]]


def section(growth: Growth, simulated: Sequence[int], machine: Mapping[str, Any]) -> str:
    """Markdown: seconds on the clock and peak memory of the process, for each size."""
    sizes = sorted(growth)
    heads = [f"{size:,}{' *' if size in simulated else ''}" for size in sizes]
    lines = [
        "## Growth with the size of the cache",
        "",
        "An artifact has 98 files of its own, 40 files that all have, and three folders: 100 objects each.",
        "Seconds on the clock and the most that the process held in RAM (VmHWM), a fresh process for each.",
        "`*` is simulated: refs and closure lists as of so many objects, but the objects of one artifact",
        "only, so what looks at each object is not measured there. Executing lasts from the end of the plan",
        "until the lease is free. Files on a RAM disk; load average",
        f"{machine['load_before']} before the run.",
        "",
        f"| objects | {' | '.join(heads)} |",
        f"|---|{'--:|' * len(sizes)}",
    ]
    for operation, title in TITLES.items():
        cells = [_cell(growth[size].get(operation)) for size in sizes]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", "![Seconds against the number of objects](growth.svg)", ""]
    return "\n".join(lines)


def _cell(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "-"
    return f"{_seconds(measured['wall_s'])}, {measured['peak_bytes'] / _MIB:.0f} MiB"


def _seconds(wall_s: float) -> str:
    return f"{wall_s * 1000:.1f} ms" if wall_s < 1 else f"{wall_s:.2f} s"


def plot(growth: Growth) -> str:
    """An SVG with two logarithmic axes."""
    sizes = sorted(growth)
    times = [measured["wall_s"] for row in growth.values() for measured in row.values()]
    low_x, high_x = math.log10(sizes[0]), math.log10(sizes[-1]) or 1.0
    low_y, high_y = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def x_of(size: float) -> float:
        share = (math.log10(size) - low_x) / ((high_x - low_x) or 1)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y_of(seconds: float) -> float:
        share = (math.log10(seconds) - low_y) / ((high_y - low_y) or 1)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for power in range(low_y, high_y + 1):
        y = y_of(10**power)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        label = f"{10**power:g} s" if power >= 0 else f"{10 ** (power + 3):g} ms"
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for size in sizes:
        x = x_of(size)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{size:,}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">objects in the cache</text>'
    )
    for place, (operation, title) in enumerate(TITLES.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        points = [(x_of(n), y_of(growth[n][operation]["wall_s"])) for n in sizes if operation in growth[n]]
        if not points:
            continue
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        y = _TOP + 16 + place * 20
        x = _WIDTH - _RIGHT + 16
        parts.append(f'<path d="M{x} {y}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 24}" y="{y + 4}">{title.replace("`", "")}</text>')
    return "\n".join([*parts, "</svg>", ""])
