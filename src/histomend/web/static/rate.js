// One trial after the other: the images, and an answer by a key.

import { ask, attempt, el } from "./talk.js";

const $ = (id) => document.getElementById(id);
const KEYS = {
  left: ["ArrowLeft", "←", "Left"],
  right: ["ArrowRight", "→", "Right"],
  equal: ["ArrowDown", "↓", "No difference"],
  real: ["ArrowLeft", "←", "Real"],
  restored: ["ArrowRight", "→", "Restored"],
};
let state = null;
let back = false; // to correct the last answer
let since = 0;
let ready = false;

$("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const found = await attempt(() => ask("api/raters", { name: $("name").value }));
  if (found) show(found);
});

const address = (trial, place) => `pictures/${state.rater}/${trial}/${place}`;

const trial = () => state.trial - (back ? 1 : 0);

async function show(found, again = false) {
  state = found;
  back = again;
  ready = false;
  $("back").hidden = state.trial === 0;
  $("back").replaceChildren(el("kbd", {}, back ? "Esc" : "Backspace"), back ? " Leave it as it was" : " Back");
  $("enter").hidden = true;
  $("question").textContent = state.question;
  const finished = trial() >= state.of;
  $("done").hidden = !finished;
  $("trial").hidden = finished;
  $("count").textContent = finished ? "" : `${back ? "Again: " : ""}${trial() + 1} of ${state.of}`;
  if (finished) return;
  const two = state.answers.includes("left");
  const pictures = (two ? [0, 1] : [0]).map((place) =>
    el("img", { src: address(trial(), place), alt: two ? ["Left image", "Right image"][place] : "Image" }),
  );
  $("pictures").dataset.count = String(pictures.length);
  $("pictures").replaceChildren(...pictures);
  $("answers").replaceChildren(
    ...["left", "real", "equal", "right", "restored"]
      .filter((answer) => state.answers.includes(answer))
      .map((answer) => el("button", { type: "button", "data-answer": answer, onclick: () => say(answer) }, el("kbd", {}, KEYS[answer][1]), ` ${KEYS[answer][2]}`)),
  );
  // Both appear at once, and the clock runs from then.
  $("pictures").classList.add("waiting");
  const shown = trial();
  await attempt(() => Promise.all(pictures.map((picture) => picture.decode())));
  if (shown !== trial()) return;
  $("pictures").classList.remove("waiting");
  since = performance.now();
  ready = true;
  if (trial() + 1 < state.of) for (const place of two ? [0, 1] : [0]) new Image().src = address(trial() + 1, place);
}

async function say(answer) {
  if (!ready) return;
  ready = false;
  const seconds = (performance.now() - since) / 1000;
  const found = await attempt(() => ask("api/answers", { rater: state.rater, trial: trial(), answer, seconds, corrects: back }));
  if (found) show(found);
  else ready = true;
}

document.addEventListener("keydown", (event) => {
  if (!state || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === (back ? "Escape" : "Backspace") && state.trial > 0) {
    event.preventDefault();
    show(state, !back);
    return;
  }
  const answer = state.answers.find((name) => KEYS[name][0] === event.key);
  if (!answer) return;
  event.preventDefault();
  say(answer);
});

$("back").addEventListener("click", () => show(state, !back));
$("name").focus();
