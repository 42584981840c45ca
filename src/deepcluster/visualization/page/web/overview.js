// The first view: how many pictures and clusters, what training added, how sure that is. Next: clusters.js.
"use strict";

const FIGURES = [ // as in the table that a run prints
  ["k-NN accuracy, test images", "knn_accuracy", percentOf],
  ["linear-probe accuracy, test images", "linear_probe_accuracy", percentOf],
  ["NMI with the labels", "nmi_labels", thousandths],
  ["NMI with the labels, K = classes", "nmi_classes", thousandths],
  ["two-crop accuracy", "crops_nearest", percentOf],
  ["two crops in one cluster", "crops_together", percentOf],
  ["NMI of two seeds' clusters", "seeds_agree", thousandths],
  ["stability: NMI with the last", "nmi_previous", thousandths],
  ["clusters used", "clusters_used", formatted],
];
const COLUMNS = ["pixels", "patches", "untrained", "pretrained", "trained"];

function percentOf(share) {
  return `${(100 * share).toFixed(1)}%`;
}

function thousandths(value) {
  return value.toFixed(3);
}

function showOverview() {
  const { n, clusters, k, origin, epochs, network, figures, n_duplicates: groups, n_odd: odd } = overview;
  const sizes = clusters.size.filter((_, row) => clusters.number[row] >= 0).sort((a, b) => a - b);
  const facts = [
    fact(formatted(n), n === 1 ? "picture" : "pictures"),
    fact(formatted(sizes.length), sizes.length === k ? "clusters" : `of ${formatted(k)} clusters hold pictures`, "#/clusters"),
    fact(formatted(sizes[sizes.length >> 1]), "pictures in the median cluster"),
    groups ? fact(formatted(groups), groups === 1 ? "group of duplicates" : "groups of duplicates", "#/duplicates") : null,
    odd ? fact(formatted(odd), "odd ones to look at", "#/odd") : null,
  ];
  const table = figuresTable(figures);
  const largest = clusters.size.map((size, row) => row).sort((a, b) => clusters.size[b] - clusters.size[a]).slice(0, 12);
  const map = make("a", { class: "card preview", href: "#/map", "aria-label": "map of all pictures" }, make("canvas"));
  fill(
    make("div", { class: "facts" }, ...facts),
    make("div", { class: "columns" },
      make("div", { class: "stack" },
        make("section", { class: "card" },
          make("h2", {}, "What training added"),
          make("p", { class: "sentence" }, figures.learned ? `${capital(figures.learned)}.` : epochs ? "This was not measured." : "The network was not trained: these are the clusters of its start."),
          table && make("div", { class: "scroll" }, table),
          ...(figures.alike || []).map((sentence) => make("p", { class: "warning" }, sentence)),
          make("p", { class: "soft" }, `${network}, ${counted(epochs, "epoch")}; clusters: ${origin}.`)),
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

/** The figures of the network beside those of what needs no training, or null. */
function figuresTable(figures) {
  const has = (name, key) => typeof figures[name]?.[key] === "number";
  const who = COLUMNS.filter((name) => FIGURES.some(([, key]) => has(name, key)) && !(name === "untrained" && figures.pretrained));
  const rows = FIGURES.filter(([, key]) => who.some((name) => has(name, key)));
  if (!rows.length) return null;
  const cells = (key, form) => who.map((name) => make("td", { class: name }, has(name, key) ? form(figures[name][key]) : "–"));
  return make("table", {},
    make("thead", {}, make("tr", {}, make("th"), ...who.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map(([title, key, form]) => make("tr", {}, make("th", { scope: "row" }, title), ...cells(key, form)))));
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
