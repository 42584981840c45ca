// The map of all pictures: pan, zoom, thumbnails when near, lasso. Next: lists.js.
"use strict";

const NEAR = 1500; // visible points up to which thumbnails are drawn
const CELL = 50; // CSS pixels of a thumbnail's side; more where few are near
const SLOTS = 26; // thumbnails along each side of the atlas
let selection = []; // pictures of the last lasso

/** Thumbnails for a canvas: copied from their sheets to one canvas of fixed size, so that sheets can be let go. */
class Atlas {
  constructor(arrived) {
    this.size = Math.min(96, overview.images.size);
    this.canvas = make("canvas", { width: SLOTS * this.size, height: SLOTS * this.size });
    this.context = this.canvas.getContext("2d");
    this.slots = new Map(); // picture -> slot; the longest unused first
    this.free = Array.from({ length: SLOTS * SLOTS }, (_, slot) => slot);
    this.wanted = new Map(); // sheet's url -> its pictures that are waited for
    this.loading = new Set();
    this.arrived = arrived;
  }

  /** Ask for pictures in place of those asked for before. */
  want(pictures) {
    this.wanted.clear();
    for (const i of pictures.slice(0, SLOTS * SLOTS)) {
      if (this.slots.has(i)) continue;
      const { url } = sheetOf(i);
      if (!this.wanted.has(url)) this.wanted.set(url, []);
      this.wanted.get(url).push(i);
    }
    this.loadNext();
  }

  loadNext() {
    for (const url of this.wanted.keys()) {
      if (this.loading.size >= 4) return;
      if (this.loading.has(url)) continue;
      this.loading.add(url);
      const sheet = new Image();
      const done = () => {
        this.loading.delete(url);
        this.wanted.delete(url);
        this.loadNext();
      };
      sheet.onload = () => {
        for (const i of this.wanted.get(url) || []) this.put(i, sheet);
        this.arrived();
        done();
      };
      sheet.onerror = done;
      sheet.src = url;
    }
  }

  put(i, sheet) {
    if (!this.free.length) {
      const [oldest, slot] = this.slots.entries().next().value;
      this.slots.delete(oldest);
      this.free.push(slot);
    }
    const slot = this.free.pop(), { row, column } = sheetOf(i), whole = overview.images.size;
    this.slots.set(i, slot);
    this.context.drawImage(sheet, column * whole, row * whole, whole, whole, (slot % SLOTS) * this.size, Math.floor(slot / SLOTS) * this.size, this.size, this.size);
  }

  /** Draw picture i, side pixels wide; returns whether it is there. */
  draw(context, i, x, y, side) {
    const slot = this.slots.get(i);
    if (slot === undefined) return false;
    this.slots.delete(i);
    this.slots.set(i, slot); // used last
    context.drawImage(this.canvas, (slot % SLOTS) * this.size, Math.floor(slot / SLOTS) * this.size, this.size, this.size, x, y, side, side);
    return true;
  }
}

/** Points whose thumbnails, side pixels wide, do not cover each other; the same ones while one pans. */
function apart(dots, points, side) {
  const taken = new Map(), chosen = [];
  for (const i of points) {
    const [px, py] = dots.at(i), column = Math.floor(px / side), row = Math.floor(py / side);
    let is_free = true;
    for (let c = column - 1; c <= column + 1 && is_free; c++) {
      for (let r = row - 1; r <= row + 1 && is_free; r++) {
        const other = taken.get(c * 10000 + r);
        is_free = !other || Math.abs(other[0] - px) >= side || Math.abs(other[1] - py) >= side;
      }
    }
    if (!is_free) continue;
    taken.set(column * 10000 + row, [px, py]);
    chosen.push(i);
  }
  return chosen;
}

async function showMap(cluster) {
  const { signal } = left;
  const points = make("canvas"), top = make("canvas", { class: "top", tabindex: 0, "aria-label": "map of all pictures; arrow keys move, + and - zoom" });
  const hint = make("div", { class: "hint", hidden: true }), chosen = make("div", { class: "chosen", role: "status" });
  const frame = make("div", { class: "map" }, points, top, hint, chosen);
  const colour = make("select", { "aria-label": "colour" }, make("option", { value: "cluster" }, "coloured by cluster"),
    overview.clusters.shares ? make("option", { value: "label" }, "coloured by label") : null);
  const pictures = make("input", { type: "checkbox", checked: true });
  const lasso = make("button", { "aria-pressed": "false", title: "draw around pictures (or hold Shift)" }, "Lasso");
  const button = (text, title, act) => make("button", { title, "aria-label": title, onclick: act }, text);
  const { x, y } = await load("map");
  const columns = overview.clusters.shares ? await load("columns") : {};
  if (signal.aborted) return;
  fill(make("div", { class: "toolbar" }, colour, make("label", {}, pictures, " pictures when near"), make("span", { class: "gap" }), lasso,
    button("+", "zoom in", () => zoom(1.6)), button("−", "zoom out", () => zoom(1 / 1.6)), button("Fit", "show all", () => { dots.fit(); later(); })), frame);

  const dots = new Dots(points, x, y), atlas = new Atlas(() => later()), only = rowOf.get(Number(cluster ?? NaN));
  let path = null, hovered = -1, waiting = false;
  const paint = () => {
    const grey = isDark() ? 0xff4a4038 : 0xffd8d2cc;
    if (colour.value === "label") for (let i = 0; i < dots.n; i++) dots.colours[i] = columns.label[i] < 0 ? grey : colourOf(columns.label[i]);
    else dots.colours = clusterColours();
    if (only !== undefined) for (let i = 0; i < dots.n; i++) if (i < starts[only] || i >= starts[only + 1]) dots.colours[i] = grey;
  };
  const draw = () => {
    waiting = false;
    if (!frame.isConnected) return;
    dots.resize();
    dots.draw(...(only === undefined ? [] : [starts[only], starts[only + 1]]));
    Object.assign(top, { width: points.width, height: points.height });
    const context = top.getContext("2d"), ratio = dots.ratio;
    context.imageSmoothingEnabled = !overview.images.sharp;
    const near = pictures.checked ? dots.visible() : [];
    if (near.length <= NEAR) {
      const side = Math.round(Math.min(96, CELL * Math.max(1, 1.6 - near.length / 150)) * ratio), shown = apart(dots, near, side + 2 * ratio);
      atlas.want(shown);
      context.lineWidth = 2 * ratio;
      for (const i of shown) {
        const [px, py] = dots.at(i), left = Math.round(px - side / 2), upper = Math.round(py - side / 2);
        context.strokeStyle = rgb(dots.colours[i]);
        if (atlas.draw(context, i, left, upper, side)) context.strokeRect(left, upper, side, side);
      }
    }
    drawNumbers(context, dots, only);
    if (path) drawPath(context, path, ratio);
  };
  const later = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };
  const zoom = (factor, px = points.width / 2, py = points.height / 2) => { dots.zoom(factor, px, py); later(); };
  const point = (event) => {
    const box = top.getBoundingClientRect();
    return [(event.clientX - box.left) * dots.ratio, (event.clientY - box.top) * dots.ratio];
  };
  const fingers = new Map();
  let moved = 0;
  const select = (list) => {
    selection = list;
    showTab("selection", list.length > 0);
    chosen.replaceChildren(...(list.length ? [make("b", {}, counted(list.length, "picture")), make("a", { href: "#/selection" }, "show them"), make("button", { onclick: () => select([]) }, "clear")] : []));
  };
  const handlers = {
    pointerdown(event) {
      top.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, point(event));
      moved = 0;
      path = fingers.size === 1 && (event.shiftKey || lasso.getAttribute("aria-pressed") === "true") ? [point(event)] : null;
    },
    pointermove(event) {
      const to = point(event), from = fingers.get(event.pointerId);
      if (!from) return hover(to, event);
      hint.hidden = true;
      moved += Math.hypot(to[0] - from[0], to[1] - from[1]);
      if (path) for (const between of event.getCoalescedEvents?.() ?? [event]) path.push(point(between));
      else if (fingers.size === 1) dots.move(to[0] - from[0], to[1] - from[1]);
      else {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const before = Math.hypot(from[0] - other[0], from[1] - other[1]), after = Math.hypot(to[0] - other[0], to[1] - other[1]);
        dots.zoom(after / Math.max(1, before), (to[0] + other[0]) / 2, (to[1] + other[1]) / 2);
        dots.move((to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
      }
      fingers.set(event.pointerId, to);
      later();
    },
    pointerup(event) {
      const was = fingers.delete(event.pointerId);
      if (path && path.length > 2) select(dots.inside(path));
      else if (was && moved < 6 * dots.ratio && !path) open(dots.nearest(...point(event), 16 * dots.ratio));
      path = null;
      later();
    },
    pointercancel(event) { fingers.delete(event.pointerId); path = null; },
    pointerleave() { hint.hidden = true; hovered = -1; },
    wheel(event) { event.preventDefault(); zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...point(event)); },
    keydown(event) {
      const step = 60 * dots.ratio, moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (moves[event.key]) dots.move(...moves[event.key]);
      else if (event.key === "+" || event.key === "=") dots.zoom(1.4, points.width / 2, points.height / 2);
      else if (event.key === "-") dots.zoom(1 / 1.4, points.width / 2, points.height / 2);
      else if (event.key === "0") dots.fit();
      else return;
      event.preventDefault();
      later();
    },
  };
  for (const [name, handler] of Object.entries(handlers)) top.addEventListener(name, handler, { passive: false });
  const open = (i) => {
    if (i < 0) return;
    shownList = members(clusterRow(i));
    location.hash = pictureHash(i);
  };
  const hover = (at, event) => {
    const i = dots.nearest(...at, 14 * dots.ratio);
    hint.hidden = i < 0;
    top.style.cursor = i < 0 ? "" : "pointer";
    if (i < 0) { hovered = -1; return; }
    const box = frame.getBoundingClientRect();
    hint.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 170)}px`;
    hint.style.top = `${Math.min(event.clientY - box.top + 14, box.height - 190)}px`;
    if (i === hovered) return;
    hovered = i;
    const number = overview.clusters.number[clusterRow(i)], name = make("span", { class: "soft" });
    nameOf(i).then((text) => (name.textContent = text.slice(text.lastIndexOf("/") + 1)));
    hint.replaceChildren(thumbnail(i), make("b", {}, titleOfCluster(number)), name);
  };
  colour.onchange = () => { paint(); later(); };
  pictures.onchange = later;
  lasso.onclick = () => {
    const on = lasso.getAttribute("aria-pressed") !== "true";
    lasso.setAttribute("aria-pressed", String(on));
    frame.classList.toggle("lassoing", on);
  };
  new ResizeObserver(later).observe(frame);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); later(); }, { signal });
  signal.addEventListener("abort", () => [points, top, atlas.canvas].forEach((canvas) => Object.assign(canvas, { width: 0, height: 0 }))); // 30 MB
  dots.fit();
  paint();
  select(selection);
  draw();
}

const rgb = (abgr) => `rgb(${abgr & 255},${(abgr >> 8) & 255},${(abgr >> 16) & 255})`;

/** Names or numbers of the largest clusters at their middles, where they do not cover each other. */
function drawNumbers(context, dots, only) {
  const middles = clusterMiddles(dots), taken = [], ratio = dots.ratio;
  context.font = `600 ${12 * ratio}px system-ui,sans-serif`;
  Object.assign(context, { textAlign: "center", textBaseline: "middle", lineJoin: "round", lineWidth: 3 * ratio });
  const rows = only === undefined ? middles.order : [only];
  for (const row of rows) {
    const px = (middles.x[row] - dots.left) * dots.scale, py = (dots.top - middles.y[row]) * dots.scale;
    if (px < 0 || py < 0 || px > context.canvas.width || py > context.canvas.height) continue;
    const number = overview.clusters.number[row], text = nameOfCluster(number) || String(number);
    const wide = context.measureText(text).width / 2 + 8 * ratio;
    if (taken.some(([x, y, w]) => Math.abs(x - px) < w + wide && Math.abs(y - py) < 22 * ratio)) continue;
    taken.push([px, py, wide]);
    context.strokeStyle = isDark() ? "#11151c" : "#ffffff";
    context.strokeText(text, px, py);
    context.fillStyle = isDark() ? "#e8ebf1" : "#1d2430";
    context.fillText(text, px, py);
    if (taken.length > 120) break;
  }
}

let middlesOf; // computed once

/** The member of each cluster that lies nearest to the mean of its members' places. */
function clusterMiddles(dots) {
  if (middlesOf) return middlesOf;
  const n = overview.clusters.size.length, x = new Float32Array(n), y = new Float32Array(n);
  for (let row = 0; row < n; row++) {
    const xs = dots.x.slice(starts[row], starts[row + 1]).sort(), ys = dots.y.slice(starts[row], starts[row + 1]).sort();
    const middle = [xs[xs.length >> 1], ys[ys.length >> 1]];
    let best = Infinity;
    for (let i = starts[row]; i < starts[row + 1]; i++) {
      const distance = (dots.x[i] - middle[0]) ** 2 + (dots.y[i] - middle[1]) ** 2;
      if (distance < best) [best, x[row], y[row]] = [distance, dots.x[i], dots.y[i]];
    }
  }
  const order = Array.from({ length: n }, (_, row) => row).sort((a, b) => overview.clusters.size[b] - overview.clusters.size[a]);
  return (middlesOf = { x, y, order: order.filter((row) => overview.clusters.number[row] >= 0) });
}

function drawPath(context, path, ratio) {
  context.beginPath();
  path.forEach(([x, y], place) => (place ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
  Object.assign(context, { lineWidth: 2 * ratio, strokeStyle: "#2f6fdb", fillStyle: "rgba(47,111,219,.15)" });
  context.fill();
  context.stroke();
}
