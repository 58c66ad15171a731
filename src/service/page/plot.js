// Small live plots: the last minute of a few numbers, each with its own scale.

/** One plot, drawn into an SVG element. */
export class Plot {
  #svg;
  #series;
  #floor;

  /**
   * @param {SVGSVGElement} svg
   * @param {number} lines how many lines it has
   * @param {number} floor the least that the top of the scale stands for
   */
  constructor(svg, lines, floor) {
    this.#svg = svg;
    this.#floor = floor;
    this.#series = Array.from({ length: lines }, () => []);
    svg.setAttribute("viewBox", `0 0 ${SPAN - 1} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    this.clear();
  }

  /** Adds one value to each line; null leaves a gap. */
  add(...values) {
    this.#series.forEach((line, at) => {
      line.push(values[at] ?? null);
      if (line.length > SPAN) line.shift();
    });
    this.#draw();
  }

  clear() {
    for (const line of this.#series) line.length = 0;
    this.#draw();
  }

  #draw() {
    const top = Math.max(this.#floor, ...this.#series.flat().filter((value) => value !== null)) * 1.1;
    const parts = this.#series.flatMap((line, at) => {
      const points = line.map((value, x) => (value === null ? null : [x + SPAN - line.length, HEIGHT - 1 - (value / top) * (HEIGHT - 2)]));
      return [shape(area(points), `area line-${at}`), shape(stroke(points), `stroke line-${at}`)];
    });
    this.#svg.replaceChildren(...parts);
  }
}

function stroke(points) {
  let pen = "M";
  let d = "";
  for (const point of points) {
    if (point) d += `${pen}${point[0].toFixed(2)} ${point[1].toFixed(2)}`;
    pen = point ? "L" : "M";
  }
  return d;
}

function area(points) {
  const known = points.filter(Boolean);
  if (known.length < 2) return "";
  return `${stroke(known)}L${known.at(-1)[0]} ${HEIGHT}L${known[0][0]} ${HEIGHT}Z`;
}

function shape(d, name) {
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", d);
  path.setAttribute("class", name);
  return path;
}

/** How many values a plot shows: one a second. */
const SPAN = 60;
const HEIGHT = 40;
