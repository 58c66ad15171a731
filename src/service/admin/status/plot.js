// Charts of the last SPAN seconds, the newest value at the right.

/** Seconds that a chart covers. */
export const SPAN = 300;

/** A chart with a scale. Series are stacked upwards from zero, and those of the second direction downwards. */
export class Plot {
  #svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  #scale = element("div", "scale");
  #format;
  #minimum;

  /**
   * @param {HTMLElement} figure the container
   * @param {(value: number) => string} format formats a value of the scale
   * @param {number} minimum the smallest upper end of the scale
   * @param {[string, string]} [directions] names of the two directions, if there are two
   */
  constructor(figure, format, minimum, directions) {
    this.#format = format;
    this.#minimum = minimum;
    this.#scale.ariaHidden = "true";
    const time = element("div", "time");
    time.ariaHidden = "true";
    time.replaceChildren(...[`${SPAN / 60} min ago`, "now"].map(span));
    figure.replaceChildren(this.#scale, this.#svg, time);
    if (directions) {
      const both = element("div", "directions");
      both.ariaHidden = "true";
      both.replaceChildren(...directions.map(span));
      figure.append(both);
    }
  }

  /**
   * @param {number[]} times seconds, ascending; the last is now
   * @param {{tone: string, values: (number|null)[]}[]} above stacked series, each with a value for each time
   * @param {{tone: string, values: (number|null)[]}[]} below the series of the second direction
   * @param {string} label text for screen readers
   */
  draw(times, above, below, label) {
    const two = below.length > 0;
    const top = round(Math.max(this.#minimum, ...[above, below].flatMap(heights)), two ? FINE : HALVED);
    const zero = two ? HEIGHT / 2 : HEIGHT;
    const unit = zero / top;
    const marks = two ? [top, 0, -top] : [top, top / 2, 0];
    this.#scale.replaceChildren(
      ...marks.map((mark) => {
        const text = span(this.#format(Math.abs(mark)));
        text.style.top = `${((zero - mark * unit) / HEIGHT) * 100}%`;
        return text;
      }),
    );
    const rules = marks.map((mark) => {
      const y = zero - mark * unit;
      return svg("line", { x1: 0, x2: WIDTH, y1: y, y2: y, class: mark === 0 ? "rule zero" : "rule" });
    });
    this.#svg.replaceChildren(...rules, ...stack(times, above, zero, -unit), ...stack(times, below, zero, unit));
    this.#svg.setAttribute("aria-label", label);
    this.#svg.classList.toggle("alone-line", above.length === 1);
  }
}

/** A small chart without a scale, for a table row. */
export function spark(times, values, top, tone) {
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "spark alone-line", "aria-hidden": "true" });
  chart.replaceChildren(...stack(times, [{ tone, values }], HEIGHT, -HEIGHT / (top || 1)));
  return chart;
}

/** The smallest step times a power of ten that is not below `value`. */
function round(value, steps) {
  const power = 10 ** Math.floor(Math.log10(value));
  return steps.find((step) => step * power >= value) * power;
}

/** The height of the stack at each time. */
const heights = (lines) => (lines[0]?.values ?? []).map((_, index) => lines.reduce((sum, line) => sum + (line.values[index] ?? 0), 0));

function stack(times, lines, zero, unit) {
  const now = times.at(-1);
  const x = times.map((time) => WIDTH - ((now - time) / SPAN) * WIDTH);
  const floor = times.map(() => zero);
  return lines.flatMap(({ tone, values }) => {
    const top = values.map((value, at) => floor[at] + (value ?? 0) * unit);
    let fill = "";
    let line = "";
    for (const [first, last] of runs(times, values)) {
      // A line along the bottom would suggest traffic.
      if (!values.slice(first, last + 1).some(Boolean)) continue;
      const upper = [];
      const lower = [];
      for (let at = first; at <= last; at += 1) {
        upper.push(`${x[at].toFixed(1)} ${top[at].toFixed(1)}`);
        lower.unshift(`${x[at].toFixed(1)} ${floor[at].toFixed(1)}`);
      }
      fill += `M${upper.join("L")}L${lower.join("L")}Z`;
      line += `M${upper.join("L")}`;
    }
    floor.splice(0, floor.length, ...top);
    const area = svg("path", { d: fill, class: "area", "data-tone": tone });
    // Edges would make thin layers of a stack look thick.
    return lines.length > 1 ? [area] : [area, svg("path", { d: line, class: "edge", "data-tone": tone })];
  });
}

/** First and last index of each run of values without a gap. */
function runs(times, values) {
  const found = [];
  values.forEach((value, at) => {
    if (value === null) return;
    const follows = at > 0 && values[at - 1] !== null && times[at] - times[at - 1] < GAP;
    if (follows) found.at(-1)[1] = at;
    else found.push([at, at]);
  });
  return found;
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function element(name, className) {
  const made = document.createElement(name);
  made.className = className;
  return made;
}

function span(text) {
  const made = document.createElement("span");
  made.textContent = text;
  return made;
}

/** Seconds without a sample that make a gap; users are sampled every five seconds. */
const GAP = 12;
/** Upper ends of a scale: with a round half, and without. */
const HALVED = [1, 2, 4, 6, 8, 10];
const FINE = [1, 1.2, 1.6, 2, 2.5, 3, 4, 5, 6, 8, 10];
const WIDTH = 600;
const HEIGHT = 150;
