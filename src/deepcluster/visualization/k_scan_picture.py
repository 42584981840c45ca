"""k_scan.svg: how well two halves of the images agree on K groups, for each K, as text that any browser draws.

A run draws it, and a run needs no chart library.
"""

import math
from html import escape

from deepcluster.clustering.k_scan import Scan

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 44
TICKS = (2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200)
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.soft{fill:#777}.grid{stroke:#ddd}.band{fill:#0072B2;opacity:.18}"
    ".line{fill:none;stroke:#0072B2;stroke-width:2}.k{stroke:#D55E00;stroke-width:1.5;stroke-dasharray:5 4}"
    ".kt{fill:#D55E00}.best{fill:#0072B2}.back{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.soft{fill:#999}.grid{stroke:#444}.back{fill:#181a1d}}"
)


def draw_scan(scan: Scan) -> str:
    """The picture as SVG: the mean over the pairs of halves as a line, lowest to highest as a band, K as a mark."""
    right = max([scan.k, *scan.ks])

    def x(k: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(k / 2) / max(math.log(right / 2), 1e-9)

    def y(agreement: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - max(0.0, min(1.0, agreement)))

    def points(values: list[float], ks: list[int]) -> str:
        return " ".join(f"{x(k):.1f},{y(value):.1f}" for k, value in zip(ks, values, strict=True))

    bottom = HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img"><title>{escape(f"K = {scan.k}, {scan.told()}")}</title><style>{STYLE}</style>',
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text x="{LEFT}" y="22">Agreement of two halves of the images, clustered apart, on K groups</text>',
    ]
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        place = f'x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="soft" {place}>{value:g}</text>')
    for k in (tick for tick in TICKS if tick <= right):
        parts.append(f'<text class="soft" x="{x(k):.1f}" y="{bottom + 18}" text-anchor="middle">{k}</text>')
    parts.append(f'<text class="soft" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">groups K</text>')
    if scan.ks:
        band = points([max(of) for of in scan.agreement], scan.ks)
        back = points([min(of) for of in scan.agreement][::-1], scan.ks[::-1])
        parts.append(f'<polygon class="band" points="{band} {back}"/>')
        parts.append(f'<polyline class="line" points="{points(scan.means, scan.ks)}"/>')
        if scan.groups != scan.k:
            dot = f'cx="{x(scan.groups):.1f}" cy="{y(scan.best):.1f}"'
            parts.append(f'<circle class="best" {dot} r="5"/>')
            parts.append(_beside(x(scan.groups), y(scan.best) - 10, f"most on {scan.groups}", "best"))
    parts.append(f'<line class="k" x1="{x(scan.k):.1f}" x2="{x(scan.k):.1f}" y1="{TOP}" y2="{bottom}"/>')
    parts.append(_beside(x(scan.k), TOP + 12, f"chosen: K = {scan.k}", "kt"))
    return "\n".join([*parts, "</svg>", ""])


def _beside(x: float, y: float, text: str, kind: str) -> str:
    """Words beside a mark, on the side where there is room."""
    is_left = x < WIDTH / 2
    anchor = "start" if is_left else "end"
    return f'<text class="{kind}" x="{x + (8 if is_left else -8):.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
