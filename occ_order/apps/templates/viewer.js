"use strict";
(() => {
const { names, folder } = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const state = { image: 0, data: null, set: "found", hovered: null, pinned: null, whole: false, layer: 0, order: "occlusion", compare: false };
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, text = "") {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  if (text) e.textContent = text;
  return e;
}
function shape(name, attributes = {}) {
  const e = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}
const image = () => state.data; // of the image that is shown; no other is kept
const setOf = which => image()[which];
const chosen = () => state.hovered ?? state.pinned;

/* What is in front of instance k and what is behind it, with what is known about each relation. */
function relations(set, k) {
  const found = { front: [], behind: [], equal: [] };
  if (state.order === "occlusion") {
    for (const [i, j, p] of set.occlusion ?? []) {
      if (i === k) found.behind.push({ k: j, p });
      if (j === k) found.front.push({ k: i, p });
    }
    return found;
  }
  for (const entry of set.depth ?? []) {
    const [i, j, relation] = entry, p = entry[entry.length - 1];
    const range = entry.length === 5 ? entry[3] : "";
    if (i !== k && j !== k) continue;
    const other = { k: i === k ? j : i, p, range };
    if (relation === "equal") found.equal.push(other);
    else (i === k ? found.behind : found.front).push(other);
  }
  return found;
}
const layerCount = set => Math.max(0, ...set.instances.map(x => (x.layer ?? -1) + 1));
const outline = x => (state.whole && x.amodal) || x.modal;

/* ---------------------------------------------------------------- images */

function draw(which) {
  const set = setOf(which), svg = $(which).querySelector("svg");
  svg.replaceChildren();
  $(which).hidden = !set || (which === "truth" && !state.compare);
  if (!set) return;
  const { width, height, image: source, name } = image();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", `${which === "found" ? "results for" : "annotation of"} ${name}`);
  const photo = shape("image", { width, height, preserveAspectRatio: "none" });
  photo.setAttribute("href", source);
  svg.append(photo);
  const order = set.instances.map((x, k) => k).sort((a, b) => (set.instances[b].layer ?? 0) - (set.instances[a].layer ?? 0));
  for (const k of order) {
    const x = set.instances[k];
    const path = shape("path", { class: "thing-shape", "data-k": k, d: outline(x), fill: x.color, stroke: x.color });
    path.addEventListener("pointerenter", () => hover(which, k));
    path.addEventListener("pointerleave", () => hover(which, null));
    path.addEventListener("click", () => pin(which, k));
    svg.append(path);
  }
  const side = Math.max(width, height), size = side / 42;
  set.instances.forEach((x, k) => {
    if (!x.at) return;
    const plate = shape("g", { class: "plate", "data-k": k });
    const half = size * (String(k + 1).length > 1 ? 0.95 : 0.75);
    plate.append(shape("rect", { x: x.at[0] - half, y: x.at[1] - size * 0.7, width: 2 * half, height: size * 1.4, rx: size * 0.4, fill: x.color, stroke: "#fff", "stroke-width": size * 0.1 }));
    const text = shape("text", { x: x.at[0], y: x.at[1], "font-size": size, fill: x.ink });
    text.textContent = k + 1;
    plate.append(text);
    svg.append(plate);
  });
  svg.append(shape("g", { class: "marks" }));
}

/* Classes and arrows after any change that leaves the instances as they are. */
function paint(which) {
  const set = setOf(which);
  if (!set || $(which).hidden) return;
  const svg = $(which).querySelector("svg"), k = counterpart(which);
  const roles = new Map();
  if (k !== null) {
    const found = relations(set, k);
    for (const other of found.front) roles.set(other.k, "front");
    for (const other of found.behind) roles.set(other.k, roles.get(other.k) ? "both" : "behind");
    roles.set(k, "chosen");
  }
  for (const e of svg.querySelectorAll("[data-k]")) {
    const other = Number(e.dataset.k), layer = set.instances[other].layer ?? 0;
    const role = roles.get(other);
    e.classList.remove("dim", "peeled", "front", "behind", "both", "chosen");
    if (e.tagName === "path") e.setAttribute("d", outline(set.instances[other]));
    if (state.layer && layer < state.layer - 1) e.classList.add("peeled");
    else if (role) e.classList.add(role);
    else if (k !== null || (state.layer && layer > state.layer - 1)) e.classList.add("dim");
  }
  const marks = svg.querySelector(".marks");
  marks.replaceChildren();
  svg.querySelectorAll(".halo").forEach(e => e.remove());
  if (k === null) return;
  const path = svg.querySelector(`path[data-k="${k}"]`);
  path.before(shape("path", { class: "halo", d: outline(set.instances[k]) }));
  for (const other of relations(set, k).front) arrow(marks, set, other.k, k, "#ff7a1a");
  for (const other of relations(set, k).behind) arrow(marks, set, k, other.k, "#2f8cff");
}

function arrow(marks, set, from, to, color) {
  const a = set.instances[from].at, b = set.instances[to].at;
  if (!a || !b) return;
  const side = Math.max(image().width, image().height), length = Math.hypot(b[0] - a[0], b[1] - a[1]);
  if (length < 1) return;
  const u = [(b[0] - a[0]) / length, (b[1] - a[1]) / length], gap = Math.min(side / 40, length / 4), head = side / 55;
  const start = [a[0] + u[0] * gap, a[1] + u[1] * gap], end = [b[0] - u[0] * gap, b[1] - u[1] * gap];
  const wing = s => `${end[0] - head * u[0] + s * head * 0.6 * u[1]} ${end[1] - head * u[1] - s * head * 0.6 * u[0]}`;
  const d = `M${start[0]} ${start[1]}L${end[0]} ${end[1]}M${wing(1)}L${end[0]} ${end[1]}L${wing(-1)}`;
  marks.append(shape("path", { class: "relation relation-under", d }));
  marks.append(shape("path", { class: "relation", d, stroke: color, "data-from": from, "data-to": to }));
}

/* The instance to mark in an image: the chosen one, or its match in the other image. */
function counterpart(which) {
  const k = chosen();
  if (k === null || which === state.set) return k;
  const matches = image().comparison?.matches;
  if (!matches) return null;
  if (which === "found") return matches[k] >= 0 ? matches[k] : null;
  const g = matches.indexOf(k);
  return g >= 0 ? g : null;
}

/* ------------------------------------------------------------------- panel */

function thing(which, k, note = "") {
  const x = setOf(which).instances[k];
  const item = element("li"), button = element("button", { type: "button", class: "thing", "data-k": k, "aria-pressed": String(state.set === which && state.pinned === k) });
  const number = element("b", {}, String(k + 1));
  number.style.background = x.color;
  number.style.color = x.ink;
  button.append(number, element("span", {}, x.label));
  button.addEventListener("pointerenter", () => hover(which, k, true));
  button.addEventListener("pointerleave", () => hover(which, null, true));
  button.addEventListener("focus", () => { if (button.matches(":focus-visible")) hover(which, k, true); });
  button.addEventListener("blur", () => hover(which, null, true));
  button.addEventListener("click", () => pin(which, k));
  item.append(button);
  if (note) item.append(element("span", { class: "soft" }, ` ${note}`));
  return item;
}
const percent = p => `${Math.round(p * 100)} %`;

function section(parent, title, items, css = "", none = "nothing") {
  parent.append(element("h3", css ? { class: css } : {}, title));
  if (!items.length) parent.append(element("p", { class: "soft" }, none));
  else { const list = element("ul"); list.append(...items); parent.append(list); }
}

function showDetail() {
  const box = $("detail"), which = state.set, set = setOf(which), k = chosen();
  box.replaceChildren();
  if (k === null) {
    box.append(element("h2", {}, image().name));
    const count = set.instances.length, edges = set.occlusion?.length;
    box.append(element("p", {}, `${count} instance${count === 1 ? "" : "s"}`
      + (edges === undefined ? ", no occlusion order" : `, ${edges} time${edges === 1 ? "" : "s"} one hides a part of another`)));
    if (set.unknown) box.append(element("p", {}, `${set.unknown} of the pairs (counted both ways) were not judged`));
    for (const cycle of set.cycles) box.append(element("p", {}, `in a circle, so in one layer: ${cycle.map(c => c + 1).join(", ")}`));
    box.append(element("p", { class: "soft" }, "Point at an instance, here or in the image; click to keep it."));
    return;
  }
  const x = set.instances[k], found = relations(set, k);
  box.append(element("h2", {}, `${k + 1} ${x.label}`));
  const facts = [];
  if (which === "found") facts.push(`score ${x.score.toFixed(2)}`);
  if (x.layer !== null && x.layer !== undefined) facts.push(`layer ${x.layer + 1} of ${layerCount(set)}`);
  if (which === "truth") facts.push("annotation");
  box.append(element("p", { class: "soft" }, facts.join(", ")));
  const items = list => list.map(other => thing(which, other.k, [other.range, percent(other.p)].filter(Boolean).join(", ")));
  const words = state.order === "occlusion" ? ["hides a part of", "is partly hidden by"] : ["is closer than", "is farther than"];
  if (state.order === "occlusion" ? set.occlusion === null : set.depth === null) {
    box.append(element("p", { class: "soft" }, `there is no ${state.order} order here`));
    return;
  }
  section(box, words[0], items(found.behind), "behind");
  section(box, words[1], items(found.front), "front");
  if (found.equal.length) section(box, "is as far away as", items(found.equal));
}

function showList() {
  const box = $("list"), which = state.set, set = setOf(which);
  box.replaceChildren();
  const layers = new Map();
  set.instances.forEach((x, k) => layers.set(x.layer ?? -1, [...(layers.get(x.layer ?? -1) ?? []), k]));
  for (const layer of [...layers.keys()].sort((a, b) => a - b)) {
    const title = layer < 0 ? "instances" : `layer ${layer + 1}${layer === 0 ? " (front)" : ""}`;
    section(box, title, layers.get(layer).map(k => thing(which, k)));
  }
}

function showVerdicts() {
  const box = $("verdicts"), compared = image().comparison;
  box.replaceChildren();
  if (!state.compare || !compared) return;
  const truth = setOf("truth"), found = compared.matches.filter(m => m >= 0).length;
  box.append(element("h3", {}, "against the annotation"));
  box.append(element("p", { id: "matched" }, `${found} of ${truth.instances.length} annotated instances found`));
  if (!compared.edges) { box.append(element("p", { class: "soft" }, "one of the two has no occlusion order")); return; }
  const count = word => compared.edges.filter(e => e[2] === word).length;
  box.append(element("p", { id: "counts" }, `orders: ${count("correct")} right, ${count("wrong")} wrong, ${count("missed")} missed; ${compared.extra.length} more than annotated`));
  if (!compared.edges.length) return;
  const table = element("table"), body = element("tbody");
  const head = element("tr");
  head.append(element("th", {}, "annotated: hides"), element("th", {}, ""), element("th", {}, "found"));
  const top = element("thead"); top.append(head); table.append(top, body);
  const words = { correct: "right", wrong: "wrong", missed: "missed" };
  for (const [i, j, verdict] of compared.edges) {
    const row = element("tr", { "data-verdict": verdict });
    row.append(element("td", {}, `${i + 1} ${truth.instances[i].label}`), element("td", {}, `${j + 1} ${truth.instances[j].label}`), element("td", {}, words[verdict]));
    body.append(row);
  }
  table.setAttribute("aria-label", "annotated orders");
  box.append(table);
}

/* ------------------------------------------------------------------ events */

function hover(which, k, keepPanel = false) {
  if (k !== null) state.set = which;
  state.hovered = k;
  update(keepPanel);
}
function pin(which, k) {
  state.pinned = state.pinned === k && state.set === which ? null : k;
  state.set = which;
  state.hovered = null;
  showList();
  update();
}
function update(fromList = false) {
  for (const which of ["found", "truth"]) paint(which);
  // Buttons of the detail must not vanish under the pointer that is on them.
  if (!(fromList && $("detail").matches(":hover, :focus-within"))) showDetail();
  const set = setOf(state.set), count = layerCount(set);
  $("layer").max = count;
  $("layers").disabled = count === 0;
  const names = set.instances.flatMap((x, k) => (x.layer === state.layer - 1 ? [`${k + 1} ${x.label}`] : []));
  $("layer-name").textContent = count === 0 ? "no layers here" : state.layer ? `${state.layer} of ${count}: ${names.join(", ")}` : `all ${count} together`;
}
/* The data of an image: in the page, or in a script beside it that calls viewerImage. */
window.viewerImage = (k, text) => { if (k === state.image) present(JSON.parse(text)); };
function show(k) {
  state.image = k = (k + names.length) % names.length;
  $("image").value = String(k);
  $("position").textContent = `${k + 1} of ${names.length}`;
  const inside = $(`image-${k}`);
  if (inside) return present(JSON.parse(inside.textContent));
  const script = element("script", { src: `${folder}/${k}.js` });
  script.addEventListener("load", () => script.remove());
  script.addEventListener("error", () => {
    script.remove();
    $("missing").textContent = `${script.getAttribute("src")} is missing: it belongs beside this page.`;
    $("missing").hidden = k !== state.image;
  });
  document.head.append(script);
}
function present(current) {
  Object.assign(state, { data: current, set: "found", hovered: null, pinned: null, layer: 0 });
  $("missing").hidden = true;
  $("layer").value = "0";
  $("comparing").disabled = !current.truth;
  state.compare = $("compare").checked && Boolean(current.truth);
  const sets = [current.found, current.truth].filter(Boolean);
  $("outlines").disabled = !sets.some(set => set.instances.some(x => x.amodal));
  $("stages").classList.toggle("both", state.compare);
  draw("found"); draw("truth");
  showList(); showVerdicts(); update();
}

if (!names.length) {
  $("empty").hidden = false;
  document.querySelectorAll(".columns-2, .controls, .picker").forEach(e => { e.hidden = true; e.style.display = "none"; });
  return;
}
names.forEach((name, k) => $("image").append(element("option", { value: k }, name)));
$("image").addEventListener("change", e => show(Number(e.target.value)));
$("previous").addEventListener("click", () => show(state.image - 1));
$("next").addEventListener("click", () => show(state.image + 1));
$("previous").disabled = $("next").disabled = names.length < 2;
$("layer").addEventListener("input", e => { state.layer = Number(e.target.value); update(); });
$("compare").addEventListener("change", () => { if (state.data) present(state.data); });
for (const input of document.querySelectorAll("input[name=order]")) input.addEventListener("change", e => { state.order = e.target.value; update(); });
for (const input of document.querySelectorAll("input[name=whole]")) input.addEventListener("change", e => { state.whole = e.target.value === "amodal"; update(); });
$("detail").addEventListener("pointerleave", () => update());
document.addEventListener("keydown", e => {
  if (e.key === "Escape") { state.pinned = null; showList(); update(); }
  if (/^(INPUT|SELECT)$/.test(e.target.tagName)) return;
  if (e.key === "ArrowRight") show(state.image + 1);
  if (e.key === "ArrowLeft") show(state.image - 1);
});
show(0);
})();
