"""The gallery as self-contained web pages: no scripts, and the pictures are data URIs.

index.html shows every cluster as one tile, in an order that the reader chooses (radio buttons and CSS `order`). The
clusters' members follow there if they fit on one page, otherwise on page_001.html and so on.
"""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape

import numpy as np
from torch import Tensor

from deepcluster.visualization.gallery_members import Members, in_order
from deepcluster.visualization.gallery_orders import ORDERS
from deepcluster.visualization.tiles import as_picture

LOSSLESS = 48  # pixels; thumbnails up to this side are PNG and shown with sharp pixels, larger ones are JPEG
JPEG_QUALITY = 85
N_BINS = 24  # most bins of the histogram of cluster sizes
STYLE = """
:root{--ink:#1d2430;--soft:#667085;--line:#e3e7ee;--card:#fff;--page:#f5f6f9;--blue:#2f6fdb}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf1;--soft:#98a2b3;--line:#2c3442;--card:#1a202b;--page:#11151c;
--blue:#7fb0ff}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:17px;margin:34px 0 10px}
p{margin:4px 0}
.soft{color:var(--soft)}
a{color:var(--blue);text-decoration:none}
a:hover{text-decoration:underline}
img{display:block;width:100%;aspect-ratio:1;border-radius:4px;background:var(--line)}
.sharp img{image-rendering:pixelated}
.top{display:flex;flex-wrap:wrap;gap:16px 40px;align-items:flex-end;justify-content:space-between}
.top>div{min-width:0;overflow-wrap:anywhere}
svg{display:block;width:340px;max-width:100%;height:auto}
svg rect{fill:var(--blue);opacity:.75}
svg text{fill:var(--soft);font-size:11px}
.orders{margin:0 0 12px}
.orders input{position:absolute;opacity:0}
.orders label{display:inline-block;margin:0 6px 6px 0;padding:3px 11px;border:1px solid var(--line);border-radius:99px;
background:var(--card);cursor:pointer;font-size:13.5px}
.orders input:checked+label{background:var(--blue);border-color:var(--blue);color:var(--page)}
.orders input:focus-visible+label{outline:2px solid var(--ink)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(64px,1fr));gap:8px}
.tile{color:var(--ink);font-size:11.5px;line-height:1.25;text-align:center}
.tile b{display:block;margin-top:2px}
.tile span{color:var(--soft)}
.pages{display:flex;flex-wrap:wrap;gap:6px;margin:16px 0}
.pages a,.pages b{padding:3px 10px;
border:1px solid var(--line);border-radius:6px;background:var(--card);font-size:13.5px}
.clusters{display:flex;flex-direction:column;gap:14px}
.cluster{background:var(--card);border:1px solid var(--line);
border-radius:10px;padding:12px 14px 14px;scroll-margin:10px}
.cluster:target{border-color:var(--blue);box-shadow:0 0 0 2px var(--blue)}
.head{display:flex;flex-wrap:wrap;gap:2px 18px;align-items:baseline;overflow-wrap:anywhere}
.head b{font-size:17px}
.mix{display:flex;height:5px;border-radius:3px;overflow:hidden;margin:7px 0 9px;background:var(--line)}
.strips{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:10px 18px;margin-top:8px}
.strip div{display:grid;gap:4px}
.strip p{font-size:12px;color:var(--soft);margin:0 0 3px}
"""
SHADES = ["#2f6fdb", "#efb118", "#e4572e", "#3ca951", "#a463f2"]


def data_uri(picture: Tensor) -> str:
    """A picture uint8 (3, S, S) as a data URI."""
    content, small = io.BytesIO(), picture.shape[-1] <= LOSSLESS
    image = as_picture(picture)
    if small:
        image.save(content, format="PNG", optimize=True)
    else:
        image.save(content, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(content.getvalue()).decode()}"


@dataclass(kw_only=True)
class Pages:
    """Writes the pages one at a time, so that only one page's pictures are in memory.

    Args:
        title: of all pages.
        facts: lines under the title.
        shown: the clusters, in their order on the pages.
        order: the name of that order, a key of `ORDERS`.
        names: label -> the class's name; None without labels.
        samples: an image's index -> its name.
        per_page: clusters on a page.
        size: the thumbnails' side in pixels.
        n_members: thumbnails in each row.
    """

    title: str
    facts: list[str]
    shown: list[Members]
    order: str
    names: dict[int, str] | None
    samples: Callable[[int], str]
    per_page: int
    size: int
    n_members: int

    def __post_init__(self) -> None:
        self.chunks = [self.shown[i : i + self.per_page] for i in range(0, len(self.shown), self.per_page)]
        self.single = len(self.chunks) == 1
        self._tiles: list[str] = []
        self._page_of = {c.number: page for page, chunk in enumerate(self.chunks) for c in chunk}
        self._ranks = {
            name: {c.number: rank for rank, c in enumerate(in_order(self.shown, name))}
            for name, order in ORDERS.items()
            if self.names is not None or order.by != "purity"
        }

    def write(self, pictures: Callable[[list[int]], dict[int, Tensor]]) -> Iterator[tuple[str, bytes]]:
        """Yield (file name, content) of each page, index.html last.

        Args:
            pictures: image indices -> thumbnails uint8 (3, S, S); called once for each page.
        """
        clusters_here = ""  # on index.html, if it is the only page
        for page, chunk in enumerate(self.chunks):
            thumbnails = pictures([i for cluster in chunk for i in cluster.shown])
            cards = []
            for cluster in chunk:
                uris = {i: data_uri(thumbnails[i]) for i in cluster.shown}
                self._tiles.append(self._tile(cluster, uris[cluster.nearest[0]]))
                cards.append(self._card(cluster, uris))
            body = f'<div class="clusters">{"".join(cards)}</div>'
            if self.single:
                clusters_here = f"<h2>Clusters</h2>{body}"
            else:
                links = self._links(page)
                first, last = chunk[0], chunk[-1]
                numbers = f"{self._rank(first)} to {self._rank(last)} of {len(self.shown):,}"
                head = f'<h1>{escape(self.title)}</h1><p class="soft">clusters {numbers}</p>{links}'
                yield self._file(page), self._html(head + body + links)
        yield "index.html", self._html(self._index(clusters_here))

    def _rank(self, cluster: Members) -> int:
        return self.shown.index(cluster) + 1

    def _file(self, page: int) -> str:
        return "index.html" if self.single else f"page_{page + 1:03d}.html"

    def _html(self, body: str) -> bytes:
        checked = "".join(
            f"#by-{order}:checked~.tiles .tile,#by-{order}:checked~.clusters .cluster{{order:var(--{order})}}"
            for order in self._ranks
        )
        text = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{STYLE}"
            f".strip div{{grid-template-columns:repeat({self.n_members},1fr)}}{checked}</style></head>"
            f'<body class="{"sharp" if self.size <= LOSSLESS else ""}"><main>{body}</main></body></html>\n'
        )
        return text.encode("utf-8", "backslashreplace")  # file names may not be UTF-8

    def _index(self, clusters_here: str) -> str:
        facts = "".join(f'<p class="soft">{escape(fact)}</p>' for fact in self.facts)
        radios = "".join(
            f'<input type="radio" name="order" id="by-{order}"{" checked" if order == self.order else ""}>'
            f'<label for="by-{order}">{ORDERS[order].title}</label>'
            for order in self._ranks
        )
        head = f'<div class="top"><div><h1>{escape(self.title)}</h1>{facts}</div>{self._histogram()}</div>'
        links = "" if self.single else f"<h2>All members</h2>{self._links(None)}"
        tiles = f'<div class="tiles">{"".join(self._tiles)}</div>'
        # Siblings, because the CSS rules order what follows the checked radio button.
        orders = f'<div class="orders">{radios}{tiles}{clusters_here}</div>'
        return f"{head}<h2>One image of each cluster, sorted by</h2>{orders}{links}"

    def _links(self, current: int | None) -> str:
        parts = [] if current is None else ['<a href="index.html">all clusters</a>']
        for page in range(len(self.chunks)):
            number = f"{page * self.per_page + 1}-{page * self.per_page + len(self.chunks[page])}"
            parts.append(f"<b>{number}</b>" if page == current else f'<a href="{self._file(page)}">{number}</a>')
        return f'<nav class="pages">{"".join(parts)}</nav>'

    def _order_style(self, cluster: Members) -> str:
        return ";".join(f"--{order}:{ranks[cluster.number]}" for order, ranks in self._ranks.items())

    def _tile(self, cluster: Members, uri: str) -> str:
        href = f"{'' if self.single else self._file(self._page_of[cluster.number])}#c{cluster.number}"
        name = "" if cluster.majority is None or self.names is None else self.names[cluster.majority]
        what = f"cluster {cluster.number}" + (f", mostly {name} ({cluster.purity:.0%})" if name else "")
        return (
            f'<a class="tile" href="{href}" title="{escape(what)}" style="{self._order_style(cluster)}">'
            f'<img loading="lazy" alt="" src="{uri}"><b>{cluster.number}</b>'
            f"<span>{cluster.size:,}{f' · {cluster.purity:.0%}' if cluster.purity is not None else ''}</span></a>"
        )

    def _card(self, cluster: Members, uris: dict[int, str]) -> str:
        facts = [f"<b>{cluster.number}</b>", f"<span>{cluster.size_text}</span>"]
        mix = ""
        if cluster.majority is not None and cluster.purity is not None and self.names is not None:
            facts.append(f"<span>{cluster.purity:.0%} {escape(self.names[cluster.majority])}</span>")
            parts = [(f"{self.names[c]} {share:.0%}", share, SHADES[i]) for i, (c, share) in enumerate(cluster.classes)]
            shares = escape(", ".join(text for text, _, _ in parts))
            bars = "".join(f'<i style="width:{100 * share:.2f}%;background:{shade}"></i>' for _, share, shade in parts)
            mix = f'<div class="mix" title="{shares}">{bars}</div>'
            others = ", ".join(text for text, _, _ in parts[1:3])
            facts.append(f'<span class="soft">{escape(others)}</span>' if others else "")
        facts.append(f'<span class="soft">mean distance {cluster.mean_distance:.3f}</span>')
        titles = ("nearest", "farthest", "random, of the others")
        strips = zip(titles, (cluster.nearest, cluster.farthest, cluster.random), strict=True)
        rows = "".join(
            f'<div class="strip"><p>{title}</p><div>{"".join(self._image(i, uris[i]) for i in members)}</div></div>'
            for title, members in strips
            if members
        )
        return (
            f'<section class="cluster" id="c{cluster.number}" style="{self._order_style(cluster)}">'
            f'<div class="head">{"".join(facts)}</div>{mix}<div class="strips">{rows}</div></section>'
        )

    def _image(self, index: int, uri: str) -> str:
        name = escape(self.samples(index))
        return f'<img loading="lazy" src="{uri}" alt="{name}" title="{name}">'

    def _histogram(self) -> str:
        sizes = np.array([cluster.size for cluster in self.shown])
        low, high = int(sizes.min()), int(sizes.max())
        counts, _ = np.histogram(sizes, bins=min(N_BINS, max(1, high - low + 1)), range=(low, high + 1e-9))
        width = 340 / len(counts)
        bars = "".join(
            f'<rect x="{i * width + 0.5:.1f}" y="{70 - 62 * n / counts.max():.1f}" width="{max(width - 1, 0.5):.1f}" '
            f'height="{62 * n / counts.max():.1f}"/>'
            for i, n in enumerate(counts.tolist())
        )
        label = f"how many clusters have how many images: {low} to {high}, median {np.median(sizes):g}"
        return (
            f'<svg viewBox="0 0 340 90" role="img" aria-label="{label}">{bars}<text x="0" y="84">{low:,} images</text>'
            f'<text x="170" y="84" text-anchor="middle">median {np.median(sizes):,g}</text>'
            f'<text x="340" y="84" text-anchor="end">{high:,}</text></svg>'
        )
