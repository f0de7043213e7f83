/**
 * The points of one map, in typed arrays alone: found by ID, by place, and inside a polygon. A grid sorts them by
 * place, a table with open addressing by ID; no object is made for a point, so that ten million fit.
 */

export const HIDDEN = 1;
export const SELECTED = 2;
export const DOUBTFUL = 4;

const POINTS_IN_CELL = 4;
const MOST_CELLS_ASIDE = 1600;

export class PointSet {
  /** @param {{n, id, x, y, placed, doubtful}} columns - of the API. */
  constructor(columns) {
    this.n = columns.n;
    this.id = columns.id;
    this.x = columns.x;
    this.y = columns.y;
    this.flags = new Uint8Array(this.n);
    this.doubtful = 0;
    if (columns.doubtful)
      for (let i = 0; i < this.n; i++)
        if (columns.doubtful[i]) {
          this.flags[i] = DOUBTFUL;
          this.doubtful++;
        }
    this.words = new Uint32Array(this.id.buffer, this.id.byteOffset, 2 * this.n);
    this.hashIds();
    this.sortByCell();
  }

  hashIds() {
    let bits = 2;
    while (1 << bits < 2 * this.n) bits++;
    this.shift = 32 - bits;
    this.slots = new Int32Array(1 << bits).fill(-1);
    const last = this.slots.length - 1;
    for (let i = 0; i < this.n; i++) {
      let slot = this.slotOf(this.words[2 * i]);
      while (this.slots[slot] >= 0) slot = (slot + 1) & last;
      this.slots[slot] = i;
    }
  }

  slotOf(low) {
    return Math.imul(low, 2654435769) >>> this.shift;
  }

  /** Place in the arrays of an ID (string or BigInt), or -1. */
  indexOf(id) {
    let value;
    try {
      value = BigInt(id);
    } catch {
      return -1;
    }
    return this.indexOfWords(Number(value & 0xffffffffn), Number((value >> 32n) & 0xffffffffn));
  }

  indexOfWords(low, high) {
    const last = this.slots.length - 1;
    for (let slot = this.slotOf(low); this.slots[slot] >= 0; slot = (slot + 1) & last) {
      const i = this.slots[slot];
      if (this.words[2 * i] === low && this.words[2 * i + 1] === high) return i;
    }
    return -1;
  }

  /** Places of IDs (BigInt64Array) that are on the map. */
  indicesOf(ids) {
    const words = new Uint32Array(ids.buffer, ids.byteOffset, 2 * ids.length);
    const found = new Uint32Array(ids.length);
    let count = 0;
    for (let i = 0; i < ids.length; i++) {
      const at = this.indexOfWords(words[2 * i], words[2 * i + 1]);
      if (at >= 0) found[count++] = at;
    }
    return found.subarray(0, count);
  }

  sortByCell() {
    const { n, x, y } = this;
    let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < n; i++) {
      if (x[i] < left) left = x[i];
      if (x[i] > right) right = x[i];
      if (y[i] < bottom) bottom = y[i];
      if (y[i] > top) top = y[i];
    }
    if (!n) [left, right, bottom, top] = [-1, 1, -1, 1];
    this.left = left;
    this.bottom = bottom;
    this.right = right;
    this.top = top;
    const aside = Math.max(1, Math.min(MOST_CELLS_ASIDE, Math.ceil(Math.sqrt(n / POINTS_IN_CELL))));
    this.aside = aside;
    this.cell = Math.max(right - left, top - bottom, 1e-9) / aside;
    const starts = new Uint32Array(aside * aside + 1);
    const cells = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      const cell = this.row(y[i]) * aside + this.column(x[i]);
      cells[i] = cell;
      starts[cell + 1]++;
    }
    for (let cell = 0; cell < aside * aside; cell++) starts[cell + 1] += starts[cell];
    const next = starts.slice(0, -1);
    const sorted = new Uint32Array(n);
    for (let i = 0; i < n; i++) sorted[next[cells[i]]++] = i;
    this.starts = starts;
    this.sorted = sorted;
  }

  column(x) {
    return Math.max(0, Math.min(this.aside - 1, Math.floor((x - this.left) / this.cell)));
  }

  row(y) {
    return Math.max(0, Math.min(this.aside - 1, Math.floor((y - this.bottom) / this.cell)));
  }

  /** Call `visit(first, end)` for runs of `sorted` that cover a box, until it returns true. */
  runs(left, bottom, right, top, visit) {
    if (right < this.left || left > this.right || top < this.bottom || bottom > this.top) return;
    const [c0, c1, r0, r1] = [this.column(left), this.column(right), this.row(bottom), this.row(top)];
    for (let row = r0; row <= r1; row++)
      if (visit(this.starts[row * this.aside + c0], this.starts[row * this.aside + c1 + 1])) return;
  }

  /** The shown point nearest to a place, no farther than `radius`, or -1. */
  nearest(x, y, radius) {
    let best = radius * radius;
    let found = -1;
    this.runs(x - radius, y - radius, x + radius, y + radius, (first, end) => {
      for (let at = first; at < end; at++) {
        const i = this.sorted[at];
        if (this.flags[i] & HIDDEN) continue;
        const distance = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
        if (distance <= best) {
          best = distance;
          found = i;
        }
      }
    });
    return found;
  }

  /** Up to `most` shown points in a box, or null where there are more. */
  inBox(left, bottom, right, top, most) {
    const found = [];
    let many = false;
    this.runs(left, bottom, right, top, (first, end) => {
      for (let at = first; at < end; at++) {
        const i = this.sorted[at];
        if (this.flags[i] & HIDDEN || this.x[i] < left || this.x[i] > right || this.y[i] < bottom || this.y[i] > top) continue;
        if (found.length === most) return (many = true);
        found.push(i);
      }
      return false;
    });
    return many ? null : found;
  }

  /**
   * Places of the points inside a polygon, that `hidden` (flags) does not hide. Cells that no edge crosses are taken or
   * left whole, so the time goes with the length of the outline.
   * @param {Float64Array} polygon - x, y, x, y, ...
   */
  inPolygon(polygon, hidden = this.flags) {
    const corners = polygon.length / 2;
    if (corners < 3) return new Uint32Array(0);
    let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < polygon.length; i += 2) {
      left = Math.min(left, polygon[i]);
      right = Math.max(right, polygon[i]);
      bottom = Math.min(bottom, polygon[i + 1]);
      top = Math.max(top, polygon[i + 1]);
    }
    if (right < this.left || left > this.right || top < this.bottom || bottom > this.top) return new Uint32Array(0);
    const crossed = this.crossedCells(polygon);
    const found = new Uint32Array(this.n);
    let count = 0;
    for (let row = this.row(bottom); row <= this.row(top); row++)
      for (let column = this.column(left); column <= this.column(right); column++) {
        const cell = row * this.aside + column;
        const [first, end] = [this.starts[cell], this.starts[cell + 1]];
        if (first === end) continue;
        const some = crossed[cell] === 1;
        if (!some && !inside(polygon, this.left + (column + 0.5) * this.cell, this.bottom + (row + 0.5) * this.cell)) continue;
        for (let at = first; at < end; at++) {
          const i = this.sorted[at];
          if (hidden[i] & HIDDEN) continue;
          if (!some || inside(polygon, this.x[i], this.y[i])) found[count++] = i;
        }
      }
    return found.slice(0, count);
  }

  /** One for each cell that an edge touches, or nearly. */
  crossedCells(polygon) {
    const crossed = new Uint8Array(this.aside * this.aside);
    const slack = 1e-6 * this.cell;
    const corners = polygon.length / 2;
    for (let i = 0, j = corners - 1; i < corners; j = i++) {
      let [x0, y0, x1, y1] = [polygon[2 * j], polygon[2 * j + 1], polygon[2 * i], polygon[2 * i + 1]];
      if (y0 > y1) [x0, y0, x1, y1] = [x1, y1, x0, y0];
      if (y1 + slack < this.bottom || y0 - slack > this.top) continue;
      for (let row = this.row(y0 - slack); row <= this.row(y1 + slack); row++) {
        const low = Math.max(y0, this.bottom + row * this.cell - slack);
        const high = Math.min(y1, this.bottom + (row + 1) * this.cell + slack);
        const at = (y) => (y1 > y0 ? x0 + ((x1 - x0) * (Math.min(y1, Math.max(y0, y)) - y0)) / (y1 - y0) : x0);
        let [a, b] = y1 > y0 ? [at(low), at(high)] : [x0, x1];
        if (a > b) [a, b] = [b, a];
        for (let column = this.column(a - slack); column <= this.column(b + slack); column++) crossed[row * this.aside + column] = 1;
      }
    }
    return crossed;
  }
}

/** Whether a place lies inside a polygon, by the number of edges to its right. */
export function inside(polygon, x, y) {
  let odd = false;
  for (let i = 0, j = polygon.length - 2; i < polygon.length; j = i, i += 2) {
    const [yi, yj] = [polygon[i + 1], polygon[j + 1]];
    if (yi > y !== yj > y && x < ((polygon[j] - polygon[i]) * (y - yi)) / (yj - yi) + polygon[i]) odd = !odd;
  }
  return odd;
}
