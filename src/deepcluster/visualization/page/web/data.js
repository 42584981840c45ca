// The data: files in data/ that call deliver(NAME, VALUE), loaded when first asked for. Next: pictures.js.
"use strict";

const chunks = new Map(); // name -> {promise, resolve}
let overview; // data/overview.js, there from the start

function deliver(name, value) {
  chunks.get(name).resolve(unpack(value));
}

/** The content of data/NAME.js, as a promise. */
function load(name) {
  if (!chunks.has(name)) {
    const entry = {};
    entry.promise = new Promise((resolve, reject) => {
      entry.resolve = resolve;
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onload = () => script.remove();
      script.onerror = () => reject(new Error(`data/${name}.js is missing: the page's folder is not complete`));
      document.head.append(script);
    });
    chunks.set(name, entry);
  }
  return chunks.get(name).promise;
}

/** Arrays of numbers become typed arrays, at any depth. */
function unpack(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  if (typeof value.base64 === "string") {
    const text = atob(value.base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const types = { Uint8: Uint8Array, Uint16: Uint16Array, Int32: Int32Array, Float32: Float32Array };
    return new types[value.type](bytes.buffer);
  }
  for (const key of Object.keys(value)) value[key] = unpack(value[key]);
  return value;
}

// Pictures are numbered by cluster and, in a cluster, from its centroid outwards: a cluster is a range of numbers.
let starts; // where each row of the cluster table begins; one more at the end
let rowOf; // cluster number -> row of the cluster table

function readOverview(value) {
  overview = value;
  starts = new Int32Array(value.clusters.size.length + 1);
  value.clusters.size.forEach((size, row) => (starts[row + 1] = starts[row] + size));
  rowOf = new Map(value.clusters.number.map((number, row) => [number, row]));
}

/** The row of the cluster table that picture i belongs to. */
function clusterRow(i) {
  let low = 0, high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= i) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The pictures of a row of the cluster table, nearest to the centroid first. */
function members(row) {
  return Array.from({ length: overview.clusters.size[row] }, (_, rank) => starts[row] + rank);
}

/** The file name of picture i, as a promise. */
async function nameOf(i) {
  const n = overview.images.names_per_chunk;
  return (await load(`names_${Math.floor(i / n)}`))[i % n];
}

/** The pictures most similar to picture i, the nearest first. */
async function similarTo(i) {
  const { similar_per_chunk: per, n_similar: n } = overview.images;
  const chunk = await load(`similar_${Math.floor(i / per)}`);
  return Array.from(chunk.subarray((i % per) * n, (i % per + 1) * n));
}

/** Pictures whose file names hold all words; tell(found, share done) is called after every chunk. */
async function search(text, tell) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [], per = overview.images.names_per_chunk;
  for (let start = 0; start < overview.n; start += per) {
    const names = await load(`names_${start / per}`);
    names.forEach((name, place) => {
      const lower = name.toLowerCase();
      if (words.every((word) => lower.includes(word))) found.push(start + place);
    });
    if (!tell(found, Math.min(1, (start + per) / overview.n))) return;
  }
}

const formatted = (number) => number.toLocaleString("en-US");
const percent = (share) => `${(100 * share).toFixed(share < 0.1 && share > 0 ? 1 : 0)}%`;
const counted = (n, what) => `${formatted(n)} ${what}${n === 1 ? "" : "s"}`;
