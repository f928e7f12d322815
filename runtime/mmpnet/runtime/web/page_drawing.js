
// Draw, change and remove lines and zones on an image with the mouse or a finger.

const SHAPE = "rgb(255, 190, 60)";
const OTHER = "rgba(255, 255, 255, .8)";
const HINTS = {
  line: "Click or tap two points for a line. Who walks along the arrow comes in.",
  zone: "Click or tap the corners of a zone, three or more.",
};

class Drawing {
  constructor() {
    this.dialog = document.getElementById("drawing");
    this.form = this.dialog.querySelector("form");
    this.canvas = this.dialog.querySelector("canvas");
    this.points = [];
    this.grabbed = null;
    this.known = []; // the shapes of this camera in the settings
    this.replaces = ""; // the name of the one that is changed
    this.dialog.querySelector(".delete").addEventListener("click", () => this.remove());
    this.dialog.querySelector(".close").addEventListener("click", () => this.dialog.close());
    this.dialog.querySelector(".undo").addEventListener("click", () => this.change(this.points.slice(0, -1)));
    this.dialog.querySelector(".swap").addEventListener("click", () => this.change(this.points.toReversed()));
    this.dialog.querySelector(".copy").addEventListener("click", () => this.copy());
    this.form.addEventListener("change", () => this.change(this.kind === "line" ? this.points.slice(0, 2) : this.points));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (this.grabbed = null));
  }

  get kind() {
    return this.form.elements.kind.value;
  }

  open(card) {
    this.camera = card.source.name;
    this.image = document.createElement("canvas");
    copyCanvas(card.canvas, this.image);
    this.dialog.querySelector("h2").textContent = `Lines and zones: ${this.camera}`;
    this.say("", null);
    this.known = [];
    this.edit(null);
    this.dialog.showModal();
    this.load();
  }

  // What the settings have of this camera.
  async load() {
    const camera = this.camera;
    try {
      const answer = await ask("shapes");
      if (!answer.ok) throw new Error(await answer.text());
      const shapes = ((await answer.json()) ?? []).filter((shape) => shape.camera === camera);
      if (camera !== this.camera) return;
      this.known = shapes.map((shape) => ({ ...shape, points: shape.points.map((point) => this.percent(point)) }));
    } catch (error) {
      this.say(`The settings cannot be read: ${error.message}`, null);
    }
    this.list();
    this.draw();
  }

  // A point of the settings, such as ["60%", "120"], in percent of the image.
  percent(point) {
    const sides = [this.image.width, this.image.height];
    return point.map((text, axis) => (text.endsWith("%") ? parseFloat(text) : Math.min((100 * text) / sides[axis], 100)));
  }

  // Begin with a shape of the settings, or null for a new one.
  edit(shape) {
    this.replaces = shape?.name ?? "";
    this.form.elements.kind.value = shape?.kind ?? "line";
    this.form.elements.name.value = shape?.name ?? "door";
    this.change(shape?.points ?? []);
    this.list();
  }

  list() {
    const button = (text, shape) => {
      const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
      made.setAttribute("aria-pressed", String((shape?.name ?? "") === this.replaces));
      made.addEventListener("click", () => {
        this.say("", null);
        this.edit(shape);
      });
      return made;
    };
    const buttons = this.known.map((shape) => button(`${shape.name} (${shape.kind})`, shape));
    this.dialog.querySelector(".known").replaceChildren(button("New", null), ...buttons);
    this.dialog.querySelector(".known").hidden = buttons.length === 0;
    this.dialog.querySelector(".delete").hidden = this.replaces === "";
  }

  // The place of a pointer, in percent of the image.
  place(event) {
    const frame = this.canvas.getBoundingClientRect();
    const share = (value, length) => Math.round(Math.min(Math.max((1000 * value) / length, 0), 1000)) / 10;
    return [share(event.clientX - frame.left, frame.width), share(event.clientY - frame.top, frame.height)];
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const [x, y] = this.place(event);
    const near = this.points.findIndex((point) => Math.hypot(point[0] - x, point[1] - y) < 4);
    if (near >= 0) {
      this.grabbed = near;
      return;
    }
    const most = this.kind === "line" ? 2 : 32;
    if (this.points.length >= most) return;
    this.grabbed = this.points.length;
    this.change([...this.points, [x, y]]);
  }

  move(event) {
    if (this.grabbed !== null) this.change(this.points.map((point, index) => (index === this.grabbed ? this.place(event) : point)));
  }

  change(points) {
    this.points = points;
    this.dialog.querySelector(".hint").textContent = HINTS[this.kind];
    this.dialog.querySelector(".swap").hidden = this.kind !== "line";
    this.form.querySelector("[type=submit]").disabled = points.length < (this.kind === "line" ? 2 : 3);
    this.draw();
  }

  draw() {
    copyCanvas(this.image, this.canvas);
    const { width, height } = this.canvas;
    const pen = this.canvas.getContext("2d");
    const unit = Math.max(Math.min(width, height) / 240, 1);
    const placed = (points) => points.map(([x, y]) => [(x * width) / 100, (y * height) / 100]);
    for (const shape of this.known.filter((one) => one.name !== this.replaces)) this.other(pen, shape, placed(shape.points), unit);
    const places = placed(this.points);
    pen.strokeStyle = pen.fillStyle = SHAPE;
    pen.lineWidth = 2 * unit;
    pen.beginPath();
    places.forEach(([x, y]) => pen.lineTo(x, y));
    if (this.kind === "zone") pen.closePath();
    pen.stroke();
    if (this.kind === "zone" && places.length > 2) {
      pen.globalAlpha = 0.2;
      pen.fill();
      pen.globalAlpha = 1;
    }
    if (this.kind === "line" && places.length === 2) this.arrow(pen, places, unit);
    for (const [x, y] of places) {
      pen.beginPath();
      pen.arc(x, y, 5 * unit, 0, 2 * Math.PI);
      pen.fill();
    }
  }

  // A shape that is not being changed, with its name.
  other(pen, shape, places, unit) {
    pen.strokeStyle = pen.fillStyle = OTHER;
    pen.lineWidth = unit;
    pen.beginPath();
    places.forEach(([x, y]) => pen.lineTo(x, y));
    if (shape.kind === "zone") pen.closePath();
    pen.stroke();
    pen.font = `${11 * unit}px system-ui, sans-serif`;
    pen.fillText(shape.name, places[0][0] + 3 * unit, Math.max(places[0][1] - 4 * unit, 11 * unit));
  }

  // From the middle of the line to the side that counts as in: the right of a walk from its first to its second point.
  arrow(pen, [[x1, y1], [x2, y2]], unit) {
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    const [dx, dy] = [-(y2 - y1) / length, (x2 - x1) / length];
    const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
    const tip = [mx + 24 * unit * dx, my + 24 * unit * dy];
    pen.beginPath();
    pen.moveTo(mx, my);
    pen.lineTo(...tip);
    for (const turn of [1, -1]) {
      pen.moveTo(tip[0] - 9 * unit * dx + turn * 7 * unit * dy, tip[1] - 9 * unit * dy - turn * 7 * unit * dx);
      pen.lineTo(...tip);
    }
    pen.stroke();
  }

  // Send a change; returns the answer, or null if it was refused.
  async send(method, content) {
    try {
      const answer = await fetch(address("shape"), {
        method,
        headers: { "Content-Type": "application/json", "X-Mmpnet": "page" },
        body: JSON.stringify({ camera: this.camera, ...content }),
      });
      if (!answer.ok) throw new Error(await answer.text());
      return await answer.json();
    } catch (error) {
      this.say(`Nothing was changed: ${error.message}`, null);
      return null;
    }
  }

  async save() {
    const name = this.form.elements.name.value.trim();
    const done = await this.send("POST", { kind: this.kind, name, points: this.points, replaces: this.replaces });
    if (done === null) return;
    this.say(done.text, done.saved ? null : done.option);
    if (!done.saved) return;
    this.replaces = name;
    await this.load();
  }

  // The points stay, so that Save brings the shape back.
  async remove() {
    const done = await this.send("DELETE", { name: this.replaces });
    if (done === null) return;
    this.say(done.text, null);
    this.replaces = "";
    await this.load();
  }

  say(text, option) {
    this.dialog.querySelector(".said").textContent = text;
    this.dialog.querySelector(".option").hidden = option === null;
    this.dialog.querySelector("code").textContent = option ?? "";
  }

  async copy() {
    const option = this.dialog.querySelector("code");
    try {
      await navigator.clipboard.writeText(option.textContent);
      this.dialog.querySelector(".said").textContent = "Copied.";
    } catch (error) {
      console.debug(error); // without HTTPS there is no clipboard: select the text instead
      getSelection().selectAllChildren(option);
    }
  }
}

const viewer = new Viewer();
const drawing = new Drawing();
pollStatus();
pollHistory();
setInterval(render, 250);
