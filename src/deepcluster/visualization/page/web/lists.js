// Lists of pictures: odd ones, duplicates, what a search or the lasso found. Next: viewer.js.
"use strict";

const GROUPS_PER_PAGE = 30;

async function showOdd(page) {
  if (!overview.n_odd) return showNothing("No odd pictures are known: odd.csv names none, or the run has no such file.");
  const { images, scores } = await load("odd");
  fill(make("h1", {}, "Odd ones"),
    make("p", { class: "soft" }, `${counted(images.length, "picture")} that are less like the others than these vary, the oddest first. odd.csv lists all pictures in this order.`),
    ...grid(images, Number(page), (p) => `#/odd/${p}`, (place) => (scores[place] === null ? "" : scores[place].toPrecision(3))));
}

async function showDuplicates(page) {
  if (!overview.n_duplicates) return showNothing("No duplicates are known: duplicates.csv lists none, or the run has no such file.");
  const groups = await load("duplicates");
  const n = Math.max(1, Math.ceil(groups.length / GROUPS_PER_PAGE)), at = Math.min(Math.max(1, Number(page) || 1), n);
  const link = (p) => `#/duplicates/${p}`;
  const pictures = groups.reduce((sum, group) => sum + group.length, 0);
  const save = make("button", { onclick: async () => {
    const others = groups.flat().filter((member) => !member.keep);
    const rows = await Promise.all(others.map(async ({ image, name }) => csvRow([pathOf(name ?? (await nameOf(image)))])));
    download("not_to_keep.csv", csvRow(["path"]) + rows.join(""));
  } }, "Export what not to keep");
  fill(make("div", { class: "head" }, make("h1", {}, "Duplicates"), make("span", { class: "gap" }), save),
    make("p", { class: "soft" }, `${counted(groups.length, "group")} of ${counted(pictures, "picture")} that are equal or nearly so.`),
    n > 1 ? pager(at, n, link) : null,
    make("div", { class: "groups" }, ...groups.slice((at - 1) * GROUPS_PER_PAGE, at * GROUPS_PER_PAGE).map(groupCard)),
    n > 1 ? pager(at, n, link) : null);
}

/** A group of duplicates side by side. */
function groupCard(group) {
  const list = shownOf(group), kept = group.find((member) => member.keep);
  return make("section", { class: "card group", onkeydown: moveInGrid }, ...group.map((member) => {
    const here = member.image !== undefined, path = make("span", { class: "path" }, member.name ?? "");
    if (here) nameOf(member.image).then((name) => (path.textContent = name));
    const apart = member.distance || (member.kind === "exact" ? 0 : kept?.distance); // to the medoid; of the medoid to the one to keep
    const distance = apart ? `distance ${apart.toPrecision(2)}` : "";
    return make("div", { class: "member" }, here ? tile(member.image, list) : elsewhere(member.name),
      make("span", {}, member.keep ? make("b", { class: "keep" }, "keep") : [member.kind, distance].filter(Boolean).join(", ")),
      here ? null : make("span", { class: "warning" }, "not among these pictures"), path);
  }));
}

/** The members of a group of duplicates that are pictures of this page. */
const shownOf = (group) => group.map((member) => member.image).filter((i) => i !== undefined);

/** A picture that is none of this page's, such as a test image: its original, if that can be shown. */
function elsewhere(name) {
  const [url, ...others] = originalUrls(name);
  const image = make("img", { src: url, alt: name, loading: "lazy", onerror: () => others.length && (image.src = others.shift()) });
  return make("a", { class: "tile", href: url, target: "_blank", rel: "noopener", title: name }, image);
}

/** What new pictures changed: groups that are new, grew or shrank, pictures that fit nowhere. */
function showChanges(page) {
  if (!overview.changes) return showNothing("This run follows no other, so there is nothing to compare with.");
  const { new_groups: fresh, grown, shrunk, nowhere, gone } = overview.changes;
  const rowOf = new Map(overview.clusters.number.map((number, row) => [number, row]));
  const cards = (title, numbers) => (numbers.length ? [make("h2", {}, title), make("div", { class: "cards" }, ...numbers.filter((number) => rowOf.has(number)).map((number) => clusterCard(rowOf.get(number))))] : []);
  fill(make("h1", {}, "What changed"),
    ...cards("New groups", fresh),
    ...(nowhere.length ? [make("h2", {}, "New pictures that fit nowhere"), ...grid(nowhere, Number(page), (p) => `#/changes/${p}`)] : []),
    ...cards("Groups that grew, those that grew most first", grown),
    ...cards("Groups that shrank, those that lost most first", shrunk),
    gone.length ? make("p", { class: "soft" }, `${counted(gone.length, "picture")} of the run before ${gone.length === 1 ? "is" : "are"} gone; changes.csv names ${gone.length === 1 ? "it" : "them"}.`) : null);
}

async function showSearch(text, page) {
  const status = make("p", { class: "soft", role: "status" }, "Searching …"), body = make("div");
  const here = location.hash;
  document.querySelector(".search input").value = text;
  fill(make("h1", {}, `Files with “${text}”`), status, body);
  let found = [];
  await search(text, (list, share) => {
    if (location.hash.split("?")[0] !== here.split("?")[0]) return false;
    found = list;
    status.textContent = share < 1 ? `${counted(found.length, "picture")}, ${percent(share)} of the names read …` : found.length ? `${counted(found.length, "picture")} of ${formatted(overview.n)}` : "No file name holds these words.";
    return true;
  });
  body.replaceChildren(...grid(found, Number(page), (p) => `#/search/${encodeURIComponent(text)}/${p}`, () => "").filter(Boolean));
}

function showSelection(page) {
  const save = make("button", { onclick: async () => {
    const rows = await Promise.all(selection.map(async (i) => csvRow([pathOf(await nameOf(i)), overview.clusters.number[clusterRow(i)]])));
    download("selection.csv", csvRow(["path", "cluster"]) + rows.join(""));
  } }, "Export the list");
  fill(make("div", { class: "head" }, make("h1", {}, "Selection"), make("span", { class: "gap" }), selection.length ? save : null),
    make("p", { class: "soft" }, selection.length ? `${counted(selection.length, "picture")} from the map.` : "Nothing is selected: draw a lasso on the map."),
    ...grid(selection, Number(page), (p) => `#/selection/${p}`));
}
