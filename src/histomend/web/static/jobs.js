// Asking for jobs: options, the command that does the same, suggestions, and the queue.

import { icon } from "./icons.js";
import { area, ask, attempt, el, say } from "./talk.js";

const VERBS = { restore: "Restore", denoise: "Denoise", upscale: "Enlarge" };
const RUN = { restore: "Restore this", denoise: "Denoise this", upscale: "Enlarge this" };
const PROMISES = { restore: "Restoring.", denoise: "Denoising.", upscale: "Enlarging." };
const OFFERED = {
  restore: ["method", "preset", "model", "steps", "samples", "seed"],
  denoise: ["method", "preset", "model", "steps", "seed"],
  upscale: ["scale", "method", "preset", "model", "steps", "generation", "seed"],
};
const NUMBERS = {
  steps: { min: 1, step: 1 },
  samples: { min: 1, step: 1 },
  seed: { min: 0, step: 1 },
  scale: { min: 1, max: 8, step: 0.5, value: 2 },
  generation: { min: 0, max: 1, step: 0.05 },
};

/** The tab in which is said what is to be done. */
export class Jobs {
  constructor(place, app) {
    this.app = app;
    this.place = place;
    this.task = "restore";
    this.options = { restore: {}, denoise: {}, upscale: {} };
    this.known = new Map();
    this.build();
    this.listen();
  }

  build() {
    this.area = el("p", { class: "quiet", id: "drawn-area" });
    this.verbs = el(
      "div",
      { class: "segments", role: "radiogroup", "aria-label": "What to do" },
      ...Object.entries(VERBS).map(([task, name]) =>
        el("button", { type: "button", role: "radio", "data-task": task, "aria-checked": "false", onclick: () => this.choose(task) }, name),
      ),
    );
    this.whole = el("input", { type: "checkbox", id: "whole", onchange: () => this.drawn() });
    this.wholeText = el("span");
    this.wholeRow = el("label", { class: "check", hidden: true }, this.whole, this.wholeText);
    const tool = (name, text) =>
      el("button", { type: "button", onclick: () => this.app.tool(name) }, icon(name), text);
    this.marks = el(
      "div",
      { class: "row wrap marks" },
      tool("brush", "Brush"),
      tool("polygon", "Polygon"),
      el("button", { type: "button", id: "detect", title: "Look for artifacts, and suggest them", onclick: () => this.detect() }, "Detect"),
    );
    this.run = el("button", { type: "button", class: "primary", id: "run", onclick: () => this.ask() });
    this.form = el("div", { class: "options" });
    this.line = el("code", { id: "command", tabindex: "0" });
    this.file = el("input", { type: "file", accept: ".geojson,.json", class: "hidden", tabindex: "-1", "aria-label": "GeoJSON file", onchange: () => this.take() });
    this.found = el("div", { id: "suggestions" });
    this.list = el("ol", { id: "queue" });
    this.place.replaceChildren(
      this.verbs,
      this.area,
      this.marks,
      this.found,
      this.wholeRow,
      this.run,
      el("h2", {}, "Jobs and results"),
      this.list,
      el("details", { id: "options", ontoggle: () => this.choices() }, el("summary", {}, "Options"), this.form),
      el(
        "details",
        { ontoggle: (event) => event.target.open && this.plan() },
        el("summary", {}, "The same in a shell"),
        el("div", { class: "command" }, this.line, el("button", { type: "button", onclick: () => this.copy() }, "Copy")),
      ),
      el("h2", {}, "Marks as a file"),
      el(
        "div",
        { class: "row wrap" },
        el("button", { type: "button", onclick: () => this.file.click() }, "Import GeoJSON"),
        el("button", { type: "button", id: "export", onclick: () => this.save() }, "Export GeoJSON"),
        this.file,
      ),
    );
    this.choose("restore");
  }

  choose(task) {
    this.task = task;
    for (const button of this.verbs.children) {
      const on = button.dataset.task === task;
      button.setAttribute("aria-checked", on);
    }
    this.run.textContent = RUN[task];
    this.fillForm();
    this.drawn();
  }

  /** Ask what can be chosen when it is wanted, as the server takes seconds to know it. */
  async choices() {
    const { desk } = this.app;
    if (desk.choices) return;
    this.form.textContent = "Looking what there is…";
    desk.choices = await attempt(() => ask("api/choices"));
    this.fillForm();
  }

  fillForm() {
    const of = this.app.desk.choices?.[this.task];
    if (!of) return;
    const options = this.options[this.task];
    const set = (name, text) => {
      if (text === "") delete options[name];
      else options[name] = name in NUMBERS ? +text : text;
      this.plan();
    };
    const lists = { method: of.methods.map((method) => method.name), preset: of.presets, model: of.models };
    this.form.replaceChildren(
      ...OFFERED[this.task].map((name) => {
        let input;
        if (name in lists)
          input = el(
            "select",
            { "data-option": name, onchange: () => set(name, input.value) },
            el("option", { value: "" }, "as usual"),
            ...lists[name].map((value) => el("option", { value, title: of.methods.find((m) => m.name === value)?.about }, value)),
          );
        else
          input = el("input", {
            type: "number",
            placeholder: "as usual",
            "data-option": name,
            ...NUMBERS[name],
            onchange: () => set(name, input.value),
          });
        if (options[name] !== undefined) input.value = options[name];
        return el("label", { class: "row" }, el("span", {}, name[0].toUpperCase() + name.slice(1)), input);
      }),
    );
  }

  /** Say what was drawn. */
  drawn() {
    const { pen, info } = this.app;
    if (!info) return;
    const count = pen.drawing.length;
    const restores = this.task === "restore";
    this.wholeRow.hidden = !info.slide;
    this.wholeText.textContent = restores ? "Write a whole slide, as large as this one" : "The whole slide, not only what is in view";
    this.marks.hidden = this.found.hidden = !restores;
    const slide = this.whole.checked ? "The whole slide is worked on, which may take hours." : "What is in view is worked on.";
    const marked = pen.hidden
      ? "Drag the line in the image to compare. Is there more damage? Mark it too: all marks are restored together."
      : "What is marked is restored; nothing else changes.";
    this.area.textContent = !restores
      ? info.slide
        ? slide
        : "The whole image is worked on."
      : count
        ? marked
        : "Mark the damage in the image: paint over it, draw around it, or have it found.";
    this.run.disabled = this.task === "restore" && !count;
    clearTimeout(this.planned);
    this.planned = setTimeout(() => this.plan(), 400);
  }

  wish() {
    const { app } = this;
    const wish = { task: this.task, item: app.info.number, options: { ...this.options[this.task] } };
    wish.whole = app.info.slide && this.whole.checked;
    if (this.task === "restore") wish.drawing = app.pen.drawing;
    else if (app.info.slide && !wish.whole) wish.region = app.stage.inView();
    return wish;
  }

  async plan() {
    if (!this.line.closest("details").open) return;
    if (this.run.disabled) {
      this.line.textContent = "";
      return;
    }
    try {
      this.line.textContent = (await ask("api/plan", this.wish())).command;
    } catch (error) {
      this.line.textContent = error.message;
    }
  }

  async copy() {
    await attempt(async () => {
      await navigator.clipboard.writeText(this.line.textContent);
      say("Copied");
    });
  }

  async ask() {
    if (this.run.disabled) {
      say("Mark the damage first: brush (R), polygon (O), or Detect.");
      return;
    }
    this.app.pen.finish();
    await attempt(async () => {
      const job = await ask("api/jobs", this.wish());
      this.mine = job.number;
      say(`${PROMISES[this.task]} The result appears in the image.`);
    });
  }

  async detect() {
    const { app } = this;
    const button = document.getElementById("detect");
    button.disabled = true;
    const found = await attempt(() => ask(`api/items/${app.info.number}/detect`, app.info.slide ? { region: app.stage.inView() } : {}));
    button.disabled = false;
    if (!found) return;
    app.pen.suggestions = found;
    app.pen.chosen = 0;
    app.pen.show();
    if (!found.length) say("Nothing was found that looks like an artifact");
    this.suggest(found.length > 0);
  }

  /** Show what a detector suggests; each is accepted or refused. */
  suggest(go = false) {
    const { pen, stage, info } = this.app;
    const { suggestions: found } = pen;
    pen.draw();
    if (!found.length) {
      this.found.replaceChildren();
      return;
    }
    pen.chosen = Math.min(pen.chosen, found.length - 1);
    const chosen = found[pen.chosen];
    const um2 = info.mpp ? chosen.area_px * info.mpp ** 2 : null;
    if (go) stage.goTo(chosen.box);
    this.found.replaceChildren(
      el("p", {}, `Suggestion ${pen.chosen + 1} of ${found.length}: ${area({ ...chosen, area_um2: um2 })}`),
      el(
        "div",
        { class: "row wrap" },
        el("button", { type: "button", id: "accept", title: "Accept (Y)", onclick: () => this.answer(true) }, "Accept"),
        el("button", { type: "button", title: "Refuse (X)", onclick: () => this.answer(false) }, "Refuse"),
        el("button", { type: "button", onclick: () => this.answerAll() }, "Accept all"),
      ),
    );
  }

  answer(accepted) {
    const { pen } = this.app;
    if (!pen.suggestions.length) return;
    const [chosen] = pen.suggestions.splice(pen.chosen, 1);
    if (accepted) pen.add(plain(chosen));
    this.suggest(true);
  }

  answerAll() {
    const { pen } = this.app;
    pen.add(...pen.suggestions.map(plain));
    pen.suggestions = [];
    this.suggest();
  }

  async take() {
    const [file] = this.file.files;
    this.file.value = "";
    if (!file) return;
    const found = await attempt(async () => ask(`api/items/${this.app.info.number}/geojson`, await file.text()));
    if (found) this.app.pen.add(...found.map(plain));
  }

  async save() {
    const { app } = this;
    app.pen.finish();
    const found = await attempt(() => ask(`api/items/${app.info.number}/drawing`, { drawing: app.pen.drawing }));
    if (!found) return;
    const url = URL.createObjectURL(new Blob([JSON.stringify(found)], { type: "application/geo+json" }));
    el("a", { href: url, download: `${app.info.name.replace(/\.[^.]*$/, "")}.mask.geojson` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  listen() {
    this.events = new EventSource("api/events");
    this.events.onmessage = (event) => this.news(JSON.parse(event.data));
  }

  news(jobs) {
    for (const job of jobs) {
      const before = this.known.get(job.number);
      if (before && before.state !== job.state) {
        if (job.state === "done") {
          const mine = job.number === this.mine;
          this.app.refresh(job.item, mine);
          say(mine ? `${job.output_name} is saved. Drag the line to compare.` : `${job.output_name} is saved`);
        }
        if (job.state === "failed") say(job.error, "error");
      }
      this.known.set(job.number, job);
    }
    this.list.replaceChildren(...jobs.slice().reverse().map((job) => this.entry(job)));
    if (!jobs.length) this.list.replaceChildren(el("li", { class: "quiet" }, "None yet."));
  }

  entry(job) {
    const open = job.state === "waiting" || job.state === "running";
    const bar = el("progress", { max: job.of || 1, "aria-label": `Progress of job ${job.number}` });
    if (job.of) bar.value = job.done;
    return el(
      "li",
      { "data-state": job.state },
      el("span", { class: "title" }, `${VERBS[job.task]} ${job.name}`),
      el("span", { class: "state" }, job.state === "running" && job.of ? `${job.done} of ${job.of}` : job.state),
      job.state === "running" ? bar : null,
      job.error ? el("p", { class: "error" }, job.error) : null,
      open ? el("button", { type: "button", onclick: () => attempt(() => ask(`api/jobs/${job.number}`, undefined, "DELETE")) }, "Cancel") : null,
      job.state === "done" ? el("p", { class: "quiet file" }, el("b", {}, job.output_name), ` is saved in ${job.folder}. Not for diagnosis.`) : null,
      job.state === "done" && job.version !== null
        ? el("a", { class: "button", href: `api/items/${job.item}/versions/${job.version}/file`, download: job.output_name }, "Save a copy")
        : null,
    );
  }
}

const plain = ({ kind, rings, erase }) => ({ kind, rings, erase });
