
"use strict";

const POLL_MS = 1000;
const LOST_MS = 3000; // after this long without an answer, the page counts as outdated
const LEAST_BETWEEN_IMAGES_MS = 70; // a faster page would take CPU time from detection
const RETRY_MS = 3000;

const token = new URLSearchParams(location.search).get("token");
const cards = [];
let status = null;
let answeredAt = performance.now();

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Addresses are relative, so that the page works under any path of a reverse proxy.
function address(path, parameters = {}) {
  const query = new URLSearchParams(token === null ? parameters : { ...parameters, token }).toString();
  return query ? `${path}?${query}` : path;
}

function ask(path, parameters = {}) {
  return fetch(address(path, parameters), { signal: AbortSignal.timeout(LOST_MS + POLL_MS), cache: "no-store" });
}

async function visible() {
  while (document.hidden) await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
}

async function pollStatus() {
  for (;;) {
    await visible();
    try {
      const answer = await ask("status");
      if (!answer.ok) throw new Error(answer.statusText);
      status = await answer.json();
      answeredAt = performance.now();
      // A new run with other sources may use this address now.
      while (cards.length > status.sources.length) cards.pop().remove();
      while (cards.length < status.sources.length) cards.push(new Card(cards.length));
      cards.forEach((card, index) => card.update(status.sources[index]));
      showHistory();
    } catch (error) {
      console.debug(error);
    }
    render();
    await pause(POLL_MS);
  }
}

class Card {
  constructor(index) {
    this.index = index;
    this.section = document.getElementById("source").content.firstElementChild.cloneNode(true);
    this.canvas = this.find("canvas");
    this.shown = null; // the image's number, and when its frame was captured on performance.now()
    this.removed = false;
    this.day = null; // what the event store says of this camera
    this.find(".snapshot").href = address("snapshot.jpg", { source: index });
    this.find(".enlarge").addEventListener("click", () => viewer.live(this));
    this.find(".draw").addEventListener("click", () => drawing.open(this));
    document.getElementById("sources").append(this.section);
    this.watch();
  }

  find(selector) {
    return this.section.querySelector(selector);
  }

  remove() {
    this.removed = true;
    this.section.remove();
  }

  // Request one image at a time, the newest, so that no queue delays them.
  async watch() {
    while (!this.removed) {
      await visible();
      const began = performance.now();
      const seen = this.shown === null ? {} : { seen: this.shown.number };
      try {
        const answer = await ask("snapshot.jpg", { source: this.index, ...seen });
        if (!answer.ok) throw new Error(answer.statusText);
        const age = Number(answer.headers.get("X-Frame-Age-Ms"));
        const arrived = performance.now();
        this.draw(await createImageBitmap(await answer.blob()));
        this.shown = { number: answer.headers.get("X-Image-Number"), captured: arrived - age };
      } catch (error) {
        if (this.source !== undefined && !this.source.up) await pause(RETRY_MS);
        else await pause(POLL_MS / 2);
      }
      await pause(Math.max(LEAST_BETWEEN_IMAGES_MS - (performance.now() - began), 0));
    }
  }

  draw(bitmap) {
    if (this.canvas.width !== bitmap.width) this.canvas.width = bitmap.width;
    if (this.canvas.height !== bitmap.height) this.canvas.height = bitmap.height;
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    viewer.follow(this);
    bitmap.close();
  }

  update(source) {
    this.source = source;
    this.find("h2").textContent = source.name;
    this.canvas.setAttribute("aria-label", `Live image of ${source.name}`);
    this.find(".enlarge").setAttribute("aria-label", `Enlarge the image of ${source.name}`);
    this.find(".infer").textContent = duration(source.infer_ms.at(-1));
    this.find(".frames").textContent =
      `${source.captured} frames, ${source.processed} processed, ${source.dropped} dropped, ${source.late} of them late` +
      (source.notice ? `; ${source.notice}` : "");
    plot(this.section, source);
  }

  countRows(counts, current) {
    const key = JSON.stringify([counts, current]);
    if (key === this.counted) return;
    this.counted = key;
    const rows = counts.map(([name, tally]) => {
      const row = document.createElement("tr");
      for (const value of [name, tally.in_count, tally.out_count, (current ? tally.count : null) ?? "–"]) {
        row.append(Object.assign(document.createElement("td"), { textContent: value }));
      }
      return row;
    });
    this.find("tbody").replaceChildren(...rows);
    this.find(".counts").hidden = rows.length === 0;
  }

  // The problem of the image that is shown: [title, sentence]; null if it is current.
  wrong(now) {
    const { source, shown } = this;
    const age = shown === null ? "there is no image yet" : `this image is ${duration(now - shown.captured)} old`;
    if (now - answeredAt > LOST_MS) return ["no connection", age];
    if (!source.up) return [source.state, source.reason ? `${age}; ${source.reason}` : age];
    if (source.problem) return ["stopped", `${age}; ${source.problem}`];
    if (shown === null) return ["waiting", age];
    if (now - shown.captured > status.stale_after_s * 1000) return ["image stopped", age];
    return null;
  }

  // Age of the newest frame that this page knows of, from an image or from the status.
  age(now) {
    const { source, shown } = this;
    const ages = [];
    if (shown !== null) ages.push(now - shown.captured);
    if (source.frame_age_ms !== null) ages.push(source.frame_age_ms + now - answeredAt);
    return ages.length ? Math.min(...ages) : null;
  }

  render(now) {
    const wrong = this.wrong(now);
    this.section.classList.toggle("bad", wrong !== null);
    this.find(".state").textContent = wrong === null ? this.source.state : wrong[0];
    this.find(".veil").hidden = wrong === null;
    this.find(".veil strong").textContent = wrong === null ? "" : wrong[0];
    this.find(".veil span").textContent = wrong === null ? "" : wrong[1];
    this.find(".age").textContent = duration(this.age(now));
    // Figures of a camera that is away would look like current ones.
    const { source, day } = this;
    this.find(".people").textContent = wrong === null ? source.people : "\u2013";
    this.find(".fps").textContent = wrong === null ? source.process_fps.toFixed(1) : "\u2013";
    this.countRows(Object.entries(source.counts), wrong === null);
    this.renderDay(source, day, wrong);
  }

  renderDay(source, day, wrong) {
    const zones = Object.values(source.counts).filter((tally) => "count" in tally);
    const lines = Object.values(source.counts).length - zones.length;
    this.find(".large").hidden = day === null || (lines === 0 && zones.length === 0);
    this.find(".today-cell").hidden = day === null;
    this.find(".today").textContent = day === null ? "\u2013" : day.appeared;
    if (day === null) return;
    const known = day.in_count !== null;
    const inside = lines ? (known ? Math.max(day.in_count - day.out_count, 0) : 0) : zones.reduce((sum, zone) => sum + zone.count, 0);
    this.find(".in").textContent = known ? day.in_count : 0;
    this.find(".out").textContent = known ? day.out_count : 0;
    this.find(".inside").textContent = wrong === null ? inside : "\u2013";
    const until = this.find(".until");
    until.hidden = wrong === null;
    // What was counted stays true, but nobody is counted now.
    const seen = this.age(performance.now());
    const since = seen === null ? "" : ` since ${clock(new Date(Date.now() - seen))}`;
    if (wrong !== null) until.textContent = `Not counted${since}: ${wrong[0]}.`;
  }
}

function render() {
  const now = performance.now();
  const lost = now - answeredAt > LOST_MS;
  const problems = lost ? ["No connection to the server: this page is outdated."] : (status?.problems ?? []);
  const alarm = document.getElementById("alarm");
  alarm.hidden = problems.length === 0;
  if (alarm.textContent !== problems.join("\n")) alarm.textContent = problems.join("\n");
  for (const [id, path] of [["metrics-link", "metrics"], ["status-link", "status"], ["events-link", "events.ndjson"]]) {
    document.getElementById(id).href = address(path);
  }
  document.title = problems.length ? "\u26a0 mmpnet" : "mmpnet";
  if (status !== null) {
    document.getElementById("facts").textContent =
      `${status.model} on ${status.provider} \u00b7 running for ${duration(status.running_s * 1000)} \u00b7 ` +
      `CPU ${status.cpu_percent.toFixed(0)} %` + (status.memory_mb === null ? "" : ` \u00b7 ${status.memory_mb.toFixed(0)} MB`);
  }
  for (const card of cards) card.render(now);
}

function duration(ms) {
  if (ms === null || ms === undefined) return "\u2013";
  if (ms < 1000) return `${ms.toFixed(ms > 0 && ms < 10 ? 1 : 0)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
