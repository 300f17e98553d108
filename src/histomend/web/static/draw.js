// Drawing what is to be restored: polygon, brush, eraser; undo and redo; by pointer or by keys.

const COLOUR = "#d81b8c";
const SUGGESTED = "#00a0b0";

/** Keeps what was drawn on one image, and draws it over the stage. */
export class Pen {
  constructor(stage, changed) {
    this.stage = stage;
    this.changed = changed; // called when what was drawn is another
    this.canvas = document.getElementById("drawn");
    this.front = document.getElementById("pen");
    this.tool = "pan";
    this.radius = 20; // pixels of the screen
    this.open({ undo: [[]], at: 0 });
    this.suggestions = [];
    this.chosen = 0;
    this.cursor = null;
    const on = (name, work) => this.front.addEventListener(name, work);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", () => this.up());
    on("pointercancel", () => this.up());
    on("pointerleave", () => this.leave());
    on("dblclick", () => this.finish());
    on("wheel", (event) => this.wheel(event));
  }

  /** Take up the history of another image. */
  open(history) {
    this.history = history;
    this.points = []; // of the polygon or stroke that is being drawn
    this.paths = new WeakMap();
    this.suggestions = [];
    this.hidden = false;
  }

  /** Show the image without the marks, until they are worked on again. */
  hide() {
    this.hidden = true;
    this.changed();
    this.draw();
  }

  show() {
    if (!this.hidden) return;
    this.hidden = false;
    this.changed();
  }

  get drawing() {
    return this.history.undo[this.history.at];
  }

  put(drawing) {
    this.history.undo = [...this.history.undo.slice(0, this.history.at + 1), drawing].slice(-200);
    this.history.at = this.history.undo.length - 1;
    this.hidden = false;
    this.changed();
    this.draw();
  }

  add(...things) {
    this.put([...this.drawing, ...things]);
  }

  step(by) {
    if (this.points.length && by < 0) {
      this.points.pop();
      this.draw();
      return;
    }
    this.history.at = Math.min(Math.max(0, this.history.at + by), this.history.undo.length - 1);
    this.hidden = false;
    this.changed();
    this.draw();
  }

  clear() {
    this.points = [];
    if (this.drawing.length) this.put([]);
  }

  use(tool) {
    if (this.tool === "polygon" && tool !== "polygon") this.finish();
    this.tool = tool;
    this.front.classList.toggle("active", tool !== "pan");
    this.front.dataset.tool = tool;
    this.cursor = null;
    if (tool !== "pan") this.show();
    this.draw();
  }

  at(event) {
    const box = this.front.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (event.button > 0) return;
    this.front.setPointerCapture(event.pointerId);
    this.cursor = this.at(event);
    this.press();
  }

  /** Begin a stroke, or set a corner, where the cursor is. */
  press() {
    const point = this.stage.main.toImage(...this.cursor);
    if (this.tool === "polygon") {
      if (this.points.length > 2 && this.nearFirst()) {
        this.finish();
        return;
      }
      this.points.push(point);
    } else {
      this.points = [point];
      this.busy = true;
    }
    this.draw();
  }

  nearFirst() {
    const [x, y] = this.stage.main.toScreen(...this.points[0]);
    return Math.hypot(x - this.cursor[0], y - this.cursor[1]) < 10;
  }

  move(event) {
    for (const one of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
      this.cursor = this.at(one);
      if (this.busy) {
        const point = this.stage.main.toImage(...this.cursor);
        const last = this.points[this.points.length - 1];
        if (Math.hypot(point[0] - last[0], point[1] - last[1]) * this.stage.main.scale() > 1.5) this.points.push(point);
      }
    }
    this.draw();
  }

  up() {
    if (!this.busy) return;
    this.busy = false;
    const points = rounded(this.points);
    this.points = [];
    this.add({
      kind: "stroke",
      points,
      radius: Math.max(0.5, +(this.radius / this.stage.main.scale()).toFixed(2)),
      erase: this.tool === "eraser",
    });
  }

  leave() {
    if (!this.busy) this.cursor = null;
    this.draw();
  }

  wheel(event) {
    event.preventDefault();
    const pane = this.stage.main;
    const [x, y] = this.at(event);
    const point = pane.viewer.viewport.viewerElementToViewportCoordinates(new window.OpenSeadragon.Point(x, y));
    this.stage.leader = pane;
    pane.viewer.viewport.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, point);
    pane.viewer.viewport.applyConstraints();
  }

  /** Close the polygon. */
  finish() {
    if (this.tool === "polygon" && this.points.length > 2) {
      const ring = rounded(this.points);
      this.points = [];
      this.add({ kind: "polygon", rings: [ring], erase: false });
      return;
    }
    this.points = [];
    this.draw();
  }

  cancel() {
    this.points = [];
    this.busy = false;
    this.draw();
  }

  /** Draw by keys: move the cursor, set a corner or a dab. */
  nudge(dx, dy) {
    const { clientWidth, clientHeight } = this.front;
    const [x, y] = this.cursor || [clientWidth / 2, clientHeight / 2];
    this.cursor = [Math.min(clientWidth, Math.max(0, x + dx)), Math.min(clientHeight, Math.max(0, y + dy))];
    this.draw();
  }

  stamp() {
    this.nudge(0, 0);
    this.press();
    if (this.tool !== "polygon") this.up();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.redraw();
    });
  }

  redraw() {
    const pane = this.stage.main;
    if (!pane || !pane.viewer.world.getItemCount()) return;
    const box = pane.element;
    const back = prepared(this.canvas, box);
    const scale = pane.scale();
    const [left, top] = pane.toScreen(0, 0);
    const ratio = window.devicePixelRatio || 1;
    const place = (context) => context.setTransform(scale * ratio, 0, 0, scale * ratio, left * ratio, top * ratio);
    place(back);
    back.fillStyle = back.strokeStyle = COLOUR;
    if (!this.hidden) for (const thing of this.drawing) this.paint(back, thing);
    if (this.busy) this.paint(back, this.unfinished(scale));
    const front = prepared(this.front, box);
    place(front);
    front.lineWidth = 2 / scale;
    if (!this.hidden) this.suggestions.forEach((thing, n) => {
      front.strokeStyle = SUGGESTED;
      front.lineWidth = (n === this.chosen ? 4 : 1.5) / scale;
      front.stroke(this.path(thing));
    });
    this.drawCursor(front, ratio);
  }

  unfinished(scale) {
    return { kind: "stroke", points: this.points, radius: this.radius / scale, erase: this.tool === "eraser", fresh: true };
  }

  paint(context, thing) {
    context.globalCompositeOperation = thing.erase ? "destination-out" : "source-over";
    if (thing.kind === "polygon") context.fill(this.path(thing), "evenodd");
    else {
      context.lineWidth = 2 * thing.radius;
      context.lineCap = context.lineJoin = "round";
      context.stroke(this.path(thing));
    }
  }

  path(thing) {
    let path = thing.fresh ? null : this.paths.get(thing);
    if (path) return path;
    path = new Path2D();
    for (const ring of thing.kind === "polygon" ? thing.rings : [thing.points]) {
      ring.forEach(([x, y], n) => (n ? path.lineTo(x, y) : path.moveTo(x, y)));
      if (thing.kind === "polygon") path.closePath();
      else if (ring.length === 1) path.lineTo(ring[0][0] + 1e-3, ring[0][1]);
    }
    if (!thing.fresh) this.paths.set(thing, path);
    return path;
  }

  drawCursor(context, ratio) {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.tool === "polygon" && this.points.length) {
      const corners = this.points.map((point) => this.stage.main.toScreen(...point));
      context.beginPath();
      corners.concat(this.cursor ? [this.cursor] : []).forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
      outlined(context);
      for (const [x, y] of corners) {
        context.beginPath();
        context.arc(x, y, 4, 0, 2 * Math.PI);
        context.fillStyle = "#fff";
        context.fill();
        outlined(context);
      }
    }
    if (this.tool === "pan" || !this.cursor) return;
    const [x, y] = this.cursor;
    context.beginPath();
    if (this.tool === "polygon") {
      context.moveTo(x - 8, y);
      context.lineTo(x + 8, y);
      context.moveTo(x, y - 8);
      context.lineTo(x, y + 8);
    } else context.arc(x, y, this.radius, 0, 2 * Math.PI);
    outlined(context);
  }
}

function outlined(context) {
  context.strokeStyle = "#fff";
  context.lineWidth = 3;
  context.stroke();
  context.strokeStyle = "#333";
  context.lineWidth = 1.25;
  context.stroke();
}

function prepared(canvas, box) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(box.clientWidth * ratio), Math.round(box.clientHeight * ratio)];
  canvas.style.width = `${box.clientWidth}px`;
  canvas.style.height = `${box.clientHeight}px`;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, width, height);
  return context;
}

const rounded = (points) => points.map(([x, y]) => [+x.toFixed(2), +y.toFixed(2)]);
