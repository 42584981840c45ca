// Many points on a canvas, written pixel by pixel, so that 100,000 move smoothly without a GPU. Next: map.js.
"use strict";

class Dots {
  /**
   * @param canvas is resized to its place
   * @param x, y Uint16Array, 0..65535; y grows upwards
   */
  constructor(canvas, x, y) {
    Object.assign(this, { canvas, x, y, n: x.length, scale: 1, left: 0, top: 0 });
    this.colours = new Uint32Array(this.n).fill(0xff888888); // of each point, ABGR
    this.resize();
  }

  /** Take the canvas's size on the page; returns whether it changed. */
  resize() {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio)), height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.image && width === this.canvas.width && height === this.canvas.height) return false;
    Object.assign(this.canvas, { width, height });
    this.ratio = ratio;
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    return true;
  }

  /** Show all points. */
  fit() {
    const { width, height } = this.canvas, margin = 0.04 * Math.min(width, height);
    let [minX, maxX, minY, maxY] = [65535, 0, 65535, 0];
    for (let i = 0; i < this.n; i++) {
      minX = Math.min(minX, this.x[i]); maxX = Math.max(maxX, this.x[i]);
      minY = Math.min(minY, this.y[i]); maxY = Math.max(maxY, this.y[i]);
    }
    this.scale = Math.min((width - 2 * margin) / Math.max(1, maxX - minX), (height - 2 * margin) / Math.max(1, maxY - minY));
    this.fitted = this.scale;
    this.left = (minX + maxX) / 2 - width / 2 / this.scale;
    this.top = (minY + maxY) / 2 + height / 2 / this.scale;
  }

  /** Where point i stands, in pixels of the canvas. */
  at(i) {
    return [(this.x[i] - this.left) * this.scale, (this.top - this.y[i]) * this.scale];
  }

  /** Points inside the canvas. */
  visible() {
    const right = this.left + this.canvas.width / this.scale, bottom = this.top - this.canvas.height / this.scale;
    const found = [];
    for (let i = 0; i < this.n; i++) {
      if (this.x[i] >= this.left && this.x[i] <= right && this.y[i] <= this.top && this.y[i] >= bottom) found.push(i);
    }
    return found;
  }

  /** Side of a point in pixels: smaller the more there are, larger the nearer one looks. */
  dotSize() {
    const { width, height } = this.canvas;
    const crowd = Math.sqrt((width * height) / this.n) * 0.26 * Math.sqrt(this.scale / this.fitted);
    return Math.min(11 * this.ratio, Math.max(1.5 * this.ratio, crowd));
  }

  /** Draw all points; those from `first` up to `end` last, so that they lie on top. */
  draw(first = 0, end = this.n) {
    this.pixels.fill(0);
    const mask = disk(this.dotSize());
    this.drawRange(0, first, mask);
    this.drawRange(end, this.n, mask);
    this.drawRange(first, end, mask);
    this.context.putImageData(this.image, 0, 0);
  }

  drawRange(first, end, mask) {
    const { width, height } = this.canvas, { pixels, colours, x, y, left, top, scale } = this, { reach, inner, rim } = mask;
    const offsets = inner.map(([column, row]) => row * width + column);
    for (let i = first; i < end; i++) {
      const column = Math.round((x[i] - left) * scale), row = Math.round((top - y[i]) * scale);
      if (column < reach || row < reach || column >= width - reach || row >= height - reach) continue;
      const place = row * width + column, colour = colours[i];
      for (let m = 0; m < offsets.length; m++) pixels[place + offsets[m]] = colour;
      for (let m = 0; m < rim.length; m += 3) {
        const target = place + rim[m + 1] * width + rim[m];
        if (pixels[target] >>> 24 < rim[m + 2]) pixels[target] = (colour & 0xffffff) | (rim[m + 2] << 24);
      }
    }
  }

  /** The point nearest to a place in pixels, at most `reach` pixels away; -1 if there is none. */
  nearest(px, py, reach) {
    const wantedX = this.left + px / this.scale, wantedY = this.top - py / this.scale;
    let best = (reach / this.scale) ** 2, found = -1;
    for (let i = 0; i < this.n; i++) {
      const distance = (this.x[i] - wantedX) ** 2 + (this.y[i] - wantedY) ** 2;
      if (distance <= best) [best, found] = [distance, i];
    }
    return found;
  }

  /** Points inside a polygon [[px, py], ...] of the canvas. */
  inside(polygon) {
    const corners = polygon.map(([px, py]) => [this.left + px / this.scale, this.top - py / this.scale]);
    const found = [];
    for (let i = 0; i < this.n; i++) {
      let odd = false;
      for (let a = 0, b = corners.length - 1; a < corners.length; b = a++) {
        const [ax, ay] = corners[a], [bx, by] = corners[b];
        if (ay > this.y[i] !== by > this.y[i] && this.x[i] < ((bx - ax) * (this.y[i] - ay)) / (by - ay) + ax) odd = !odd;
      }
      if (odd) found.push(i);
    }
    return found;
  }

  /** Change the scale by a factor; the place (px, py) stays where it is. */
  zoom(factor, px, py) {
    const scale = Math.min(Math.max(this.scale * factor, this.fitted * 0.5), this.fitted * 400);
    this.left += px / this.scale - px / scale;
    this.top -= py / this.scale - py / scale;
    this.scale = scale;
  }

  move(px, py) {
    this.left -= px / this.scale;
    this.top += py / this.scale;
  }
}

/** The pixels of a disk: inner ones, and those of its rim as column, row, opacity one after the other. */
function disk(size) {
  const radius = size / 2, reach = Math.ceil(radius) + 1, inner = [], rim = [];
  for (let row = -reach; row <= reach; row++) {
    for (let column = -reach; column <= reach; column++) {
      const covered = radius + 0.5 - Math.hypot(row, column);
      if (covered >= 1 || (row === 0 && column === 0)) inner.push([column, row]);
      else if (covered > 0.08) rim.push(column, row, Math.round(255 * covered));
    }
  }
  return { reach, inner, rim };
}

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

/** A colour far from those of the numbers before it, as ABGR. */
function colourOf(number) {
  const hue = (number * 137.508 + 210) % 360, dark = isDark();
  return hsl(hue, 0.55 + 0.2 * ((number * 7) % 3) / 2, (dark ? 0.62 : 0.5) + 0.1 * ((number * 5) % 3 - 1));
}

function hsl(hue, saturation, lightness) {
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return ((255 << 24) | (channel(4) << 16) | (channel(8) << 8) | channel(0)) >>> 0;
}

/** A colour for each picture by its cluster; grey for those of no cluster. */
function clusterColours() {
  const colours = new Uint32Array(overview.n);
  overview.clusters.number.forEach((number, row) => colours.fill(number < 0 ? 0xff888888 : colourOf(number), starts[row], starts[row + 1]));
  return colours;
}
