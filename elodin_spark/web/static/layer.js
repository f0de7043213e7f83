/** Points drawn with WebGL 2: one draw call, colors from a palette of 256, nothing but typed arrays to the GPU. */

import { DOUBTFUL, HIDDEN, SELECTED } from "./pointset.js";

const VERTEX = `#version 300 es
in float x;
in float y;
in uint code;
in uint flags;
uniform vec2 center;
uniform vec2 scale;
uniform float size;
uniform float alpha;
uniform float faint;
uniform bool someSelected;
uniform bool markDoubtful;
uniform bool onlySelected;
uniform sampler2D palette;
out vec4 color;
flat out float hollow;
void main() {
  bool hidden = (flags & ${HIDDEN}u) != 0u;
  bool selected = (flags & ${SELECTED}u) != 0u;
  bool doubtful = markDoubtful && (flags & ${DOUBTFUL}u) != 0u;
  if (onlySelected && !selected) {
    gl_Position = vec4(2.0, 2.0, 0.0, 1.0);
    return;
  }
  gl_Position = vec4((vec2(x, y) - center) * scale, 0.0, 1.0);
  vec3 rgb = texelFetch(palette, ivec2(int(code), 0), 0).rgb;
  float a = hidden ? faint : someSelected && !selected ? 0.22 * alpha : alpha;
  if (onlySelected) a = hidden ? 0.3 : 1.0;
  color = vec4(rgb * a, a);
  hollow = doubtful && !hidden ? 1.0 : 0.0;
  gl_PointSize = doubtful ? max(size * 1.7, size + 4.0) : onlySelected ? size + 1.5 : size;
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 color;
flat in float hollow;
out vec4 drawn;
void main() {
  float r = length(gl_PointCoord - 0.5);
  if (r > 0.5 || (hollow > 0.5 && r < 0.27)) discard;
  drawn = color;
}`;

export class PointLayer {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: false, alpha: true, premultipliedAlpha: true, powerPreference: "high-performance" });
    if (!this.gl) throw new Error("This browser shows no WebGL 2, which the map is drawn with. Turn on hardware acceleration in its settings, or use another browser.");
    this.n = 0;
    this.data = {};
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.prepare();
      for (const [name, array] of Object.entries(this.data)) this.upload(name, array);
      if (this.colors) this.setPalette(this.colors);
      this.onrestored?.();
    });
    this.prepare();
  }

  prepare() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
      throw new Error(`WebGL does not take the shader of the map: ${gl.getProgramInfoLog(program)}`);
    this.program = program;
    this.uniforms = {};
    for (const name of ["center", "scale", "size", "alpha", "faint", "someSelected", "markDoubtful", "onlySelected", "palette"])
      this.uniforms[name] = gl.getUniformLocation(program, name);
    this.array = gl.createVertexArray();
    this.buffers = {};
    this.texture = gl.createTexture();
  }

  /** @param {PointSet} points */
  setPoints(points) {
    this.n = points.n;
    this.upload("x", points.x);
    this.upload("y", points.y);
    this.upload("code", new Uint8Array(points.n));
    this.upload("flags", points.flags);
  }

  /** Index into the palette, of each point. */
  setCodes(codes) {
    this.upload("code", codes);
  }

  setFlags(flags) {
    this.upload("flags", flags);
  }

  upload(name, array) {
    const { gl } = this;
    this.data[name] = array;
    gl.bindVertexArray(this.array);
    const fresh = !this.buffers[name];
    this.buffers[name] ||= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.DYNAMIC_DRAW);
    if (!fresh) return;
    const at = gl.getAttribLocation(this.program, name);
    gl.enableVertexAttribArray(at);
    if (array instanceof Float32Array) gl.vertexAttribPointer(at, 1, gl.FLOAT, false, 0, 0);
    else gl.vertexAttribIPointer(at, 1, gl.UNSIGNED_BYTE, 0, 0);
  }

  /** @param {Uint8Array} colors - red, green, blue, 255 of 256 codes. */
  setPalette(colors) {
    const { gl } = this;
    this.colors = colors;
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, colors);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  /**
   * Draw the first `count` points.
   * @param {{x, y, scale: number}} camera - Center, and CSS pixels for each unit.
   */
  draw(camera, { width, height, ratio, size, alpha, faint, someSelected, markDoubtful, count }) {
    const { gl, uniforms } = this;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.n) return;
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(this.program);
    gl.bindVertexArray(this.array);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.uniform1i(uniforms.palette, 0);
    gl.uniform2f(uniforms.center, camera.x, camera.y);
    gl.uniform2f(uniforms.scale, (2 * camera.scale) / width, (2 * camera.scale) / height);
    gl.uniform1f(uniforms.size, size * ratio);
    gl.uniform1f(uniforms.alpha, alpha);
    gl.uniform1f(uniforms.faint, faint);
    gl.uniform1i(uniforms.someSelected, someSelected ? 1 : 0);
    gl.uniform1i(uniforms.markDoubtful, markDoubtful ? 1 : 0);
    gl.uniform1i(uniforms.onlySelected, 0);
    gl.drawArrays(gl.POINTS, 0, Math.min(count, this.n));
    if (someSelected) {
      gl.uniform1i(uniforms.onlySelected, 1);
      gl.drawArrays(gl.POINTS, 0, Math.min(count, this.n));
    }
  }

  close() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
