// Ordering all things of an image at once: places from front to back, and arrows of occlusion.

const SVG = "http://www.w3.org/2000/svg";

function add(parent, name, attributes, text = "") {
  const e = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.textContent = text;
  parent.append(e);
  return e;
}

const color = k => `hsl(${(k * 137.5) % 360} 85% 50%)`; // golden angle: neighbours differ
const ordinal = n => `${n}${["th", "st", "nd", "rd"][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? "th"}`;

export class WholeImage {
  // question: as the server sends it; page: elements and functions of the page.
  constructor(question, tasks, page) {
    Object.assign(this, { question, page, history: [], picked: null, same: false });
    this.asksDepth = tasks.includes("depth");
    this.asksOcclusion = tasks.includes("occlusion");
    this.tool = this.asksDepth ? "places" : "arrows";
    this.places = question.ranks ?? question.things.map(() => null);
    this.arrows = new Set();
    for (const pair of question.pairs) {
      const word = pair.earlier.occlusion ?? pair.guess.occlusion;
      if (word === "first" || word === "both") this.arrows.add(`${pair.first}>${pair.second}`);
      if (word === "second" || word === "both") this.arrows.add(`${pair.second}>${pair.first}`);
    }
    this.guessed = question.pairs.some(pair => Object.keys(pair.guess).length) && !question.pairs.some(pair => Object.keys(pair.earlier).length);
    page.note(this.guessed ? "The guess is drawn; mend it, then Enter." : "");
    this.list();
  }

  // --- what can be done

  canUndo() {
    return this.history.length > 0;
  }

  undo() {
    Object.assign(this, this.history.pop());
    this.changed("");
  }

  remember() {
    this.history.push({ places: [...this.places], arrows: new Set(this.arrows), picked: null });
  }

  changed(words) {
    this.list();
    this.draw();
    this.page.note(words);
    this.page.undoable();
  }

  press(key) {
    const number = "1234567890".indexOf(key);
    if (number >= 0 && number < this.question.things.length) this.tap(number);
    else if (key === "o" && this.asksDepth && this.asksOcclusion) this.use(this.tool === "places" ? "arrows" : "places");
    else if (key === "=" && this.asksDepth) this.equal();
    else return false;
    return true;
  }

  use(tool) {
    Object.assign(this, { tool, picked: null });
    this.changed("");
  }

  equal() {
    this.same = !this.same;
    this.changed(this.same ? "The next thing is as far as the last one." : "");
  }

  tap(k) {
    if (this.tool === "places") this.place(k);
    else if (this.picked === null || this.picked === k) {
      this.picked = this.picked === k ? null : k;
      this.changed(this.picked === null ? "" : `${this.name(k)} hides …`);
    } else this.arrow(this.picked, k);
  }

  place(k) {
    this.remember();
    const places = this.places, last = Math.max(-1, ...places.filter(p => p !== null));
    if (places[k] !== null) { // taken out; the gap is closed if nothing else was there
      const gone = places[k];
      places[k] = null;
      if (!places.includes(gone)) this.places = places.map(p => (p !== null && p > gone ? p - 1 : p));
    } else places[k] = this.same && last >= 0 ? last : last + 1;
    this.same = false;
    this.changed(this.places[k] === null ? `${this.name(k)} has no place` : `${this.name(k)} is ${ordinal(this.places[k] + 1)}`);
  }

  arrow(i, j) {
    this.picked = null;
    if (!this.question.pairs.some(p => [p.first, p.second].includes(i) && [p.first, p.second].includes(j))) {
      return this.changed(`${this.name(i)} and ${this.name(j)} are not asked about: they do not touch.`);
    }
    this.remember();
    const key = `${i}>${j}`, drawn = !this.arrows.delete(key);
    if (drawn) this.arrows.add(key);
    this.changed(`${this.name(i)} ${drawn ? "hides" : "does not hide"} a part of ${this.name(j)}`);
  }

  name(k) {
    return `${k + 1} ${this.question.things[k].name}`;
  }

  // --- what is sent

  problem() {
    const without = this.places.map((p, k) => (p === null ? this.name(k) : null)).filter(Boolean);
    return this.asksDepth && without.length ? `Still without a place: ${without.join(", ")}.` : "";
  }

  answers(seconds) {
    const { image_id, things, pairs } = this.question;
    const source = this.guessed && !this.history.length ? "guess" : "image";
    const found = pairs.map(pair => ({ pair, words: this.words(pair) }))
      .filter(({ pair, words }) => pair.open || Object.keys(words).some(task => words[task] !== pair.earlier[task]));
    const sent = found.length ? found : [{ pair: pairs[0], words: this.words(pairs[0]) }];
    return sent.map(({ pair, words }) => ({ image_id, first: things[pair.first].id, second: things[pair.second].id, ...words, seconds: seconds / sent.length, source }));
  }

  words({ first, second }) {
    const there = this.arrows.has(`${first}>${second}`), back = this.arrows.has(`${second}>${first}`);
    const near = this.places[first], far = this.places[second];
    return {
      ...(this.asksOcclusion && { occlusion: there ? (back ? "both" : "first") : back ? "second" : "none" }),
      ...(this.asksDepth && { depth: near === far ? "equal" : near < far ? "first" : "second" }),
    };
  }

  // --- what is shown

  list() {
    const box = this.page.box, focused = [...box.querySelectorAll("button")].indexOf(box.querySelector(":focus-visible"));
    box.replaceChildren();
    if (this.asksDepth && this.asksOcclusion) this.listTools(box);
    const how = this.tool === "places" ? "Click from front to back" : "Click what hides, then what is hidden";
    const drag = this.tool === "places" ? "; drag: what hides → what is hidden" : ", or drag";
    const things = this.group(box, this.asksOcclusion ? how + drag : how);
    this.question.things.forEach((thing, k) => {
      const place = this.places[k] === null ? "" : ordinal(this.places[k] + 1);
      const pressed = this.tool === "places" ? this.places[k] !== null : this.picked === k;
      const button = this.button(things, `${k + 1} ${thing.name}`, this.asksDepth ? place : "", k < 10 ? `${(k + 1) % 10}` : "", () => this.tap(k));
      button.setAttribute("aria-pressed", pressed);
      button.classList.add("thing_button");
    });
    if (this.asksDepth) this.button(things, "next one equally far", "", "=", () => this.equal()).setAttribute("aria-pressed", this.same);
    if (this.arrows.size) {
      const arrows = this.group(box, "Who hides whom (click to remove)");
      for (const key of this.arrows) {
        const [i, j] = key.split(">").map(Number);
        this.button(arrows, `${this.name(i)} hides ${this.name(j)}`, "", "", () => this.arrow(i, j));
      }
    }
    box.querySelectorAll("button")[focused]?.focus();
  }

  listTools(box) {
    const tools = this.group(box, "Clicks and numbers give");
    tools.classList.add("two");
    tools.parentElement.classList.add("tools_group");
    for (const [tool, words] of [["places", "places"], ["arrows", "arrows"]]) {
      this.button(tools, words, "", "o", () => this.use(tool)).setAttribute("aria-pressed", this.tool === tool);
    }
  }

  group(box, title) {
    const field = document.createElement("fieldset"), legend = document.createElement("legend"), choices = document.createElement("div");
    field.className = "group";
    choices.className = "choices";
    legend.textContent = title;
    field.append(legend, choices);
    box.append(field);
    return choices;
  }

  button(parent, words, tag, key, action) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "choice" });
    button.innerHTML = '<span class="words"></span><span class="tag"></span>' + (key ? '<kbd aria-hidden="true"></kbd>' : "");
    button.querySelector(".words").textContent = words;
    button.querySelector(".tag").textContent = tag;
    if (key) {
      button.querySelector("kbd").textContent = key;
      button.setAttribute("aria-keyshortcuts", key);
    }
    button.addEventListener("click", action);
    parent.append(button);
    return button;
  }

  draw() {
    const svg = this.page.svg, things = this.question.things;
    svg.querySelectorAll(":scope > :not(image)").forEach(e => e.remove());
    this.unit = 1 / svg.getScreenCTM().a; // image pixels in one of the screen
    const order = things.map((_, k) => k).sort((a, b) => things[b].area - things[a].area);
    for (const k of order) {
      add(svg, "path", { class: "under", d: things[k].path });
      const path = add(svg, "path", { class: `outline thing ${this.picked === k ? "picked" : ""}`, d: things[k].path, fill: color(k), stroke: color(k), "data-thing": k });
      path.addEventListener("pointerdown", event => this.grab(event, k));
    }
    for (const key of this.arrows) {
      const [i, j] = key.split(">").map(Number);
      this.drawArrow(things[i].point, things[j].point, 15);
    }
    things.forEach((thing, k) => this.drawBadge(thing.point, k));
  }

  drawBadge([x, y], k) {
    const u = this.unit, badge = add(this.page.svg, "g", { class: "badge" });
    add(badge, "circle", { cx: x, cy: y, r: 12 * u });
    add(badge, "text", { x, y, "font-size": 14 * u }, k + 1);
    if (this.asksDepth && this.places[k] !== null) add(badge, "text", { class: "place", x: x + 10 * u, y: y - 14 * u, "font-size": 13 * u }, ordinal(this.places[k] + 1));
  }

  // From point to point, with a head; it ends `short` pixels of the screen before both.
  drawArrow([x0, y0], [x1, y1], short) {
    const length = Math.hypot(x1 - x0, y1 - y0) || 1, u = this.unit;
    const [dx, dy] = [(x1 - x0) / length, (y1 - y0) / length], cut = Math.min(short * u, 0.3 * length), head = 9 * u;
    const [ax, ay, bx, by] = [x0 + dx * cut, y0 + dy * cut, x1 - dx * cut, y1 - dy * cut];
    const wing = side => `${bx - head * (dx - side * 0.6 * dy)} ${by - head * (dy + side * 0.6 * dx)}`;
    const d = `M${ax} ${ay}L${bx} ${by}M${wing(1)}L${bx} ${by}L${wing(-1)}`;
    return ["arrow halo", "arrow"].map(kind => add(this.page.svg, "path", { class: kind, d }));
  }

  grab(event, from) {
    if (event.button) return;
    event.preventDefault();
    const svg = this.page.svg, at = e => new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const begin = at(event);
    let line = [];
    const move = e => {
      line.forEach(part => part.remove());
      const end = at(e);
      if (this.asksOcclusion && Math.hypot(end.x - begin.x, end.y - begin.y) > 6 * this.unit) line = this.drawArrow([begin.x, begin.y], [end.x, end.y], 0);
    };
    const drop = e => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", drop);
      removeEventListener("pointercancel", drop);
      line.forEach(part => part.remove());
      const to = e.type === "pointerup" ? document.elementFromPoint(e.clientX, e.clientY)?.dataset?.thing : undefined;
      if (to === undefined) return;
      if (Number(to) === from) this.tap(from);
      else if (this.asksOcclusion) this.arrow(from, Number(to));
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", drop);
    addEventListener("pointercancel", drop);
  }
}
