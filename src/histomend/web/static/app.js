// The page: what is looked at and how, the keys, and what belongs together.

import { Pen } from "./draw.js";
import { icon } from "./icons.js";
import { Jobs } from "./jobs.js";
import { keySheet } from "./keys.js";
import { changesPanel, imagePanel } from "./panel.js";
import { Stage } from "./stage.js";
import { ask, attempt, el, say } from "./talk.js";

const MODES = { before: "Before", after: "After", swipe: "Swipe", side: "Side by side", difference: "Difference" };
const TOOLS = { pan: ["Move", "V"], polygon: ["Polygon", "O"], brush: ["Brush", "R"], eraser: ["Eraser", "E"] };
const ACTIONS = { undo: ["Undo", "Ctrl+Z"], redo: ["Redo", "Ctrl+Y"], clear: ["Clear all", ""] };
const MOST_SIDES = 4;
const $ = (id) => document.getElementById(id);

const app = {
  desk: null,
  info: null,
  view: null,
  region: -1,
  histories: new Map(),

  async begin() {
    this.desk = await ask("api/desk");
    this.stage = new Stage($("panes"), () => this.moved());
    this.pen = new Pen(this.stage, () => this.jobs.drawn());
    this.jobs = new Jobs($("work"), this);
    $("item").append(...this.desk.items.map((item) => el("option", { value: item.number }, item.name)));
    $("item").addEventListener("change", () => this.open(+$("item").value));
    $("item").parentElement.classList.toggle("single", this.desk.items.length < 2);
    this.buildBars();
    await this.open(0);
  },

  buildBars() {
    $("theme").append(icon("theme"));
    $("panel-toggle").append(icon("panel"));
    $("theme").addEventListener("click", () => this.theme());
    $("panel-toggle").addEventListener("click", () => this.panel());
    $("help-open").addEventListener("click", () => $("help").showModal());
    $("modes").append(
      ...Object.entries(MODES).map(([mode, name]) =>
        el("button", { type: "button", role: "radio", "data-mode": mode, "aria-checked": "false", onclick: () => this.mode(mode) }, name),
      ),
    );
    $("tools").append(
      ...Object.entries(TOOLS).map(([tool, [name, key]]) =>
        el("button", { type: "button", "data-tool": tool, "aria-label": name, "aria-pressed": "false", title: `${name} (${key})`, onclick: () => this.tool(tool) }, icon(tool)),
      ),
      el("hr"),
      ...Object.entries(ACTIONS).map(([action, [name, key]]) =>
        el("button", { type: "button", "data-action": action, "aria-label": name, title: key ? `${name} (${key})` : name, onclick: () => this.act(action) }, icon(action)),
      ),
    );
    const tabs = [...document.querySelectorAll("[role=tab]")];
    tabs.forEach((tab, n) => {
      tab.addEventListener("click", () => this.tab(tab.getAttribute("aria-controls")));
      tab.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!by) return;
        event.stopPropagation();
        const next = tabs[(n + by + tabs.length) % tabs.length];
        this.tab(next.getAttribute("aria-controls"));
        next.focus();
      });
    });
    $("radius").addEventListener("input", () => this.radius(+$("radius").value));
    $("stage").addEventListener("pointermove", (event) => this.readout(event));
    $("keys").append(...keySheet());
    document.addEventListener("keydown", (event) => this.key(event));
    this.tool("pan");
    this.radius(20);
  },

  async open(number) {
    $("loading").hidden = false;
    const info = await attempt(() => ask(`api/items/${number}`));
    $("loading").hidden = true;
    if (!info) return;
    if (this.info) this.histories.set(this.info.number, this.pen.history);
    this.info = info;
    document.title = `${info.name} · Histomend`;
    $("item").value = number;
    const last = info.versions.length - 1;
    this.region = -1;
    this.view = {
      mode: last ? "swipe" : "after",
      before: 0,
      after: last,
      versions: sides(0, last),
      plane: Math.floor(info.planes / 2),
      contrast: { ...info.contrast },
      channels: [],
      gain: 8,
      overlays: {},
    };
    this.knowOverlays();
    this.stage.open(info);
    this.pen.open(this.histories.get(number) || { undo: [[]], at: 0 });
    await this.change({});
    this.jobs.suggest();
    this.jobs.drawn();
    this.tab(last && info.versions[last].record ? "changes" : "work");
    for (const notice of info.notices.slice(0, 1)) say(notice);
  },

  /** Load an image's versions anew, after a job; `show` says whether to look at the newest. */
  async refresh(number, show) {
    if (!this.info || number !== this.info.number) return;
    const info = await attempt(() => ask(`api/items/${number}`));
    if (!info) return;
    const known = this.info.versions.length;
    this.info = this.stage.info = info;
    this.knowOverlays();
    const last = info.versions.length - 1;
    if (info.versions.length > known && show) {
      this.region = -1;
      const mode = this.view.mode === "after" || this.view.mode === "before" ? "swipe" : this.view.mode;
      await this.change({ mode, after: last, versions: sides(this.view.before, last) });
      // The result is seen without the marks, and dragging moves the image again.
      this.tool("pan");
      this.pen.hide();
      if (info.versions[last].changes.length) this.toRegion(0, true);
    } else await this.change({});
  },

  knowOverlays() {
    for (const version of this.info.versions)
      for (const { name } of version.overlays) this.view.overlays[name] ||= { on: false, opacity: name === "mask" ? 0.4 : 0.85 };
  },

  /** Look at it in another way; `wait` in milliseconds gathers what a slider says. */
  change(values, wait = 0) {
    Object.assign(this.view, values);
    clearTimeout(this.changing);
    const show = async () => {
      const many = this.info.versions.length > 1;
      $("modes").hidden = !many;
      for (const button of $("modes").children) {
        const on = button.dataset.mode === this.view.mode;
        button.setAttribute("aria-checked", on);
      }
      this.stage.root.style.setProperty("--gain", this.view.gain);
      if (this.view.mode === "side" && this.pen.tool !== "pan") this.tool("pan");
      $("tools").hidden = this.view.mode === "side";
      $("drawn").hidden = $("pen").hidden = this.view.mode === "side";
      await this.stage.show(this.view);
      if (!wait) this.fillPanel();
    };
    if (wait) {
      this.changing = setTimeout(show, wait);
      return undefined;
    }
    return show();
  },

  fillPanel() {
    changesPanel($("changes"), this);
    imagePanel($("image"), this);
  },

  choose(name, number) {
    const { view } = this;
    view[name] = number;
    this.region = -1;
    this.stage.hidden = false;
    return this.change({ versions: sides(view.before, view.after) });
  },

  mode(mode) {
    if (this.info.versions.length < 2) {
      say("There is one version. Restore something, or open a result.");
      return undefined;
    }
    this.stage.hidden = false;
    const all = this.info.versions.map((version) => version.number);
    const versions = mode === "side" && all.length <= MOST_SIDES ? all : sides(this.view.before, this.view.after);
    return this.change({ mode, versions });
  },

  tool(tool) {
    if (this.view?.mode === "side" && tool !== "pan") this.mode("after");
    if (this.view && tool !== "pan") {
      // What the marks are for stands there.
      this.tab("work");
      this.jobs.choose("restore");
    }
    this.pen.use(tool);
    for (const button of $("tools").querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === tool);
    $("size").hidden = tool !== "brush" && tool !== "eraser";
  },

  act(action) {
    if (action === "undo") this.pen.step(-1);
    else if (action === "redo") this.pen.step(1);
    else this.pen.clear();
  },

  radius(px) {
    this.pen.radius = Math.min(200, Math.max(1, px));
    $("radius").value = this.pen.radius;
    $("radius-value").textContent = `${Math.round(2 * this.pen.radius)} px`;
    this.pen.draw();
  },

  tab(name) {
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const on = tab.getAttribute("aria-controls") === name;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
      $(tab.getAttribute("aria-controls")).hidden = !on;
    }
  },

  toRegion(number, quiet = false) {
    const found = this.info.versions[this.view.after].changes;
    if (!found.length) {
      say("There is no changed region to go to.");
      return;
    }
    this.region = (number + found.length) % found.length;
    const { box } = found[this.region];
    this.stage.goTo(box);
    if (this.view.mode === "swipe") this.stage.swipeTo(0.5);
    changesPanel($("changes"), this);
    if (!quiet) say(`Region ${this.region + 1} of ${found.length}`);
  },

  theme() {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  },

  panel() {
    const closed = document.body.classList.toggle("no-panel");
    $("panel-toggle").setAttribute("aria-expanded", !closed);
  },

  moved() {
    this.stage.drawScale($("scale"));
    this.pen.draw();
    if (this.stage.main) $("readout").dataset.zoom = `${Math.round(this.stage.main.scale() * 100)} %`;
    this.showReadout();
    if (this.info?.slide && this.jobs.task !== "restore") this.jobs.drawn();
  },

  readout(event) {
    if (!this.info || !this.stage.main) return;
    const box = this.stage.main.element.getBoundingClientRect();
    const [x, y] = this.stage.main.toImage(event.clientX - box.left, event.clientY - box.top).map(Math.floor);
    const inside = x >= 0 && y >= 0 && x < this.info.width && y < this.info.height;
    $("readout").dataset.place = inside ? `${x}, ${y}` : "";
    this.showReadout();
  },

  showReadout() {
    const { place, zoom } = $("readout").dataset;
    $("readout").textContent = [place, zoom].filter(Boolean).join("   ");
  },

  key(event) {
    if (!this.info || $("help").open || event.altKey) return;
    const target = event.target instanceof Element ? event.target : document.body;
    const control = event.ctrlKey || event.metaKey;
    const typing = target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
    if (typing && !(control && event.key === "Enter")) return;
    const work = control ? CONTROL[event.key.toLowerCase()] : KEYS[event.key] || KEYS[event.key.toLowerCase()];
    // Buttons, sliders and tabs keep the keys that work them.
    const own = target.matches("button, a, summary, [role=tab]") && (event.key === " " || event.key === "Enter");
    const slides = target.matches("[type=range]") && event.key.startsWith("Arrow");
    if (!work || own || slides) return;
    event.preventDefault();
    work(event);
  },
};

/** Which versions stand side by side. */
const sides = (before, after) => (before === after ? [after] : [before, after]);

function arrow(dx, dy) {
  return (event) => {
    const far = event.shiftKey ? 4 : 1;
    if (event.target.id === "swipe" && !dy) app.stage.swipeTo(app.stage.share + 0.02 * far * dx);
    else if (app.pen.tool !== "pan") app.pen.nudge(8 * far * dx, 8 * far * dy);
    else app.stage.pan(60 * far * dx, 60 * far * dy);
  };
}

function page(by) {
  return () => {
    const plane = Math.min(app.info.planes - 1, Math.max(0, app.view.plane + by));
    if (plane !== app.view.plane) app.change({ plane });
  };
}

function overlay(name) {
  return () => {
    const wish = app.view.overlays[name];
    if (wish && app.info.versions[app.view.after].overlays.some((one) => one.name === name)) {
      app.change({ overlays: { ...app.view.overlays, [name]: { ...wish, on: !wish.on } } });
    } else say("This version has no such overlay.");
  };
}

const KEYS = {
  ArrowLeft: arrow(-1, 0),
  ArrowRight: arrow(1, 0),
  ArrowUp: arrow(0, -1),
  ArrowDown: arrow(0, 1),
  "+": () => app.stage.zoom(1.5),
  "=": () => app.stage.zoom(1.5),
  "-": () => app.stage.zoom(1 / 1.5),
  0: () => app.stage.home(),
  1: () => app.stage.actual(),
  b: () => app.info.versions.length > 1 && app.stage.blink(),
  a: () => app.mode("after"),
  s: () => app.mode("swipe"),
  g: () => app.mode("side"),
  d: () => app.mode("difference"),
  "[": () => app.stage.swipeTo(app.stage.share - 0.05),
  "]": () => app.stage.swipeTo(app.stage.share + 0.05),
  n: () => app.toRegion(app.region + 1),
  p: () => app.toRegion(app.region < 0 ? -1 : app.region - 1),
  m: overlay("mask"),
  u: overlay("uncertainty"),
  t: overlay("t_map"),
  c: overlay("provenance"),
  PageUp: page(-1),
  PageDown: page(1),
  ",": () => app.open(Math.max(0, app.info.number - 1)),
  ".": () => app.open(Math.min(app.desk.items.length - 1, app.info.number + 1)),
  v: () => app.tool("pan"),
  o: () => app.tool("polygon"),
  r: () => app.tool("brush"),
  e: () => app.tool("eraser"),
  "<": () => app.radius(app.pen.radius / 1.25),
  ">": () => app.radius(app.pen.radius * 1.25),
  " ": () => app.pen.tool !== "pan" && app.pen.stamp(),
  Enter: () => (app.pen.tool === "polygon" ? app.pen.finish() : undefined),
  Escape: () => (app.pen.points.length ? app.pen.cancel() : app.tool("pan")),
  Delete: () => app.pen.clear(),
  y: () => app.jobs.answer(true),
  x: () => app.jobs.answer(false),
  i: () => app.panel(),
  l: () => app.theme(),
  "?": () => $("help").showModal(),
};
const CONTROL = {
  z: (event) => app.act(event.shiftKey ? "redo" : "undo"),
  y: () => app.act("redo"),
  enter: (event) => {
    event.target.blur(); // what is being typed counts
    app.jobs.ask();
  },
};

attempt(() => app.begin());
