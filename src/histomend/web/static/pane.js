// One viewer of deep zoom, with layers over each other.

const OSD = window.OpenSeadragon;
// Milliseconds after which an older state of a layer goes, if the new one did not say that it is complete.
const STALE_MS = 2500;

/** One viewer with layers over each other; world coordinates are shares of the image's width. */
export class Pane {
  constructor(element, width, map) {
    this.element = element;
    this.width = width;
    this.images = new Map(); // key -> {image, layer}
    this.stale = [];
    this.turn = 0;
    this.viewer = OSD({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      animationTime: 0.3,
      springStiffness: 9,
      maxZoomPixelRatio: 16,
      minZoomImageRatio: 0.5,
      visibilityRatio: 0.25,
      imageLoaderLimit: 6,
      maxImageCacheCount: 300,
      preserveViewport: true,
      // Where one is on a slide.
      showNavigator: map,
      navigatorPosition: "BOTTOM_LEFT",
      navigatorAutoFade: false,
      navigatorSizeRatio: 0.16,
      // Tiles on whole pixels of the screen: the rims of two images do not differ by their rounding.
      subPixelRoundingForTransparency: { "*": OSD.SUBPIXEL_ROUNDING_OCCURRENCES.ALWAYS },
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
    });
    // Keys belong to the page, which has its own.
    this.viewer.addHandler("canvas-key", (event) => {
      event.preventDefaultAction = true;
      event.preventDefault = false;
    });
    this.viewer.addHandler("update-viewport", () => this.sharpen());
  }

  /** Show layers from below to above; those that stay are not loaded again. */
  async show(layers) {
    const turn = ++this.turn;
    const wanted = new Set(layers.map((layer) => layer.key));
    const added = layers.filter((layer) => !this.images.has(layer.key)).map((layer) => this.add(layer, turn));
    for (const [key, held] of [...this.images])
      if (!wanted.has(key)) {
        this.images.delete(key);
        this.stale.push(held);
      }
    await Promise.all(added);
    if (turn !== this.turn) return;
    const world = this.viewer.world;
    // What is older lies below, so that nothing flashes, unless it would show through.
    const older = this.stale.filter((held) => layers.some((layer) => layer.role === held.layer.role && layer.opacity === 1 && !layer.composite));
    for (const held of this.stale) if (!older.includes(held)) this.drop(held);
    layers.forEach((layer) => {
      const held = this.images.get(layer.key);
      if (!held) return;
      held.layer = layer;
      held.image.setOpacity(layer.opacity);
      held.image.setCompositeOperation(layer.composite || null);
      world.setItemIndex(held.image, world.getItemCount() - 1);
    });
    const end = () => older.forEach((held) => this.drop(held));
    const last = layers.map((layer) => this.images.get(layer.key)).filter(Boolean);
    if (older.length) {
      last.forEach((held) =>
        held.image.addOnceHandler("fully-loaded-change", () => last.every((one) => one.image.getFullyLoaded()) && end()),
      );
      setTimeout(end, STALE_MS);
    }
    this.viewer.forceRedraw();
  }

  drop(held) {
    this.stale = this.stale.filter((other) => other !== held);
    if (this.viewer.world.getIndexOfItem(held.image) >= 0) this.viewer.world.removeItem(held.image);
  }

  add(layer, turn) {
    return new Promise((resolve) => {
      const [x, y, w] = layer.region;
      this.viewer.addTiledImage({
        tileSource: {
          width: layer.width,
          height: layer.height,
          tileSize: layer.tile,
          tileOverlap: 0,
          minLevel: layer.firstLevel,
          maxLevel: layer.lastLevel,
          getTileUrl: (level, column, row) => layer.url(level, column, row),
        },
        x: x / this.width,
        y: y / this.width,
        width: w / this.width,
        opacity: layer.opacity,
        preload: true,
        success: (event) => {
          if (turn !== this.turn) this.viewer.world.removeItem(event.item);
          else this.images.set(layer.key, { image: event.item, layer });
          resolve();
        },
        error: () => resolve(),
      });
    });
  }

  /** Draw pixels as squares where they are large enough to be seen. */
  sharpen() {
    const smooth = this.scale() < 2;
    if (smooth !== this.smooth) {
      this.smooth = smooth;
      this.viewer.drawer.setImageSmoothingEnabled(smooth);
    }
  }

  /** Pixels of the screen per pixel of the image. */
  scale(current = true) {
    return (this.viewer.viewport.getZoom(current) * this.viewer.viewport.getContainerSize().x) / this.width;
  }

  toImage(x, y) {
    const point = this.viewer.viewport.viewerElementToViewportCoordinates(new OSD.Point(x, y));
    return [point.x * this.width, point.y * this.width];
  }

  toScreen(x, y) {
    const point = this.viewer.viewport.viewportToViewerElementCoordinates(new OSD.Point(x / this.width, y / this.width));
    return [point.x, point.y];
  }

  destroy() {
    this.turn += 1;
    this.viewer.destroy();
    this.element.remove();
  }
}
