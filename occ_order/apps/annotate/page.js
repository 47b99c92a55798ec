import { WholeImage } from "/whole_image.js";

const $ = id => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const address = new URLSearchParams(location.search);
const annotator = (address.get("annotator") ?? "").trim();

const ONE = '<b class="c1">1</b>', TWO = '<b class="c2">2</b>';
const OCCLUSION = [["1", "first", `${ONE} hides ${TWO}`], ["2", "second", `${TWO} hides ${ONE}`],
  ["3", "both", "each the other"], ["4", "none", "neither"], ["5", "unclear", "can't tell"]];
const DEPTH = [["q", "first", `${ONE} is closer`], ["w", "second", `${TWO} is closer`], ["e", "equal", "equally far"]];
const OVERLAP_KEYS = ["a", "s", "d"];

let state = null; // what the server said last
let view = address.get("view") === "image" ? "image" : "pair";
let said = {}, fromGuess = false, shownAt = 0, busy = false;
let whole = null; // the whole image that is being ordered
let keys = {}; // key -> button, of the questions shown

// --- the server

function complain(message) {
  $("error").hidden = !message;
  $("error").textContent = message;
}

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The program that asks does not answer. Is it still running? Nothing answered so far is lost.");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function guarded(work) {
  if (busy) return;
  busy = true;
  try {
    await work();
    complain("");
  } catch (error) {
    complain(error.message);
  }
  busy = false;
}

const load = () => guarded(async () => show(await ask(`/question?annotator=${encodeURIComponent(annotator)}&view=${view}`)));
const change = (path, body) => guarded(async () => show(await ask(path, { annotator, view, ...body })));

// --- what is shown

function show(answer) {
  state = answer;
  const question = state.question;
  showProgress();
  $("asking").hidden = !question;
  $("done").hidden = Boolean(question);
  whole = null;
  if (!question) {
    document.activeElement?.blur();
    return showEnd();
  }
  $("file").textContent = question.name;
  $("quiz").hidden = !question.quiz;
  const quiz = state.progress.quiz;
  if (question.quiz) $("quiz").textContent = `Quiz: question ${Math.min(quiz.answered + 1, quiz.pairs)} of ${quiz.pairs}`;
  if (isWhole()) {
    sendWords("done");
    whole = new WholeImage(question, state.tasks, { box: $("questions"), svg: $("image"), note, undoable: showUndo });
  } else showPair();
  draw();
  showUndo();
  // The next thing that is read out, or reached by Tab; a button that kept the focus would swallow Enter.
  $("panel").setAttribute("aria-label", whole ? question.name : `Is ${things().map((t, k) => `${k + 1} ${t.name}`).join(" or ")} in front?`);
  $("panel").focus({ preventScroll: true });
  shownAt = performance.now();
}

const isWhole = () => view === "image" && state.whole_image && !state.question.quiz;

function duration(seconds) {
  return seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function showProgress() {
  const p = state.progress, bar = $("progress").querySelector("progress");
  const time = p.left && p.seconds_left !== null ? `, about ${duration(p.seconds_left)} left` : "";
  $("progress").hidden = false;
  $("progress").querySelector("span").textContent = `${annotator}: ${p.answered} of ${p.answered + p.left} answered${time}; ${p.settled} of ${p.pairs} pairs settled`;
  bar.max = Math.max(p.answered + p.left, 1);
  bar.value = p.answered;
  $("write").hidden = false;
  $("view").hidden = !state.whole_image;
  $("view").setAttribute("aria-pressed", view === "image");
  document.querySelectorAll(".whole").forEach(e => { e.hidden = !state.whole_image; });
  document.querySelectorAll(".ranges").forEach(e => { e.hidden = !state.ranges; });
}

function showEnd() {
  const p = state.progress, open = p.pairs - p.settled, title = $("done").querySelector("h2");
  title.textContent = p.dismissed ? "Thank you" : "Nothing left for you";
  if (p.dismissed) $("rest").textContent = `${p.quiz.right} of ${p.quiz.pairs} questions of the quiz were answered right, which is too few to go on.`;
  else $("rest").textContent = open ? `${open} of ${p.pairs} pairs still need the answer of somebody else.` : `All ${p.pairs} pairs are settled.`;
  showUndo();
}

function showUndo() {
  const possible = whole?.canUndo() || state.progress.can_undo;
  document.querySelectorAll(".undo").forEach(e => { e.disabled = !possible; });
}

function note(words) {
  $("note").textContent = words;
}

function element(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children);
  return e;
}

function choice(task, [key, value, words], range = null) {
  const button = element("button", { type: "button", class: "choice", "aria-pressed": "false", "aria-keyshortcuts": key });
  button.innerHTML = `<span class="words">${words}</span><span class="tag"></span><kbd aria-hidden="true">${key}</kbd>`;
  Object.assign(button.dataset, { task, value, ...(range && { range }) });
  if (range) button.setAttribute("aria-label", `${button.querySelector(".words").textContent}, depths ${range === "overlap" ? "overlap" : "apart"}`);
  button.addEventListener("click", () => choose(button));
  keys[key] = button;
  return button;
}

function group(title, buttons, columns = "") {
  return element("fieldset", { class: "group" }, element("legend", {}, title), element("div", { class: `choices ${columns}` }, ...buttons));
}

function depthGroup() {
  const unclear = choice("depth", ["r", "unclear", "can't tell"]);
  const title = "Which is closer to the camera?";
  if (!state.ranges) return group(title, [...DEPTH.map(c => choice("depth", c)), unclear]);
  const heads = ["depths apart", "depths overlap"].map(words => element("span", { class: "head", "aria-hidden": "true" }, words));
  const rows = DEPTH.flatMap((c, k) => [choice("depth", c, "distinct"), choice("depth", [OVERLAP_KEYS[k], c[1], c[2]], "overlap")]);
  unclear.classList.add("wide");
  return group(title, [...heads, ...rows, unclear], "two");
}

function showPair() {
  const pair = state.question.pairs[0], [one, two] = things();
  const who = element("p", { id: "who" });
  who.innerHTML = `${ONE} <span></span>, solid blue<br>${TWO} <span></span>, dashed orange`;
  who.querySelectorAll("span").forEach((e, k) => { e.textContent = [one, two][k].name; });
  keys = {};
  $("questions").replaceChildren(who,
    ...(state.tasks.includes("occlusion") ? [group("Does one hide a part of the other?", OCCLUSION.map(c => choice("occlusion", c)))] : []),
    ...(state.tasks.includes("depth") ? [depthGroup()] : []));
  said = { ...pair.earlier };
  fromGuess = false;
  for (const button of Object.values(keys)) {
    const guessed = !pair.earlier[button.dataset.task] && matches(button, pair.guess);
    button.classList.toggle("guessed", guessed);
    button.querySelector(".tag").textContent = guessed ? "guess" : "";
  }
  press();
  note(Object.keys(pair.earlier).length ? "Your earlier answer is marked; another one replaces it."
    : Object.keys(pair.guess).length ? "Enter takes the guess." : "");
}

function things() {
  const { pairs, things: all } = state.question;
  return [all[pairs[0].first], all[pairs[0].second]];
}

// A guess may say nothing about the range; it then fits both buttons, and neither can be taken.
function matches(button, words) {
  const { task, value, range } = button.dataset;
  return words[task] === value && (!range || !words.range || words.range === range);
}

function press() {
  for (const button of Object.values(keys)) button.setAttribute("aria-pressed", matches(button, said));
  sendWords(state.tasks.some(task => state.question.pairs[0].guess[task] && !said[task]) ? "take guess" : "next");
}

function sendWords(words) {
  $("send").querySelector("span").textContent = words;
}

const missing = words => state.tasks.filter(task => !words[task] || (task === "depth" && state.ranges && words.depth !== "unclear" && !words.range));

function choose(button) {
  if (busy) return;
  const { task, value, range } = button.dataset;
  said[task] = value;
  if (task === "depth") {
    delete said.range;
    if (range) said.range = range;
  }
  press();
  if (!button.matches(":focus-visible")) $("panel").focus({ preventScroll: true });
  if (!missing(said).length) send();
}

function confirmPair() {
  const { guess } = state.question.pairs[0];
  for (const task of missing(said)) {
    if (!guess[task] || missing({ ...said, ...guess }).includes(task)) continue;
    said[task] = guess[task];
    if (task === "depth" && state.ranges && guess.range) said.range = guess.range;
    fromGuess = true;
  }
  press();
  if (missing(said).length) note(`Still to answer: ${missing(said).join(", ")}.`);
  else send();
}

function send() {
  const [one, two] = things(), seconds = (performance.now() - shownAt) / 1000;
  const words = Object.fromEntries(state.tasks.map(task => [task, said[task]]));
  if (words.depth && said.range) words.range = said.range;
  change("/answers", { answers: [{ image_id: state.question.image_id, first: one.id, second: two.id, ...words, seconds, source: fromGuess ? "guess" : "question" }] });
}

function sendWhole() {
  const problem = whole.problem();
  if (problem) return note(problem);
  change("/answers", { answers: whole.answers((performance.now() - shownAt) / 1000) });
}

const confirmAnswer = () => (whole ? sendWhole() : confirmPair());

function undo() {
  if (whole?.canUndo()) whole.undo();
  else if (state.progress.can_undo) change("/undo", {});
}

function skip() {
  const { image_id, pairs, things: all } = state.question;
  change("/skip", { pairs: pairs.filter(p => p.open || pairs.length === 1).map(p => [image_id, all[p.first].id, all[p.second].id]) });
}

function toggleView() {
  if (!state?.whole_image) return;
  view = view === "image" ? "pair" : "image";
  load();
}

// --- the photograph

function shape(name, attributes) {
  const e = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
}

function draw() {
  const svg = $("image"), q = state.question;
  const source = `/image/${q.image}`;
  if (svg.querySelector("image")?.getAttribute("href") !== source) {
    svg.replaceChildren(shape("image", { width: q.width, height: q.height, preserveAspectRatio: "none", href: source }));
  }
  // The same photograph stays where it is: moved within the page, it would be loaded anew.
  svg.querySelectorAll(":scope > :not(image)").forEach(e => e.remove());
  if (!whole) {
    things().forEach((thing, k) => svg.append(
      shape("path", { class: "under", d: thing.path }), shape("path", { class: `outline ${k ? "two" : "one"}`, d: thing.path })));
    svg.setAttribute("aria-label", `${q.name}: 1 ${things()[0].name}, solid blue; 2 ${things()[1].name}, dashed orange`);
  } else svg.setAttribute("aria-label", `${q.name} with ${q.things.length} numbered things`);
  frame();
}

function frame() {
  const q = state.question, svg = $("image");
  svg.classList.toggle("hide", $("plain").checked);
  let [x, y, right, bottom] = [0, 0, q.width, q.height];
  if ($("zoom").checked) {
    const boxes = (whole ? q.things : things()).map(t => t.box);
    const low = i => Math.min(...boxes.map(b => b[i])), high = i => Math.max(...boxes.map(b => b[i]));
    const margin = 0.15 * Math.max(high(2) - low(0), high(3) - low(1)) + 4;
    [x, y] = [Math.max(0, low(0) - margin), Math.max(0, low(1) - margin)];
    [right, bottom] = [Math.min(q.width, high(2) + margin), Math.min(q.height, high(3) + margin)];
  }
  svg.setAttribute("viewBox", `${x} ${y} ${right - x} ${bottom - y}`);
  whole?.draw();
}

// --- hands

function toggle(id) {
  $(id).checked = !$(id).checked;
  frame();
}

const commands = { z: () => toggle("zoom"), x: () => toggle("plain"), v: toggleView, n: skip, u: undo, Backspace: undo };

function onKey(event) {
  if ($("guideline").open || !state || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "?") $("guideline").showModal();
  else if (!state.question) {
    if (key !== "u") return;
    undo();
  } else if (!whole && keys[key]) choose(keys[key]);
  else if (whole?.press(key)) ; // taken
  else if (commands[key]) commands[key]();
  else if (key === "Enter" && event.target.tagName !== "BUTTON") confirmAnswer();
  else return;
  event.preventDefault();
}

function start() {
  $("start").hidden = false;
  $("name").focus();
  $("start").addEventListener("submit", event => {
    event.preventDefault();
    if ($("name").value.trim()) location.search = `?annotator=${encodeURIComponent($("name").value.trim())}`;
  });
}

$("help").addEventListener("click", () => $("guideline").showModal());
if (!annotator) start();
else {
  document.addEventListener("keydown", onKey);
  document.querySelectorAll(".undo").forEach(e => e.addEventListener("click", undo));
  for (const [id, action] of Object.entries({ skip, send: confirmAnswer, view: toggleView, again: load })) $(id).addEventListener("click", action);
  for (const id of ["zoom", "plain"]) $(id).addEventListener("change", frame);
  addEventListener("resize", () => whole?.draw());
  $("write").addEventListener("click", () => guarded(async () => {
    const done = await ask("/write", {});
    $("write").textContent = `written: ${done.images} images, ${done.complete} complete`;
  }));
  load().then(() => {
    if (state?.guideline && !state.progress.answered) $("guideline").showModal();
  });
}
