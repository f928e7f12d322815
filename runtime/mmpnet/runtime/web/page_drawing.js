
// Draw a line or zone on an image with the mouse, a finger or the keyboard, and save it.

const SHAPE = "rgb(255, 190, 60)";
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
    this.dialog.querySelector("h2").textContent = `Draw a line or zone: ${this.camera}`;
    this.say("", null);
    this.change([]);
    this.dialog.showModal();
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
    const places = this.points.map(([x, y]) => [(x * width) / 100, (y * height) / 100]);
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

  async save() {
    const shape = { camera: this.camera, kind: this.kind, name: this.form.elements.name.value.trim(), points: this.points };
    try {
      const answer = await fetch(address("shape"), {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Mmpnet": "page" },
        body: JSON.stringify(shape),
      });
      if (!answer.ok) throw new Error(await answer.text());
      const done = await answer.json();
      this.say(done.text, done.saved ? null : done.option);
    } catch (error) {
      this.say(`Not saved: ${error.message}`, null);
    }
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
