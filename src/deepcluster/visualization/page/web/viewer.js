// One picture: the original, its path, cluster, duplicates and similar pictures. Next: main.js.
"use strict";

const NOT_SHOWN = /\.(tiff?|ppm|pgm|pbm|npy)$/i; // formats that browsers cannot show

const viewer = document.getElementById("viewer");
let duplicateGroups; // picture -> its group

/** Show picture i over the page. */
async function openViewer(i) {
  if (!(i >= 0 && i < overview.n)) return closeViewer();
  if (!shownList.includes(i)) shownList = members(clusterRow(i));
  const at = shownList.indexOf(i), row = clusterRow(i), number = overview.clusters.number[row];
  const rank = i - starts[row] + 1;
  const stage = make("div", { class: `stage${overview.images.sharp ? " sharp" : ""}` }, thumbnail(i));
  const path = make("p", { class: "path" }), facts = make("p", { class: "soft" });
  const similar = make("div", { class: "strip", onkeydown: moveInGrid }), twins = make("div");
  const go = (place, text, title) => make("a", { class: "step", title, "aria-label": title, href: shownList[place] === undefined ? null : pictureHash(shownList[place]),
    onclick: (event) => { event.preventDefault(); turn(place); } }, text);
  viewer.replaceChildren(
    make("div", { class: "bar" },
      make("a", { class: "where", href: `#/cluster/${number}`, onclick: () => viewer.close() }, titleOfCluster(number)),
      make("span", { class: "soft" }, `${formatted(at + 1)} of ${formatted(shownList.length)}`), make("span", { class: "gap" }),
      go(at - 1, "‹", "previous picture"), go(at + 1, "›", "next picture"),
      make("button", { class: "step", "aria-label": "close", title: "close", onclick: leaveViewer }, "×")),
    stage,
    make("aside", {}, path, facts, twins, make("h2", {}, "Similar pictures"), similar));
  if (!viewer.open) viewer.showModal();
  viewer.focus();
  viewer.dataset.picture = i;
  const name = await nameOf(i);
  if (Number(viewer.dataset.picture) !== i) return;
  path.append(pathOf(name));
  showOriginal(stage, i, name, path);
  const columns = await load("columns");
  facts.textContent = [`${formatted(rank)}. of ${formatted(overview.clusters.size[row])} by distance to the centroid (${columns.distance[i].toFixed(3)})`,
    columns.label ? `label: ${labelName(columns.label[i])}` : "", columns.margin ? `margin to the second cluster ${columns.margin[i].toFixed(3)}` : ""].filter(Boolean).join(" · ");
  const near = await similarTo(i);
  similar.replaceChildren(...near.map((other) => tile(other, near)));
  showTwins(twins, i);
}

/** The other pictures of its group of duplicates. */
async function showTwins(place, i) {
  if (!overview.n_duplicates) return;
  if (!duplicateGroups) {
    const groups = await load("duplicates");
    duplicateGroups = new Map(groups.flatMap((group) => shownOf(group).map((image) => [image, group])));
  }
  const group = duplicateGroups.get(i);
  if (!group) return;
  const list = shownOf(group), own = group.find((member) => member.image === i);
  place.replaceChildren(make("h2", {}, `Duplicates${own.keep ? ": this is the one to keep" : ""}`),
    make("div", { class: "strip", onkeydown: moveInGrid }, ...group.filter((other) => other !== own).map((other) => (other.name ? elsewhere(other.name) : tile(other.image, list)))));
}

/** Put the original in place of the thumbnail; say so if it cannot be shown. */
function showOriginal(stage, i, name, path) {
  const urls = originalUrls(name);
  if (!urls.length) return stage.append(make("p", { class: "notice" }, `The thumbnail: data=${overview.images.source} has no files of its pictures.`));
  const image = make("img", { alt: name, title: "click: full size or all of it", onclick: () => stage.classList.toggle("full") });
  let tried = 0;
  image.onload = () => {
    stage.replaceChildren(image);
    path.append(make("span", { class: "soft" }, ` ${image.naturalWidth} × ${image.naturalHeight} `), copyButton(pathOf(name)), " ",
      make("a", { href: image.src, target: "_blank", rel: "noopener" }, "open"));
    if (image.naturalWidth < 200) image.classList.add("small");
  };
  image.onerror = () => {
    if (++tried < urls.length) return (image.src = urls[tried]);
    const why = NOT_SHOWN.test(name)
      ? `Browsers do not show ${name.slice(name.lastIndexOf("."))} files: this is the thumbnail.`
      : "The original cannot be shown: it was moved, deleted or is broken. This is the thumbnail.";
    path.append(" ", copyButton(pathOf(name)));
    stage.append(make("p", { class: "notice", role: "alert" }, why, " ", make("button", { onclick: () => askForRoot(i) }, "The pictures lie elsewhere …")));
  };
  image.src = urls[0];
}

function copyButton(text) {
  const button = make("button", { onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      button.textContent = "not allowed here";
    }
  } }, "copy path");
  return button;
}

function askForRoot(i) {
  const answer = prompt("The folder in which the pictures lie now:", remembered(rootKey()) || overview.images.root);
  if (!answer) return;
  remember(rootKey(), answer.replace(/[\\/]+$/, ""));
  openViewer(i);
}

/** Go to another picture of the list, without a step in the browser's history. */
function turn(place) {
  if (shownList[place] === undefined) return;
  history.replaceState(null, "", pictureHash(shownList[place]));
  openViewer(shownList[place]);
}

const turnBy = (step) => turn(shownList.indexOf(Number(viewer.dataset.picture)) + step);

function closeViewer() {
  viewer.close();
  viewer.replaceChildren();
}

/** Close it and leave its picture out of the address. */
function leaveViewer() {
  location.hash = location.hash.split("?")[0] || "#/";
}

viewer.addEventListener("cancel", (event) => {
  event.preventDefault();
  leaveViewer();
});
viewer.addEventListener("click", (event) => event.target === viewer && leaveViewer());
