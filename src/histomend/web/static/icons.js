// Icons, as paths on a field of 20 by 20.

const PATHS = {
  pan: "M10 2v16M2 10h16M10 2l-2 2M10 2l2 2M10 18l-2-2M10 18l2-2M2 10l2-2M2 10l2 2M18 10l-2-2M18 10l-2 2",
  polygon: "M4 7l6-4 7 5-3 8H6z",
  brush: "M16 3L9 10M9 10c-2-1-4 0-4 3 0 2-1 3-2 3 2 1 8 1 8-3 0-1-1-2-2-3z",
  eraser: "M7 16l-4-4 8-9 6 6-7 7zM7 16h10M7 8l5 5",
  undo: "M4 8h8a4 4 0 010 8H8M4 8l4-4M4 8l4 4",
  redo: "M16 8H8a4 4 0 000 8h4M16 8l-4-4M16 8l-4 4",
  clear: "M4 6h12M8 6V4h4v2M6 6l1 11h6l1-11",
  theme: "M10 3a7 7 0 100 14zM10 3a7 7 0 010 14",
  panel: "M3 4h14v12H3zM12 4v12",
};

/** Return an icon as an SVG element. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
