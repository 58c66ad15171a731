// Small live plots of the last minute, each with its own scale.

/** A plot in an SVG element. */
export class Plot {
  #svg;
  #series;
  #floor;

  /**
   * @param {SVGSVGElement} svg
   * @param {number} lines number of lines
   * @param {number} floor smallest maximum of the scale
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
    this.#series.forEach((line, index) => {
      line.push(values[index] ?? null);
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
    const parts = this.#series.flatMap((line, index) => {
      const points = line.map((value, x) => (value === null ? null : [x + SPAN - line.length, HEIGHT - 1 - (value / top) * (HEIGHT - 2)]));
      return [shape(area(points), `area line-${index}`), shape(stroke(points), `stroke line-${index}`)];
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

/** Number of values in a plot: one per second. */
const SPAN = 60;
const HEIGHT = 40;
