/**
 * The one module that asks the server. A transport carries each request, so that the same page runs where there is
 * no server to fetch from: `async ({method, path, headers, body, signal}) => {status, type, name, body}`, where
 * `body` is an ArrayBuffer, `type` its media type and `name` the file name it suggests, or "".
 */

/** What the API says is wrong: its message, to show as it is. */
export class ApiError extends Error {
  constructor(message, kind = "ApiError", status = 0) {
    super(message);
    this.kind = kind;
    this.status = status;
  }
}

/** The transport of a page that a server delivers. */
export function fetchTransport(base = "") {
  return async ({ method, path, headers, body, signal }) => {
    const answer = await fetch(base + path, { method, headers, body, signal, credentials: "same-origin" });
    const disposition = answer.headers.get("content-disposition") || "";
    const name = /filename="?([^";]+)"?/.exec(disposition);
    return {
      status: answer.status,
      type: answer.headers.get("content-type") || "",
      name: name ? name[1] : "",
      body: await answer.arrayBuffer(),
    };
  };
}

const ARRAYS = { int64: BigInt64Array, float32: Float32Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };

/** Binary columns, as views of the bytes: `{n, meta, NAME: typed array}`. */
export function decodeColumns(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  const decoded = { n: header.n, meta: header.meta };
  for (const { name, dtype, offset, length: count } of header.columns)
    decoded[name] = new ARRAYS[dtype](buffer, start + offset, count);
  return decoded;
}

const KEPT_PICTURES = 400;
const KEPT_THUMBNAILS = 4000;
const BATCH = 512;

/** The routes of the API, as methods. */
export class Api {
  /**
   * @param {Function} transport
   * @param {Function} [onbusy] - Called with the texts of what is loading, at each change.
   */
  constructor(transport, onbusy = () => {}) {
    this.transport = transport;
    this.onbusy = onbusy;
    this.loading = new Map();
    this.serial = 0;
    this.pictures = new Map();
    this.thumbnails = new Map();
    this.wanted = [];
    this.cutoutRows = new Map();
  }

  async ask(what, method, path, { body = null, headers = {}, signal } = {}) {
    const key = ++this.serial;
    if (what) this.loading.set(key, what);
    this.onbusy([...this.loading.values()]);
    try {
      let answer;
      try {
        answer = await this.transport({ method, path, headers, body, signal });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new ApiError(`No answer from the server (${error.message}). Is elodin-spark explore still running?`);
      }
      if (answer.status >= 400) throw errorOf(answer);
      return answer;
    } finally {
      this.loading.delete(key);
      this.onbusy([...this.loading.values()]);
    }
  }

  async json(what, method, path, value, signal) {
    const options = { signal };
    if (value !== undefined) {
      options.body = JSON.stringify(value);
      options.headers = { "Content-Type": "application/json" };
    }
    const answer = await this.ask(what, method, path, options);
    return answer.body.byteLength ? JSON.parse(new TextDecoder().decode(answer.body)) : null;
  }

  async columns(what, method, path, value, signal) {
    const options = { signal };
    if (value !== undefined) {
      options.body = JSON.stringify(value);
      options.headers = { "Content-Type": "application/json" };
    }
    return decodeColumns((await this.ask(what, method, path, options)).body);
  }

  catalog() {
    return this.json("catalog", "GET", "/api/catalog");
  }

  points(map) {
    return this.columns("points", "GET", `/api/points?${query({ map })}`);
  }

  column(map, name) {
    return this.columns(name, "GET", `/api/column?${query({ map, name })}`);
  }

  mask(map, where, signal) {
    return this.columns("filter", "GET", `/api/mask?${query({ map, where })}`, undefined, signal);
  }

  /** One cutout as the API describes it; asked once. */
  async cutout(id) {
    if (!this.cutoutRows.has(id)) {
      if (this.cutoutRows.size > KEPT_THUMBNAILS) this.cutoutRows.clear();
      this.cutoutRows.set(
        id,
        this.json("", "GET", `/api/cutouts?ids=${id}`).then(({ cutouts }) => cutouts[0]),
      );
      this.cutoutRows.get(id).catch(() => this.cutoutRows.delete(id));
    }
    return this.cutoutRows.get(id);
  }

  neighbors(asked, options, signal) {
    return this.json("neighbors", "POST", "/api/neighbors", { query: asked, options }, signal);
  }

  async upload(file, options) {
    const answer = await this.ask("neighbors of the image", "POST", `/api/upload?${query({ options: JSON.stringify(options) })}`, {
      body: await file.arrayBuffer(),
      headers: { "Content-Type": "application/octet-stream", "X-File-Name": asciiName(file.name) },
    });
    return JSON.parse(new TextDecoder().decode(answer.body));
  }

  image(id) {
    return this.json("image", "GET", `/api/images/${id}`);
  }

  imagesNamed(text) {
    return this.json("images", "GET", `/api/images?${query({ text })}`);
  }

  selections() {
    return this.json("", "GET", "/api/selections");
  }

  selection(name) {
    return this.columns("selection", "GET", `/api/selections/${encodeURIComponent(name)}`);
  }

  keepSelection(name, ids) {
    return this.json("selection", "PUT", `/api/selections/${encodeURIComponent(name)}`, { ids });
  }

  dropSelection(name) {
    return this.json("", "DELETE", `/api/selections/${encodeURIComponent(name)}`);
  }

  /** A file to save: `{body, name, type}`. */
  fits(id) {
    return this.ask("FITS", "GET", `/api/cutouts/${id}.fits`);
  }

  list(format, value) {
    return this.ask("list", "POST", `/api/list?${query({ format })}`, {
      body: JSON.stringify(value),
      headers: { "Content-Type": "application/json" },
    });
  }

  /** URL of a picture of the API as the page can show it; the last ones are kept. */
  async picture(path, what = "") {
    if (!this.pictures.has(path)) {
      const url = this.ask(what, "GET", path).then((answer) => URL.createObjectURL(new Blob([answer.body], { type: answer.type })));
      this.pictures.set(path, url);
      url.catch(() => this.pictures.delete(path));
      forgetOldest(this.pictures, KEPT_PICTURES);
    }
    return this.pictures.get(path);
  }

  cutoutPicture(id, { stretch, cut, colormap, size }) {
    return this.picture(`/api/cutouts/${id}/picture.png?${query({ stretch, cut, colormap, size })}`, "pictures");
  }

  /** URL of a thumbnail, or null; those asked for at about the same time travel together. */
  thumbnail(id) {
    if (!this.thumbnails.has(id)) {
      const url = new Promise((resolve, reject) => this.wanted.push({ id, resolve, reject }));
      this.thumbnails.set(id, url);
      url.catch(() => this.thumbnails.delete(id));
      forgetOldest(this.thumbnails, KEPT_THUMBNAILS);
      if (this.wanted.length === 1) setTimeout(() => this.sendWanted(), 8);
    }
    return this.thumbnails.get(id);
  }

  async sendWanted() {
    const wanted = this.wanted;
    this.wanted = [];
    for (let start = 0; start < wanted.length; start += BATCH) {
      const some = wanted.slice(start, start + BATCH);
      try {
        const found = await this.columns("", "POST", "/api/thumbnails", { ids: some.map(({ id }) => id) });
        const urls = new Map();
        for (let i = 0; i < found.n; i++) {
          const bytes = found.data.subarray(found.offset[i], found.offset[i] + found.size[i]);
          if (bytes.length) urls.set(String(found.id[i]), URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })));
        }
        for (const { id, resolve } of some) resolve(urls.get(id) || null);
      } catch (error) {
        for (const { reject } of some) reject(error);
      }
    }
  }
}

function forgetOldest(urls, most) {
  if (urls.size <= most) return;
  const [key, url] = urls.entries().next().value;
  urls.delete(key);
  url.then((each) => each && setTimeout(() => URL.revokeObjectURL(each), 30000), () => {});
}

function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(given).toString();
}

/** A header holds ASCII; only the extension counts. */
function asciiName(name) {
  return name.replace(/[^\x20-\x7e]/g, "_").slice(-100);
}

function errorOf(answer) {
  const text = new TextDecoder().decode(answer.body);
  try {
    const { kind, message } = JSON.parse(text).error;
    return new ApiError(message, kind, answer.status);
  } catch {
    return new ApiError(text.slice(0, 300) || `The server answered with status ${answer.status}`, "ApiError", answer.status);
  }
}
