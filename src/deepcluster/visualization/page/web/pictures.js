// Elements, thumbnails cut from sheets, and where the originals lie. Next: names.js.
"use strict";

/** An element. Attributes whose name begins with "on" are listeners; children are elements or text, never HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The sheet of picture i and its place there: {url, row, column}. */
function sheetOf(i) {
  const { across, ending } = overview.images;
  const place = i % (across * across);
  const sheet = (i - place) / (across * across);
  return { url: `sheets/${sheet}.${ending}`, row: Math.floor(place / across), column: place % across };
}

/** Gives elements their pictures while they are near the window, so that the browser can let go of the others. */
const nearWindow = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) target.style.setProperty("--sheet", isIntersecting ? `url(${target.dataset.sheet})` : "none");
}, { rootMargin: "200px" });

/** An element whose background is the picture of this address, or a part of it. */
function background(attributes, url) {
  const element = make("span", { ...attributes, "data-sheet": url });
  nearWindow.observe(element);
  return element;
}

/** The picture at a place of a sheet of `across` x `down` pictures. */
function sprite(url, row, column, across, down) {
  const x = across > 1 ? (100 * column) / (across - 1) : 0, y = down > 1 ? (100 * row) / (down - 1) : 0;
  return background({ class: "thumb", style: `background-size:${100 * across}% ${100 * down}%;background-position:${x}% ${y}%` }, url);
}

/** A thumbnail of picture i that is no link. */
function thumbnail(i) {
  const { url, row, column } = sheetOf(i), { across } = overview.images;
  return sprite(url, row, column, across, across);
}

/** The cover of a row of the cluster table: up to six members, from the nearest to the farthest. */
function cover(row) {
  const [across, down] = overview.images.cover, size = overview.clusters.size[row];
  const url = `covers/${overview.clusters.number[row]}.${overview.images.ending}`;
  if (size >= across * down) return background({ class: "cover whole" }, url);
  const cells = Array.from({ length: Math.min(size, across * down) }, (_, place) =>
    sprite(url, Math.floor(place / across), place % across, across, down));
  return make("span", { class: "cover", style: `--across:${across}` }, ...cells);
}

/** A path as part of a URL. Bytes that are no UTF-8 stand in names as U+DC80 to U+DCFF, as Python reads them. */
function asUrl(path) {
  return path.replace(/[\uDC80-\uDCFF]|[^\uDC80-\uDCFF]+/gu, (part) => {
    const code = part.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return `%${(code - 0xdc00).toString(16).toUpperCase()}`;
    return encodeURIComponent(part.toWellFormed ? part.toWellFormed() : part).replace(/%2F/g, "/");
  });
}

const rootKey = () => `deepcluster/${overview.key}/root`;

/** Where the original of this name may lie: the folder that the user gave, beside the page, as when it was made. */
function originalUrls(name) {
  const { root, relative } = overview.images;
  if (root === null) return [];
  const moved = remembered(rootKey());
  const absolute = (folder) => {
    const posix = /^[A-Za-z]:/.test(folder) ? `/${folder.replace(/\\/g, "/")}` : folder; // C:\\photos
    return `file://${asUrl(`${posix}/${name}`)}`;
  };
  return [moved && absolute(moved), asUrl(`${relative}/${name}`), absolute(root)].filter(Boolean);
}

/** The path of an original, to read and to copy. */
function pathOf(name) {
  const { root } = overview.images;
  return root === null ? name : `${remembered(rootKey()) || root}/${name}`;
}

// What a browser keeps for this page. It may refuse: then the page forgets when it is closed.
const forgetful = new Map();

function remembered(key) {
  if (forgetful.has(key)) return forgetful.get(key);
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Remember a text; returns whether the browser keeps it. */
function remember(key, text) {
  forgetful.set(key, text);
  try {
    localStorage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}

/** Give the user a file to save. */
function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** A row of CSV, quoted where it has to be. */
function csvRow(cells) {
  return cells.map((cell) => (/[",\r\n]/.test(cell) ? `"${String(cell).replace(/"/g, '""')}"` : cell)).join(",") + "\n";
}
