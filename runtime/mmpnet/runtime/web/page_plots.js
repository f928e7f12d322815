
// Plot both latencies over the last three minutes, the newest second on the right.
const PLOT = { left: 56, top: 8, bottom: 104, height: 124, seconds: 180 };

function plot(section, { age_ms, infer_ms }) {
  const drawing = section.querySelector("svg");
  const right = Math.max(drawing.clientWidth, 200) - 4;
  drawing.setAttribute("viewBox", `0 0 ${right + 4} ${PLOT.height}`);
  const highest = Math.max(1, ...age_ms, ...infer_ms); // null counts as 0
  const step = 10 ** Math.floor(Math.log10(highest));
  const top = step * [1, 2, 5, 10].find((factor) => factor * step >= highest);
  const x = (secondsAgo) => right - (secondsAgo / PLOT.seconds) * (right - PLOT.left);
  const y = (ms) => PLOT.bottom - (ms / top) * (PLOT.bottom - PLOT.top);
  const line = (values) => {
    let path = "";
    let pen = "M";
    values.forEach((value, index) => {
      if (value !== null) path += `${pen}${x(values.length - 1 - index).toFixed(1)} ${y(value).toFixed(1)}h0`;
      pen = value === null ? "M" : "L";
    });
    return path;
  };
  section.querySelector(".age-line").setAttribute("d", line(age_ms));
  section.querySelector(".infer-line").setAttribute("d", line(infer_ms));
  const labels = [0, top / 2, top].map((ms) => text(PLOT.left - 8, y(ms) + 4, "end", duration(ms)));
  const times = [[180, "start", "3 min ago"], [0, "end", "now"]].map(([ago, anchor, said]) => text(x(ago), PLOT.height - 4, anchor, said));
  const rules = svg("path", { d: [0, top / 2, top].map((ms) => `M${PLOT.left} ${y(ms)}H${right}`).join("") });
  section.querySelector(".grid").replaceChildren(rules, ...labels, ...times);
}

function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function text(x, y, anchor, said) {
  const element = svg("text", { x, y, "text-anchor": anchor });
  element.textContent = said;
  return element;
}

// Bars of the people of a day: one per quarter of an hour, the current one on the right.
const DAY = { left: 28, top: 8, bottom: 100, height: 124 };

function plotDay(figure, people, until, bucketSeconds) {
  const drawing = figure.querySelector("svg");
  const right = Math.max(drawing.clientWidth, 200) - 4;
  drawing.setAttribute("viewBox", `0 0 ${right + 4} ${DAY.height}`);
  const highest = Math.max(4, ...people);
  const step = 10 ** Math.floor(Math.log10(highest));
  const top = step * [1, 2, 4, 5, 10].find((factor) => factor * step >= highest);
  const wide = (right - DAY.left) / people.length;
  const y = (count) => DAY.bottom - (count / top) * (DAY.bottom - DAY.top);
  const bars = people.flatMap((count, index) => {
    if (!count) return [];
    const bar = svg("rect", { x: DAY.left + index * wide + 0.5, y: y(count), width: Math.max(wide - 1, 1), height: DAY.bottom - y(count), rx: 1 });
    const began = new Date(until - (people.length - index) * bucketSeconds * 1000);
    const title = svg("title", {});
    title.textContent = `${clock(began)}: ${count} ${count === 1 ? "person" : "people"}`;
    bar.append(title);
    return [bar];
  });
  const labels = [0, top].map((count) => text(DAY.left - 6, y(count) + 4, "end", count));
  const rules = svg("path", { d: [0, top / 2, top].map((count) => `M${DAY.left} ${y(count)}H${right}`).join("") });
  const grid = svg("g", { class: "rules" });
  grid.append(rules);
  const hours = [];
  const hour = new Date(until);
  hour.setMinutes(0, 0, 0);
  for (; until - hour < 86400000; hour.setHours(hour.getHours() - 1)) {
    if (hour.getHours() % 6) continue;
    const x = right - ((until - hour) / 86400000) * (right - DAY.left);
    if (x < DAY.left + 16 || x > right - 12) continue;
    hours.push(text(x, DAY.height - 6, "middle", clock(hour)));
  }
  drawing.replaceChildren(grid, ...bars, ...labels, ...hours);
  const sum = people.reduce((total, count) => total + count, 0);
  drawing.setAttribute("aria-label", `People who appeared in the last 24 hours: ${sum}`);
}

function clock(moment, seconds = false) {
  return moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}) });
}
