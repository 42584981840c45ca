// Addresses and keys: #/PART/... shows a part of the page, ?picture=NUMBER a picture over it. The last file.
"use strict";

const PARTS = { "": showOverview, map: showMap, clusters: showClusters, cluster: showCluster, odd: showOdd, duplicates: showDuplicates, changes: showChanges, search: showSearch, selection: showSelection };
const KEYS = [["/", "search"], ["o m c", "overview, map, clusters"], ["d x", "duplicates, odd ones"], ["← → ↑ ↓", "move in a grid or on the map"], ["Enter", "open a picture"], ["← →", "previous, next picture or cluster"], ["n", "name the cluster"], ["+ − 0", "zoom the map, show all of it"], ["Shift + drag", "lasso on the map"], ["Esc", "close"], ["?", "these keys"]];
const content = document.querySelector("main"), searchField = document.querySelector(".search input");
let shownRoute = null;
let left = new AbortController(); // its signal tells the part that is shown when another takes its place

/** Add elements to the page's content. */
function fill(...children) {
  content.append(...children.filter((child) => child !== null && child !== undefined));
}

/** The address of picture i over the part that is shown. */
function pictureHash(i) {
  return `${location.hash.split("?")[0] || "#/"}?picture=${i}`;
}

function showNothing(text) {
  fill(make("p", { class: "warning" }, text));
}

function showTab(part, is_there) {
  document.querySelector(`nav a[href="#/${part}"]`).hidden = !is_there;
}

async function route() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [part = "", ...rest] = path.replace(/^\//, "").split("/").map(decodeURIComponent);
  if (path !== shownRoute) {
    shownRoute = path;
    left.abort();
    left = new AbortController();
    viewer.close();
    content.replaceChildren();
    content.className = `view-${part || "overview"}`;
    for (const link of document.querySelectorAll("nav a")) {
      const is_here = link.getAttribute("href") === `#/${part === "cluster" ? "clusters" : part}`;
      if (is_here) {
        link.setAttribute("aria-current", "page");
        link.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else link.removeAttribute("aria-current");
    }
    if (part !== "search") searchField.value = "";
    window.scrollTo(0, 0);
    await (PARTS[part] || (() => showNothing("There is no such part of this page.")))(...rest);
  }
  const picture = new URLSearchParams(query).get("picture");
  if (picture !== null) await openViewer(Number(picture));
  else closeViewer();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (viewer.open) {
    if (event.target.closest(".strip")) return;
    if (event.key === "ArrowLeft") turnBy(-1);
    else if (event.key === "ArrowRight") turnBy(1);
    return;
  }
  const there = (part) => !document.querySelector(`nav a[href="#/${part}"]`).hidden;
  const goTo = (part) => there(part) && (location.hash = `#/${part}`);
  const acts = { "/": () => searchField.focus(), o: () => goTo(""), m: () => goTo("map"), c: () => goTo("clusters"), d: () => goTo("duplicates"), x: () => goTo("odd"), n: () => document.querySelector("input.name")?.focus(), "?": showKeys };
  if (event.key.startsWith("Arrow") && !event.defaultPrevented) {
    const rel = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    if (rel && event.target === document.body) document.querySelector(`.head a[rel=${rel}][href]`)?.click();
    return;
  }
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}

function showKeys() {
  const help = document.getElementById("help");
  help.replaceChildren(make("h2", {}, "Keys"), make("dl", {}, ...KEYS.flatMap(([keys, what]) => [make("dt", {}, ...keys.split(" ").map((key) => make("kbd", {}, key))), make("dd", {}, what)])), make("button", { onclick: () => help.close() }, "Close"));
  help.showModal();
}

document.querySelector(".search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (searchField.value.trim()) location.hash = `#/search/${encodeURIComponent(searchField.value.trim())}`;
});
document.addEventListener("keydown", onKey);
addEventListener("hashchange", route);
addEventListener("unhandledrejection", (event) => showNothing(event.reason?.message || String(event.reason)));

load("overview").then((value) => {
  readOverview(value);
  readNames();
  document.body.classList.toggle("sharp-pictures", overview.images.sharp);
  showTab("changes", Boolean(overview.changes));
  showTab("odd", overview.n_odd > 0);
  showTab("duplicates", overview.n_duplicates > 0);
  return route();
});
