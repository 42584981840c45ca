// The first view: how many pictures and clusters, what training added, how sure that is. Next: clusters.js.
"use strict";

function showOverview() {
  const { n, clusters, k, figures, scan, n_duplicates: groups, n_odd: odd } = overview;
  const sizes = clusters.size.filter((_, row) => clusters.number[row] >= 0).sort((a, b) => a - b);
  const facts = [
    fact(formatted(n), n === 1 ? "picture" : "pictures"),
    fact(formatted(sizes.length), sizes.length === k ? "clusters" : `of ${formatted(k)} clusters hold pictures`, "#/clusters"),
    fact(formatted(sizes[sizes.length >> 1]), "pictures in the median cluster"),
    groups ? fact(formatted(groups), groups === 1 ? "group of duplicates" : "groups of duplicates", "#/duplicates") : null,
    odd ? fact(formatted(odd), "odd ones to look at", "#/odd") : null,
  ];
  const largest = clusters.size.map((size, row) => row).sort((a, b) => clusters.size[b] - clusters.size[a]).slice(0, 12);
  const map = make("a", { class: "card preview", href: "#/map", "aria-label": "map of all pictures" }, make("canvas"));
  fill(
    make("div", { class: "facts" }, ...facts),
    make("div", { class: "columns" },
      make("div", { class: "stack" },
        overview.changes && changesCard(),
        figures && learnedCard(),
        figures && sureCard(),
        scan && scanCard(),
        make("section", { class: "card" }, make("h2", {}, "Sizes of the clusters"), histogram(sizes))),
      map),
    make("h2", {}, "Largest clusters"),
    make("div", { class: "cards" }, ...largest.map(clusterCard)),
    make("p", {}, make("a", { href: "#/clusters" }, `All ${counted(sizes.length, "cluster")}`)),
  );
  load("map").then(({ x, y }) => {
    const view = new Dots(map.firstChild, x, y);
    view.colours = clusterColours();
    view.fit();
    view.draw();
  });
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function fact(value, what, href) {
  return make(href ? "a" : "div", { class: "fact", href }, make("b", {}, value), make("span", {}, what));
}

/** What training added to the network, beside what needs no training. */
function learnedCard() {
  const { epochs, network, origin, figures: { table, learned, alike, given_up: givenUp } } = overview;
  const trained = epochs || !givenUp ? counted(epochs, "epoch") : `as it started, because ${counted(givenUp, "epoch")} of training made it worse`;
  const untold = epochs ? "What training added was not measured." : "The network was not trained: these are the clusters of its start.";
  return make("section", { class: "card" },
    make("h2", {}, "What training added"),
    make("p", { class: "sentence" }, learned ? `${capital(learned)}.` : untold),
    table.length > 1 ? make("div", { class: "scroll" }, figuresTable(table)) : null,
    ...alike.map((sentence) => make("p", { class: "warning" }, capital(sentence))),
    make("p", { class: "soft" }, `${network}, ${trained}; clusters: ${origin}.`));
}

/** What new pictures changed since the run before. */
function changesCard() {
  const { told, nowhere } = overview.changes;
  return make("section", { class: "card" }, make("h2", {}, "What changed since the run before"),
    ...told.map((sentence) => make("p", {}, `${capital(sentence)}.`)),
    make("p", {}, make("a", { href: "#/changes" }, nowhere.length ? `Groups, and ${counted(nowhere.length, "picture")} that fit nowhere` : "The groups")));
}

const SURE = {
  crops_together: (share) => `Two crops of one picture fall into the same cluster ${percent(share)} of the time.`,
  crops_nearest: (share) => `For ${percent(share)} of the pictures, a second crop is the most similar of all.`,
  seeds_agree: (nmi) => `Clustered again from another seed, the clusters agree by ${nmi.toFixed(2)} of 1 (NMI).`,
  nmi_previous: (nmi) => `From the last but one clustering to the last they agree by ${nmi.toFixed(2)} of 1 (NMI).`,
};

/** How far the clusters can be trusted, by measures that need no labels; null if none was taken. */
function sureCard() {
  const told = Object.entries(SURE).filter(([name]) => name in overview.figures.sure);
  if (!told.length) return null;
  return make("section", { class: "card" }, make("h2", {}, "How sure the clusters are"),
    ...told.map(([name, sentence]) => make("p", {}, sentence(overview.figures.sure[name]))));
}

/** Why there are so many clusters, where a scan has chosen their number. */
function scanCard() {
  const { k, told, picture } = overview.scan;
  return make("section", { class: "card" }, make("h2", {}, "How many clusters"),
    make("p", { class: "sentence" }, `${k}, chosen by a scan. ${capital(told)}.`),
    picture ? make("img", { class: "scan", src: picture, alt: "agreement of two halves of the images for each number of groups" }) : null);
}

/** The table that the run printed: figures of the network beside those of what needs no training. */
function figuresTable([[, ...who], ...rows]) {
  return make("table", {},
    make("thead", {}, make("tr", {}, make("th"), ...who.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map(([title, ...cells]) => make("tr", {}, make("th", { scope: "row" }, title),
      ...cells.map((cell, column) => make("td", { class: who[column] }, cell))))));
}

/** How many clusters have how many pictures. */
function histogram(sizes) {
  const low = sizes[0], high = sizes[sizes.length - 1];
  const n = Math.min(24, Math.max(1, high - low + 1));
  const counts = new Array(n).fill(0);
  for (const size of sizes) counts[Math.min(n - 1, Math.floor(((size - low) / (high - low + 1)) * n))]++;
  const most = Math.max(...counts);
  const bars = counts.map((count) => make("i", { style: `height:${(100 * count) / most}%`, title: counted(count, "cluster") }));
  return make("div", { class: "histogram", role: "img", "aria-label": `from ${low} to ${high} pictures, median ${sizes[sizes.length >> 1]}` },
    make("div", { class: "bars" }, ...bars),
    make("div", { class: "axis soft" }, make("span", {}, counted(low, "picture")), make("span", {}, formatted(high))));
}
