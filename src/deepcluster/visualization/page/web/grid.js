// A grid of thumbnails in pages; arrow keys move in it. Next: overview.js.
"use strict";

const PER_PAGE = 180;
let shownList = []; // the pictures of the last grid: the viewer goes through them

/** A thumbnail that opens picture i; `list` is what the viewer then goes through. */
function tile(i, list, caption) {
  const link = make("a", { class: "tile", href: pictureHash(i), "aria-label": `picture ${i}`, "data-picture": i,
    onclick: () => (shownList = list) }, thumbnail(i));
  if (caption !== undefined) link.append(make("span", { class: "caption" }, caption));
  nameOf(i).then((name) => {
    link.title = name;
    link.setAttribute("aria-label", name);
    if (caption === "") link.lastChild.textContent = name.slice(name.lastIndexOf("/") + 1);
  });
  return link;
}

/**
 * A grid of one page of pictures, and links to the others.
 * @param list all pictures, numbers
 * @param page from 1
 * @param hash page -> its link
 * @param caption picture's place in the list -> text under it; undefined: none; "" the file name
 */
function grid(list, page, hash, caption = () => undefined) {
  const n = Math.max(1, Math.ceil(list.length / PER_PAGE));
  page = Math.min(Math.max(1, page || 1), n);
  const from = (page - 1) * PER_PAGE;
  const tiles = list.slice(from, from + PER_PAGE).map((i, place) => tile(i, list, caption(from + place)));
  const body = make("div", { class: "grid", onkeydown: moveInGrid }, ...tiles);
  shownList = list;
  return [n > 1 ? pager(page, n, hash) : null, body, n > 1 ? pager(page, n, hash) : null];
}

function pager(page, n, hash) {
  const near = [...new Set([1, 2, page - 1, page, page + 1, n - 1, n])].filter((p) => p >= 1 && p <= n).sort((a, b) => a - b);
  const items = near.flatMap((p, place) => [
    place > 0 && p - near[place - 1] > 1 ? make("span", { class: "soft" }, "…") : null,
    p === page ? make("b", { "aria-current": "page" }, p) : make("a", { href: hash(p) }, p),
  ]);
  const step = (p, text, name) => make("a", { class: "step", href: p >= 1 && p <= n ? hash(p) : null, rel: name, "aria-label": `${name} page` }, text);
  return make("nav", { class: "pager", "aria-label": "pages" }, step(page - 1, "‹", "prev"), ...items, step(page + 1, "›", "next"));
}

function moveInGrid(event) {
  const tiles = [...event.currentTarget.querySelectorAll(".tile")];
  const at = tiles.indexOf(document.activeElement);
  if (at < 0) return;
  const across = tiles.filter((other) => other.offsetTop === tiles[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -at, End: tiles.length - 1 - at }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  tiles[at + step]?.focus();
}
