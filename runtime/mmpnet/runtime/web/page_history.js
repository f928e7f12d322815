
// The event store's counts and events, and the dialog that enlarges images and plays clips.

const HISTORY_MS = 5000;
let history = null;
let shownEvents = "";

async function pollHistory() {
  for (;;) {
    await visible();
    try {
      const answer = await ask("history");
      if (!answer.ok) throw new Error(answer.statusText);
      history = await answer.json();
      if (history === null) return; // this run keeps no events
      showHistory();
    } catch (error) {
      console.debug(error);
    }
    await pause(HISTORY_MS);
  }
}

function showHistory() {
  if (history === null) return;
  document.getElementById("events-link").hidden = false;
  document.getElementById("events").hidden = false;
  const until = new Date(history.until);
  for (const card of cards) {
    card.day = history.cameras.find((camera) => camera.camera === card.source?.name) ?? null;
    const figure = card.find(".day");
    figure.hidden = card.day === null;
    if (card.day !== null) plotDay(figure, card.day.people, until, history.bucket_s);
  }
  document.getElementById("no-events").hidden = history.events.length > 0;
  // Rebuilt only if something changed, so that a focused button stays focused.
  const key = JSON.stringify(history.events.map((event) => [event.id, event.clip]));
  if (key !== shownEvents) {
    shownEvents = key;
    document.querySelector("#events ol").replaceChildren(...history.events.map(eventItem));
  }
}

function eventItem(event) {
  const item = document.getElementById("event").content.firstElementChild.cloneNode(true);
  const said = sentence(event);
  const at = new Date(event.at);
  const today = at.toDateString() === new Date().toDateString();
  const when = today ? clock(at, true) : `${at.toLocaleDateString()} ${clock(at, true)}`;
  item.querySelector(".when").textContent = when;
  item.querySelector(".said").textContent = said;
  item.querySelector(".where").textContent = event.camera;
  item.classList.toggle("alarmed", event.event === "stale");
  const title = `${when}, ${event.camera}: ${said}`;
  if (event.snapshot) {
    const thumb = item.querySelector(".thumb");
    const image = thumb.querySelector("img");
    thumb.hidden = false;
    thumb.setAttribute("aria-label", `Enlarge the image of ${title}`);
    image.src = address("event.jpg", { id: event.id });
    if (event.box) image.style.objectPosition = `${percent(event.box, 0)}% ${percent(event.box, 1)}%`;
    thumb.addEventListener("click", () => viewer.image(image.src, title));
  }
  if (event.clip) {
    const play = item.querySelector(".play");
    play.hidden = false;
    play.setAttribute("aria-label", `Play the clip of ${title}`);
    play.addEventListener("click", () => viewer.clip(address(`clips/${event.clip.split("/").map(encodeURIComponent).join("/")}`), title));
  }
  return item;
}

function percent(box, axis) {
  return Math.round(50 * (box[axis] + box[axis + 2]));
}

function sentence(event) {
  const who = event.track === null ? "" : `${event.class} ${event.track}`;
  switch (event.event) {
    case "appeared": return `${who} appeared`;
    case "gone": return `${who} is gone`;
    case "crossed": return `${who} crossed ${event.line}: ${event.direction}`;
    case "entered": return `${who} entered ${event.zone}`;
    case "left": return `${who} left ${event.zone}` + (event.duration_s === null ? "" : ` after ${duration(event.duration_s * 1000)}`);
    case "stale": return `no images` + (event.reason ? `: ${event.reason}` : "");
    case "back": return `images again` + (event.duration_s === null ? "" : ` after ${duration(event.duration_s * 1000)}`);
    default: return event.event;
  }
}

class Viewer {
  constructor() {
    this.dialog = document.getElementById("viewer");
    this.card = null;
    this.dialog.querySelector(".close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => {
      this.card = null;
      this.stage.replaceChildren(); // also stops a clip
    });
  }

  get stage() {
    return this.dialog.querySelector(".stage");
  }

  show(title, content) {
    this.dialog.querySelector("h2").textContent = title;
    this.stage.replaceChildren(content);
    if (!this.dialog.open) this.dialog.showModal();
  }

  live(card) {
    this.card = card;
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Live image of ${card.source.name}`);
    this.show(card.source.name, canvas);
    this.follow(card);
  }

  // Copy the card's newest image, if it is the one that is enlarged.
  follow(card) {
    if (this.card === card) copyCanvas(card.canvas, this.stage.firstElementChild);
  }

  image(source, title) {
    this.show(title, Object.assign(document.createElement("img"), { src: source, alt: title }));
  }

  clip(source, title) {
    const video = Object.assign(document.createElement("video"), { src: source, controls: true, autoplay: true, muted: true, playsInline: true });
    video.setAttribute("aria-label", title);
    this.show(title, video);
  }
}

function copyCanvas(from, to) {
  to.width = from.width;
  to.height = from.height;
  to.getContext("2d").drawImage(from, 0, 0);
}
