// The list of clusters, and one cluster with all its members. Next: dots.js.
"use strict";

const SORTS = { // title, key of a row, from large
  largest: ["largest first", (row) => -overview.clusters.size[row]],
  smallest: ["smallest first", (row) => overview.clusters.size[row]],
  compact: ["most compact first", (row) => overview.clusters.distance[row]],
  loose: ["least compact first", (row) => -overview.clusters.distance[row]],
  pure: ["purest first", (row) => -(majority(row)?.share ?? -1)],
  mixed: ["most mixed first", (row) => majority(row)?.share ?? 2],
  label: ["by label", (row) => majority(row)?.label ?? "\uffff"],
  name: ["by name", (row) => nameOfCluster(overview.clusters.number[row]) || "\uffff"],
  group: ["by group", (row) => overview.clusters.group[row]],
  number: ["by number", (row) => row],
};
const CARDS_AT_ONCE = 60;
const listing = { sort: "largest", filter: "" }; // stays when one comes back to the list

/** Whether a row passes a filter such as "cat size>50 purity<60% group=3": words of name, label or number, and comparisons. */
function passes(row, filter) {
  const number = overview.clusters.number[row], major = majority(row);
  const text = `${titleOfCluster(number)} ${number} ${major?.label ?? ""}`.toLowerCase();
  const values = { size: overview.clusters.size[row], distance: overview.clusters.distance[row], purity: major?.share ?? 0, group: overview.clusters.group?.[row] ?? -1 };
  return filter.toLowerCase().split(/\s+/).filter(Boolean).every((word) => {
    const compared = word.match(/^(size|distance|purity|group)([<>]=?|=)([\d.]+)(%?)$/);
    if (!compared) return text.includes(word);
    const value = values[compared[1]], limit = Number(compared[3]) / (compared[4] ? 100 : 1);
    return { "<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit, "=": value === limit }[compared[2]];
  });
}

/** The rows of the cluster table in the chosen order, filtered. */
function listedRows() {
  const key = SORTS[listing.sort][1];
  const rows = overview.clusters.size.map((_, row) => row).filter((row) => passes(row, listing.filter));
  const keys = new Map(rows.map((row) => [row, key(row)]));
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  return rows.sort((a, b) => compare(keys.get(a), keys.get(b)) || a - b);
}

function showClusters() {
  const labelled = Boolean(overview.clusters.shares);
  const grouped = Boolean(overview.clusters.group);
  const sorts = Object.entries(SORTS).filter(([name]) => (labelled || !["pure", "mixed", "label"].includes(name)) && (grouped || name !== "group"));
  const cards = make("div", { class: "cards" }), count = make("span", { class: "soft", role: "status" });
  const end = make("div", { class: "end" });
  let rows, n;
  const more = () => {
    cards.append(...rows.slice(n, n + CARDS_AT_ONCE).map(clusterCard));
    n = Math.min(rows.length, n + CARDS_AT_ONCE);
  };
  const show = () => {
    rows = listedRows();
    n = 0;
    count.textContent = rows.length === overview.clusters.size.length ? counted(rows.length, "cluster") : `${formatted(rows.length)} of ${counted(overview.clusters.size.length, "cluster")}`;
    cards.replaceChildren();
    more();
  };
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting) || n >= rows.length) return;
    more();
    watch.unobserve(end); // so that it is looked at again
    watch.observe(end);
  }, { rootMargin: "600px" });
  fill(
    make("div", { class: "toolbar" },
      make("select", { "aria-label": "order", onchange: (event) => { listing.sort = event.target.value; show(); } },
        ...sorts.map(([name, [title]]) => make("option", { value: name, selected: name === listing.sort }, title))),
      make("input", { type: "search", class: "filter", "aria-label": "filter clusters", value: listing.filter,
        placeholder: `Filter: ${labelled ? "name, label, size>50, purity<60%" : "name, number, size>50, distance<0.8"}${grouped ? ", group=3" : ""}`,
        oninput: (event) => { listing.filter = event.target.value; show(); } }),
      count, make("span", { class: "gap" }), exportButton()),
    cards, end);
  show();
  watch.observe(end);
}

function clusterCard(row) {
  const { number, size, distance } = overview.clusters, major = majority(row);
  return make("a", { class: "card cluster", href: `#/cluster/${number[row]}`, "data-cluster": number[row] },
    cover(row),
    make("b", {}, titleOfCluster(number[row])),
    make("span", { class: "soft" }, counted(size[row], "picture") + groupOf(row) + (major ? "" : ` · distance ${distance[row].toFixed(2)}`)),
    major && mixBar(row),
    major && make("span", { class: "soft label" }, `${percent(major.share)} ${major.label}`));
}

/** " · group 3", where clusters are joined to groups. */
const groupOf = (row) => (overview.clusters.group ? ` · group ${overview.clusters.group[row]}` : "");

/** The shares of the commonest labels as one bar. */
function mixBar(row) {
  const shares = overview.clusters.shares[row];
  const text = shares.map(([label, share]) => `${labelName(label)} ${percent(share)}`).join(", ");
  return make("span", { class: "mix", title: text, role: "img", "aria-label": text },
    ...shares.map(([, share], place) => make("i", { style: `width:${100 * share}%;opacity:${1 - 0.25 * place}` })));
}

/** One cluster: #/cluster/NUMBER/PAGE, or .../PAGE/far from the farthest member. */
function showCluster(number, page, order) {
  const row = rowOf.get(Number(number));
  if (row === undefined) return showNothing(`No cluster ${number} holds pictures.`);
  const { size, distance, shares } = overview.clusters, far = order === "far";
  const rows = listedRows(), at = rows.indexOf(row);
  const step = (other, text, title) => make("a", { class: "step", href: rows[other] === undefined || at < 0 ? null : `#/cluster/${overview.clusters.number[rows[other]]}`, title, "aria-label": title, rel: title.split(" ")[0] }, text);
  const list = far ? members(row).reverse() : members(row);
  const link = (p) => `#/cluster/${number}/${p}${far ? "/far" : ""}`;
  fill(
    make("div", { class: "head" },
      make("h1", {}, nameOfCluster(number) || titleOfCluster(Number(number))), nameField(Number(number)), step(at - 1, "‹", "previous cluster"), step(at + 1, "›", "next cluster")),
    make("p", { class: "soft" }, `Cluster ${number}${groupOf(row)}: ${counted(size[row], "picture")}, mean distance to the centroid ${distance[row].toFixed(3)}. `,
      make("a", { href: `#/map/${number}` }, "Show on the map"), " · ",
      make("a", { href: `#/cluster/${number}/1${far ? "" : "/far"}` }, far ? "Nearest to the centroid first" : "Farthest from the centroid first")),
    shares?.[row]?.length ? make("p", { class: "mixed" }, mixBar(row), make("span", { class: "soft" }, shares[row].map(([label, share]) => `${labelName(label)} ${percent(share)}`).join(", "))) : null,
    ...grid(list, Number(page), link).filter(Boolean));
}
