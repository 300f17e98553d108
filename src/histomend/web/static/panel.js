// The panel beside the image: what it is, what was changed, and the record of it.

import { area, digits, el } from "./talk.js";

const WORDS = {
  area_px: "Area (px)",
  area_um2: "Area (µm²)",
  share: "Share of the image",
  regions: "Regions",
  mean_change: "Mean change (levels)",
  uncertainty: "Uncertainty",
};
// Figures and settings of a record that people ask for first; the rest is in the file.
const FIRST = ["regions", "share", "mean_change", "uncertainty", "scale", "t_mean", "t_median"];

const COLOURS = ["magenta", "green", "blue", "orange", "red", "cyan", "white"];

function facts(pairs) {
  const list = el("dl");
  for (const [name, value] of pairs)
    if (value !== null && value !== undefined && value !== "")
      list.append(el("dt", {}, name), el("dd", {}, typeof value === "number" ? digits(value) : String(value)));
  return list;
}

function notices(texts) {
  return texts.length ? el("ul", { class: "notices" }, ...texts.map((text) => el("li", {}, text))) : null;
}

/** Fill the tab of the image: facts, planes, contrast, overlays. */
export function imagePanel(place, app) {
  const { info } = app;
  const size = `${info.width.toLocaleString("en")} × ${info.height.toLocaleString("en")} px`;
  place.replaceChildren(
    facts([
      ["Size", size],
      ["Pixel size", info.mpp ? `${digits(info.mpp)} µm` : "not known"],
      ["Planes", info.planes > 1 ? info.planes : null],
      ["Channels", info.channels],
      ["Values", info.dtype],
    ]),
    ...[planes(app), channels(app), contrast(app), overlays(app)].filter(Boolean),
    ...[notices(info.notices)].filter(Boolean),
  );
}

function slider(name, value, low, high, step, changed, attributes = {}) {
  const shown = el("output", {}, digits(value));
  const input = el("input", {
    type: "range",
    min: low,
    max: high,
    step,
    oninput: () => {
      shown.textContent = digits(+input.value);
      changed(+input.value);
    },
    ...attributes,
  });
  input.value = value;
  return el("label", { class: "slider" }, el("span", {}, name), input, shown);
}

function planes(app) {
  if (app.info.planes < 2) return null;
  const last = app.info.planes - 1;
  return slider("Plane", app.view.plane, 0, last, 1, (n) => app.change({ plane: n }), { id: "plane" });
}

function channels(app) {
  const { info, view } = app;
  if (info.channels < 2 || (info.channels === 3 && info.dtype === "uint8")) return null;
  const colours = info.channels === 3 ? ["red", "green", "blue"] : COLOURS;
  const names = Array.from({ length: info.channels }, (_, n) => `Channel ${n + 1} (${colours[n % colours.length]})`);
  const shown = (n) => !view.channels.length || view.channels.includes(n);
  const toggled = (n) => {
    const wanted = names.map((_, k) => k).filter((k) => (k === n ? !shown(k) : shown(k)));
    app.change({ channels: wanted.length === names.length || !wanted.length ? [] : wanted });
    app.fillPanel();
  };
  return el(
    "fieldset",
    {},
    el("legend", {}, "Channels"),
    ...names.map((name, n) =>
      el("label", { class: "check" }, el("input", { type: "checkbox", checked: shown(n), onchange: () => toggled(n) }), name),
    ),
  );
}

function contrast(app) {
  const { info, view } = app;
  const [low, high] = info.range;
  const step = info.dtype.startsWith("float") ? 0.001 : 1;
  const many = view.contrast.low.length > 1;
  const at = many ? Math.min(app.channel || 0, view.contrast.low.length - 1) : 0;
  const set = (name) => (value) => {
    const ends = { low: [...view.contrast.low], high: [...view.contrast.high] };
    ends[name][at] = value;
    if (ends.high[at] <= ends.low[at]) {
      if (name === "low") ends.high[at] = ends.low[at] + step;
      else ends.low[at] = ends.high[at] - step;
    }
    app.change({ contrast: { ...view.contrast, ...ends } }, 150);
  };
  const which = el(
    "select",
    {
      onchange: () => {
        app.channel = +which.value;
        app.fillPanel();
      },
    },
    ...view.contrast.low.map((_, n) => el("option", { value: n }, `Channel ${n + 1}`)),
  );
  which.value = at;
  return el(
    "fieldset",
    { id: "contrast" },
    el("legend", {}, "Contrast"),
    many ? el("label", { class: "row" }, el("span", {}, "Of"), which) : null,
    slider("Black at", view.contrast.low[at], low, high, step, set("low")),
    slider("White at", view.contrast.high[at], low, high, step, set("high")),
    slider("Gamma", view.contrast.gamma, 0.2, 3, 0.05, (gamma) => app.change({ contrast: { ...app.view.contrast, gamma } }, 150)),
    el(
      "button",
      {
        type: "button",
        onclick: () => {
          app.change({ contrast: { ...info.contrast } });
          app.fillPanel();
        },
      },
      "As at first",
    ),
  );
}

function overlays(app) {
  const found = app.info.versions[app.view.after].overlays;
  if (!found.length) return null;
  return el(
    "fieldset",
    { id: "overlays" },
    el("legend", {}, "Laid over it"),
    ...found.map(({ name, title, kind }) => {
      const wish = app.view.overlays[name];
      const set = (values) => app.change({ overlays: { ...app.view.overlays, [name]: { ...app.view.overlays[name], ...values } } }, 60);
      return el(
        "div",
        { class: "overlay" },
        el("label", { class: "check" }, el("input", { type: "checkbox", checked: wish.on, onchange: (event) => set({ on: event.target.checked }) }), title),
        slider("Strength", wish.opacity, 0, 1, 0.05, (opacity) => set({ opacity }), { "aria-label": `Strength of ${title}` }),
        kind === "map" && el("p", { class: "ramp" }, "less", el("i"), "more"),
      );
    }),
  );
}

/** Fill the tab of changes: which versions, which regions, and the record. */
export function changesPanel(place, app) {
  const { info, view } = app;
  const after = info.versions[view.after];
  if (info.versions.length < 2 && !after.record) {
    place.replaceChildren(el("p", { class: "quiet" }, "Nothing was changed yet. Restored versions appear here, each with its record."));
    return;
  }
  const parts = [];
  if (info.versions.length > 1) parts.push(chooser("Before", "before", app), chooser("After", "after", app));
  if (after.changes.length) {
    parts.push(
      el("h2", {}, after.changes.length === 1 ? "1 changed region" : `${after.changes.length} changed regions, by size`),
      el(
        "ol",
        { class: "regions" },
        ...after.changes.map((change, n) =>
          el(
            "li",
            {},
            el(
              "button",
              { type: "button", "aria-current": n === app.region ? "true" : null, onclick: () => app.toRegion(n) },
              el("b", {}, area(change)),
              ` at ${change.box[0]}, ${change.box[1]}`,
            ),
          ),
        ),
      ),
    );
  }
  if (after.record) parts.push(...record(after, app));
  place.replaceChildren(...parts);
}

function chooser(title, name, app) {
  const select = el(
    "select",
    { "aria-label": title, onchange: () => app.choose(name, +select.value) },
    ...app.info.versions.map((version) => el("option", { value: version.number }, version.name)),
  );
  select.value = app.view[name];
  return el("label", { class: "row" }, el("span", {}, title), select);
}

function record(version, app) {
  const { record: said } = version;
  const figure = (name) => (name === "share" ? `${digits(100 * said.figures[name])} %` : said.figures[name]);
  const shown = FIRST.filter((name) => typeof said.figures[name] === "number").map((name) => [WORDS[name] || name, figure(name)]);
  return [
    el("h2", {}, "Record"),
    el("p", { class: "note" }, said.note),
    facts([
      ["Made of", said.source.name],
      ["Method", said.method],
      ["Preset", said.settings.preset],
      ["Model", said.model && `${said.model} (${(said.model_sha256 || "").slice(0, 8)})`],
      ["Seed", String(said.seed)],
      ["Network calls", said.nfe],
      ...shown,
      ["On", said.settings.device],
      ["When", said.created.replace("T", " ").slice(0, 16)],
      ["Histomend", said.histomend],
    ]),
    notices(said.notices),
    el(
      "a",
      { href: `api/items/${app.info.number}/versions/${version.number}/record`, download: `${version.name}.ledger.json` },
      "The whole record",
    ),
    version.file &&
      el("p", {}, el("a", { href: `api/items/${app.info.number}/versions/${version.number}/file`, download: version.name }, "Save the image elsewhere")),
  ].filter(Boolean);
}
