// What the keys do, as the help shows it.

import { el } from "./talk.js";

const SHEET = {
  Look: [
    ["Arrows", "move (Shift: further)"],
    ["+  −", "zoom"],
    ["0", "all of it"],
    ["1", "one pixel for one"],
    [",  .", "image before, image after"],
    ["Page up, down", "plane of a stack"],
  ],
  Compare: [
    ["B", "blink: before or after"],
    ["S", "swipe line;  [  ]  move it"],
    ["G", "side by side"],
    ["D", "difference"],
    ["A", "after only"],
    ["N  P", "next, previous changed region"],
    ["M  U  T  C", "mask, uncertainty, t, copies"],
  ],
  Draw: [
    ["O  R  E", "polygon, brush, eraser"],
    ["V", "move the image again"],
    ["<  >", "narrower, wider"],
    ["Space", "set a corner or a dab (arrows move the cursor)"],
    ["Enter", "close the polygon"],
    ["Esc", "leave it"],
    ["Ctrl+Z, Ctrl+Y", "undo, redo"],
  ],
  Work: [
    ["Y  X", "accept, refuse a suggestion"],
    ["Ctrl+Enter", "restore, denoise or enlarge"],
    ["I", "panel"],
    ["L", "light or dark"],
    ["?", "this sheet"],
  ],
};

/** Return what the keys do, for people. */
export function keySheet() {
  return Object.entries(SHEET).map(([title, keys]) =>
    el("section", {}, el("h3", {}, title), el("dl", {}, ...keys.flatMap(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)]))),
  );
}
