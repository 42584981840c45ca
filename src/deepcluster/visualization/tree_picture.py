"""merged.svg: the tree of a run's clusters, coloured by groups; a line of text for each cluster."""

from html import escape

import numpy as np

from deepcluster.evaluation.clusters.merged_clusters import MergedClusters
from deepcluster.visualization.charts import colours

ROW, LEFT, TOP = 18, 12, 34  # pixels: the height of a cluster's row; what is left free before the tree and above it
TREE, WORDS = 420, 360  # their widths
LEAF = 0.1  # of the heights of joins, from a cluster to the lowest
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}path{fill:none;stroke:#888;stroke-width:1.5}.back{fill:#fff}"
    ".cut{stroke:#999;stroke-dasharray:5 4}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.back{fill:#181a1d}}"
)


def draw_tree(merged: MergedClusters, words: list[str]) -> str:
    """The tree as SVG: clusters at the right, the less alike two groups are the farther left they meet.

    Args:
        words: of each cluster, to stand beside it.
    """
    tree, k = merged.tree, merged.tree.k
    leaves = tree.leaves()
    low, high = (float(tree.merges[0, 2]), float(tree.merges[-1, 2])) if k > 1 else (0.0, 1.0)
    low -= LEAF * (high - low)  # so that the first join is seen too
    width, height = LEFT + TREE + WORDS, TOP + ROW * k + 12
    rgb = (255 * colours(merged.n_groups)).round().astype(int)
    ink = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in rgb.tolist()]
    x, y, group = np.full(2 * k - 1, float(LEFT + TREE)), np.zeros(2 * k - 1), np.full(2 * k - 1, -1)
    group[:k] = merged.groups
    for row, cluster in enumerate(leaves):
        y[cluster] = TOP + ROW * (row + 0.5)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{width}" height="{height}"/>',
        f'<text x="{LEFT}" y="20">{k} clusters in {merged.n_groups} groups; the farther left they meet, the less alike '
        "they are</text>",
    ]

    def across(height: float) -> float:
        return LEFT + TREE * (high - height) / max(high - low, 1e-12)

    for node, (one, other, joined_at, _) in enumerate(tree.merges.tolist(), start=k):
        a, b = int(one), int(other)
        x[node], y[node] = across(joined_at), (y[a] + y[b]) / 2
        group[node] = group[a] if group[a] == group[b] else -1
        colour = f' style="stroke:{ink[group[node]]}"' if group[node] >= 0 else ""
        parts.append(f'<path{colour} d="M{x[a]:.1f} {y[a]:.1f}H{x[node]:.1f}V{y[b]:.1f}H{x[b]:.1f}"/>')
    if 1 < merged.n_groups < k:
        cut = across(float(tree.merges[k - merged.n_groups - 1 : k - merged.n_groups + 1, 2].mean()))
        parts.append(f'<path class="cut" d="M{cut:.1f} {TOP}V{height - 8}"/>')
    for cluster in leaves:
        of, said = int(merged.groups[cluster]), f": {words[cluster]}" if words[cluster] else ""
        place = f'x="{LEFT + TREE + 8}" y="{y[cluster] + 4:.1f}"'
        parts.append(
            f'<text {place}><tspan style="fill:{ink[of]};font-weight:700">group {of}</tspan> cluster '
            f"{cluster}{escape(said)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])
