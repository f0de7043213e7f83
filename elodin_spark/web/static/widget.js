/**
 * The explorer in a cell of a notebook: an anywidget. Requests travel as messages to Python, which answers them with
 * the application that a server would run; the modules of the page come the same way.
 */

const ENTRY = "app.js";
const IMPORTED = /((?:\bfrom|\bimport)\s*\(?\s*)(["'])(\.{1,2}\/[^"']+)\2/g;

/** A transport (see api.js) over the messages of a model. */
export function messageTransport(model) {
  const waiting = new Map();
  let serial = 0;
  const answered = (content, buffers) => {
    const done = content?.kind === "answer" && waiting.get(content.key);
    if (!done) return;
    waiting.delete(content.key);
    const { buffer, byteOffset, byteLength } = buffers[0];
    // A copy: typed arrays need the bytes to begin where a number may.
    done({ status: content.status, type: content.type, name: content.name, body: buffer.slice(byteOffset, byteOffset + byteLength) });
  };
  model.on("msg:custom", answered);
  const transport = async ({ method, path, headers = {}, body = null, signal }) => {
    const bytes = await bytesOf(body);
    if (signal?.aborted) throw new DOMException("no longer wanted", "AbortError");
    const key = `${model.model_id ?? ""}:${Date.now()}:${++serial}`;
    return new Promise((resolve, reject) => {
      waiting.set(key, resolve);
      signal?.addEventListener("abort", () => {
        waiting.delete(key);
        reject(new DOMException("no longer wanted", "AbortError"));
      });
      model.send({ kind: "request", key, method, path, headers }, undefined, bytes ? [bytes] : []);
    });
  };
  transport.close = () => model.off("msg:custom", answered);
  return transport;
}

async function bytesOf(body) {
  if (body === null || body === undefined) return null;
  if (typeof body === "string") return new TextEncoder().encode(body);
  if (body instanceof Blob) return new Uint8Array(await body.arrayBuffer());
  return ArrayBuffer.isView(body) ? new Uint8Array(body.buffer, body.byteOffset, body.byteLength) : new Uint8Array(body);
}

/** Import a module of the page and what it imports, each as a blob; modules that import each other in a circle can't be. */
export async function importModule(read, name) {
  const addresses = new Map();
  const address = (path) => {
    if (!addresses.has(path)) addresses.set(path, make(path));
    return addresses.get(path);
  };
  const make = async (path) => {
    const text = await read(path);
    const found = [...text.matchAll(IMPORTED)];
    const resolved = found.map(([, , , wanted]) => new URL(wanted, `file:///${path}`).pathname.slice(1));
    const places = await Promise.all(resolved.map(address));
    let at = 0;
    const linked = text.replace(IMPORTED, (all, before, quote) => `${before}${quote}${places[at++]}${quote}`);
    return URL.createObjectURL(new Blob([linked], { type: "text/javascript" }));
  };
  const module = await import(await address(name));
  for (const made of addresses.values()) URL.revokeObjectURL(await made);
  return module;
}

async function render({ model, el }) {
  const transport = messageTransport(model);
  const read = async (path) => {
    const { status, body } = await transport({ method: "GET", path: `/static/${path}` });
    if (status !== 200) throw new Error(`the explorer lacks ${path} (${status})`);
    return new TextDecoder().decode(body);
  };
  const frame = document.createElement("div");
  frame.className = "ex-cell";
  frame.tabIndex = -1;
  frame.style.height = `${model.get("height")}px`;
  el.append(frame);
  let explorer = null;
  try {
    const [{ mount }, style] = await Promise.all([importModule(read, ENTRY), read("style.css")]);
    const sheet = document.createElement("style");
    sheet.textContent = style;
    el.prepend(sheet);
    explorer = await mount(frame, {
      transport,
      keys: frame,
      onselection: (ids) => model.send({ kind: "selection" }, undefined, [new Uint8Array(ids.slice().buffer)]),
    });
  } catch (error) {
    frame.textContent = `The explorer cannot be shown: ${error.message}`;
  }
  return () => {
    explorer?.close?.();
    transport.close();
  };
}

export default { render };
