// The image: what versions are laid over each other in which panes, and how they are compared.

import { Pane } from "./pane.js";

const OSD = window.OpenSeadragon;

/** All panes of the image that is looked at. */
export class Stage {
  constructor(root, told) {
    this.root = root;
    this.told = told; // called when what is in view changed
    this.panes = [];
    this.share = 0.5; // of the width, where the swipe line is
    this.hidden = false; // blinking: the version after is not shown
    this.leader = null;
    this.line = document.getElementById("swipe");
    this.dragLine();
  }

  get main() {
    return this.panes[0];
  }

  /** Show an image anew. */
  open(info) {
    this.info = info;
    this.panes.forEach((pane) => pane.destroy());
    this.panes = [];
    this.fresh = true;
  }

  /** Show versions in a way: see `app.js` for what a view is. */
  async show(view) {
    this.view = view;
    const shown = view.mode === "side" ? view.versions : [view.after];
    const bounds = this.main && this.main.viewer.viewport && !this.fresh ? this.main.viewer.viewport.getBounds() : null;
    while (this.panes.length > shown.length) this.panes.pop().destroy();
    while (this.panes.length < shown.length) this.addPane();
    this.root.dataset.count = String(this.panes.length);
    this.root.classList.toggle("difference", view.mode === "difference");
    this.line.hidden = view.mode !== "swipe";
    await Promise.all(this.panes.map((pane, n) => pane.show(this.layers(shown[n], n))));
    if (this.fresh) this.home(true);
    else if (bounds) for (const pane of this.panes.slice(1)) pane.viewer.viewport.fitBounds(bounds, true);
    this.fresh = false;
    this.clip();
    this.label(shown);
    this.told();
  }

  addPane() {
    const element = document.createElement("div");
    element.className = "pane";
    this.root.append(element);
    const pane = new Pane(element, this.info.width, this.info.slide && !this.panes.length);
    this.panes.push(pane);
    const lead = () => (this.leader = pane);
    element.addEventListener("pointerenter", lead);
    element.addEventListener("pointerdown", lead);
    element.addEventListener("wheel", lead, { passive: true });
    pane.viewer.addHandler("viewport-change", () => {
      if (pane === this.main) this.clip();
      if (pane === (this.leader || this.main)) this.follow(pane);
      this.told();
    });
    pane.viewer.addHandler("resize", () => setTimeout(() => this.told()));
  }

  follow(leader) {
    const from = leader.viewer.viewport;
    for (const pane of this.panes) {
      if (pane === leader) continue;
      pane.viewer.viewport.zoomTo(from.getZoom(true), null, true);
      pane.viewer.viewport.panTo(from.getCenter(true), true);
    }
  }

  layers(version, pane) {
    const { view, info } = this;
    const { mode } = view;
    const whole = (v) => v.region[2] === info.width && v.region[3] === info.height;
    const layers = [];
    const before = info.versions[view.before];
    const after = info.versions[version];
    if (mode === "before") layers.push(this.layer(before, "image", "before"));
    else {
      if (mode === "swipe" || mode === "difference" || !whole(after) || this.blinks(mode))
        if (before !== after) layers.push(this.layer(before, "image", "before"));
      const top = this.layer(after, "image", "after");
      if (mode === "difference") top.composite = "difference";
      if (this.hidden && before !== after && mode !== "difference" && pane === this.panes.length - 1) top.opacity = 0;
      layers.push(top);
    }
    if (mode !== "difference" && mode !== "before")
      for (const overlay of after.overlays) {
        const wish = view.overlays[overlay.name];
        if (wish && wish.on) layers.push({ ...this.layer(after, overlay.name, overlay.name), opacity: wish.opacity });
      }
    return layers;
  }

  blinks(mode) {
    return mode === "after";
  }

  layer(version, name, role) {
    const { info, view } = this;
    const { low, high, gamma } = view.contrast;
    const plane = Math.min(view.plane, version.planes - 1);
    const query = new URLSearchParams({ plane });
    if (name === "image") {
      query.set("low", low);
      query.set("high", high);
      query.set("gamma", gamma);
      if (view.channels.length) query.set("channels", view.channels.join(","));
    }
    const base = `tiles/${info.number}/${version.number}/${name}`;
    const side = Math.max(version.width, version.height);
    return {
      key: `${role} ${base}?${query}`,
      role,
      region: version.region,
      width: version.width,
      height: version.height,
      tile: version.tile,
      firstLevel: Math.max(0, version.last_level - Math.max(0, Math.ceil(Math.log2(side / version.tile)))),
      lastLevel: version.last_level,
      opacity: 1,
      url: (level, column, row) => `${base}/${level}/${column}/${row}?${query}`,
    };
  }

  /** Cut the version after at the swipe line, and the one before to what the other shows. */
  clip() {
    const pane = this.main;
    if (!pane || !this.view) return;
    const { mode } = this.view;
    const x = this.share * pane.element.clientWidth;
    for (const held of [...pane.images.values(), ...pane.stale]) {
      const { image, layer } = held;
      const size = image.getContentSize();
      let rect = null;
      if (mode === "swipe" && layer.role === "after") {
        const left = Math.min(Math.max(image.viewerElementToImageCoordinates(new OSD.Point(x, 0)).x, 0), size.x - 1e-3);
        rect = new OSD.Rect(left, 0, size.x - left, size.y);
      } else if (mode === "difference") rect = this.commonRect(image);
      const now = image.getClip();
      if (rect ? !now || !now.equals(rect) : now) image.setClip(rect);
    }
    this.line.style.left = `${x}px`;
    this.line.setAttribute("aria-valuenow", Math.round(this.share * 100));
  }

  /** What both versions cover, cut at whole pixels of the screen: half ones would differ at the rim. */
  commonRect(image) {
    const [x, y, w, h] = this.info.versions[this.view.after].region;
    const ratio = window.devicePixelRatio || 1;
    const [left, top] = this.main.toScreen(x, y).map((n) => (Math.ceil(n * ratio) + 1) / ratio);
    const [right, bottom] = this.main.toScreen(x + w, y + h).map((n) => (Math.floor(n * ratio) - 1) / ratio);
    const corner = image.viewerElementToImageCoordinates(new OSD.Point(left, top));
    const end = image.viewerElementToImageCoordinates(new OSD.Point(right, bottom));
    return new OSD.Rect(corner.x, corner.y, Math.max(end.x - corner.x, 1e-3), Math.max(end.y - corner.y, 1e-3));
  }

  swipeTo(share) {
    this.share = Math.min(1, Math.max(0, share));
    this.clip();
    if (this.main) this.main.viewer.forceRedraw();
  }

  dragLine() {
    const move = (event) => {
      const box = this.root.getBoundingClientRect();
      this.swipeTo((event.clientX - box.left) / box.width);
    };
    this.line.addEventListener("pointerdown", (event) => {
      this.line.setPointerCapture(event.pointerId);
      this.line.addEventListener("pointermove", move);
      event.preventDefault();
      this.line.focus();
    });
    this.line.addEventListener("pointerup", () => this.line.removeEventListener("pointermove", move));
    this.line.addEventListener("lostpointercapture", () => this.line.removeEventListener("pointermove", move));
  }

  label(shown) {
    const place = document.getElementById("names");
    const { mode } = this.view;
    const name = (n) => this.info.versions[n].name;
    let names = [];
    if (mode === "side") names = shown.map(name);
    else if (this.info.versions.length > 1) {
      if (mode === "swipe") names = [`Before: ${name(this.view.before)}`, `After: ${name(this.view.after)}`];
      else if (mode === "difference") names = [`Difference, ${this.view.gain} times: ${name(this.view.after)}`];
      else names = [mode === "before" || this.hidden ? `Before: ${name(this.view.before)}` : `After: ${name(this.view.after)}`];
    }
    place.dataset.count = String(names.length);
    place.replaceChildren(...names.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
  }

  /** Show or hide the version after, in place. */
  blink() {
    this.hidden = !this.hidden;
    return this.show(this.view);
  }

  lead() {
    this.leader = this.main;
    return this.main.viewer.viewport;
  }

  home(at_once = false) {
    const { width, height } = this.info;
    this.lead().fitBounds(new OSD.Rect(-0.02, -0.02, 1.04, height / width + 0.04), at_once);
    this.follow(this.main);
  }

  zoom(factor) {
    this.lead().zoomBy(factor);
    this.main.viewer.viewport.applyConstraints();
  }

  /** Show one pixel of the image as one of the screen. */
  actual() {
    const pane = this.main;
    this.lead().zoomTo(this.info.width / pane.viewer.viewport.getContainerSize().x / (window.devicePixelRatio || 1));
  }

  pan(dx, dy) {
    const viewport = this.lead();
    viewport.panBy(viewport.deltaPointsFromPixels(new OSD.Point(dx, dy)));
    viewport.applyConstraints();
  }

  /** Go to a box (x, y, w, h), with some of what is around. */
  goTo([x, y, w, h]) {
    const around = Math.max(w, h, 64) * 0.75;
    const scale = this.info.width;
    const rect = new OSD.Rect((x - around) / scale, (y - around) / scale, (w + 2 * around) / scale, (h + 2 * around) / scale);
    this.lead().fitBounds(rect);
  }

  /** What is in view, (x, y, w, h) in whole pixels, within the image. */
  inView() {
    const bounds = this.main.viewer.viewport.getBounds(true);
    const { width, height } = this.info;
    const left = Math.max(0, Math.floor(bounds.x * width));
    const top = Math.max(0, Math.floor(bounds.y * width));
    const right = Math.min(width, Math.ceil((bounds.x + bounds.width) * width));
    const bottom = Math.min(height, Math.ceil((bounds.y + bounds.height) * width));
    return [left, top, Math.max(0, right - left), Math.max(0, bottom - top)];
  }

  /** Draw the bar whose length is a round number of micrometres. */
  drawScale(bar) {
    const mpp = this.info.mpp;
    bar.hidden = !mpp;
    if (!mpp || !this.main) return;
    const px_per_um = this.main.scale() / mpp;
    const wanted = 140 / px_per_um;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const um = [5, 2, 1].map((n) => n * power).find((n) => n <= wanted);
    bar.querySelector("i").style.width = `${um * px_per_um}px`;
    bar.querySelector("span").textContent = um >= 1000 ? `${um / 1000} mm` : um >= 1 ? `${um} µm` : `${um * 1000} nm`;
  }
}
