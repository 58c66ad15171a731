// Pictures of numbers over time: the last SPAN seconds, the newest at the right.

/** Seconds that a picture shows. */
export const SPAN = 300;

/** A picture with a scale. What lies above zero is piled up; so is, downwards, what has a second direction. */
export class Plot {
  #svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  #scale = element("div", "scale");
  #words;
  #least;

  /**
   * @param {HTMLElement} figure where it goes
   * @param {(value: number) => string} words how the scale says a value
   * @param {number} least what the scale reaches at least
   * @param {[string, string]} [ways] what up and down stand for, where there are two directions
   */
  constructor(figure, words, least, ways) {
    this.#words = words;
    this.#least = least;
    this.#scale.ariaHidden = "true";
    const time = element("div", "time");
    time.ariaHidden = "true";
    time.replaceChildren(...[`${SPAN / 60} min ago`, "now"].map(span));
    figure.replaceChildren(this.#scale, this.#svg, time);
    if (ways) {
      const both = element("div", "ways");
      both.ariaHidden = "true";
      both.replaceChildren(...ways.map(span));
      figure.append(both);
    }
  }

  /**
   * @param {number[]} times seconds, growing; the last is now
   * @param {{tone: string, values: (number|null)[]}[]} above lines that are piled up, each with a value for each time
   * @param {{tone: string, values: (number|null)[]}[]} below the same in the other direction
   * @param {string} label what the picture says, for those who do not see it
   */
  draw(times, above, below, label) {
    const two = below.length > 0;
    const top = round(Math.max(this.#least, ...[above, below].flatMap(heights)), two ? FINE : HALVED);
    const zero = two ? HEIGHT / 2 : HEIGHT;
    const unit = zero / top;
    const marks = two ? [top, 0, -top] : [top, top / 2, 0];
    this.#scale.replaceChildren(
      ...marks.map((mark) => {
        const words = span(this.#words(Math.abs(mark)));
        words.style.top = `${((zero - mark * unit) / HEIGHT) * 100}%`;
        return words;
      }),
    );
    const rules = marks.map((mark) => {
      const y = zero - mark * unit;
      return svg("line", { x1: 0, x2: WIDTH, y1: y, y2: y, class: mark === 0 ? "rule zero" : "rule" });
    });
    this.#svg.replaceChildren(...rules, ...pile(times, above, zero, -unit), ...pile(times, below, zero, unit));
    this.#svg.setAttribute("aria-label", label);
    this.#svg.classList.toggle("alone-line", above.length === 1);
  }
}

/** A small picture without a scale, for a row of a table. */
export function spark(times, values, top, tone) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "spark alone-line", "aria-hidden": "true" });
  picture.replaceChildren(...pile(times, [{ tone, values }], HEIGHT, -HEIGHT / (top || 1)));
  return picture;
}

/** The least of these times a power of ten that is not less. */
function round(value, steps) {
  const power = 10 ** Math.floor(Math.log10(value));
  return steps.find((step) => step * power >= value) * power;
}

/** How high the pile is at each time. */
const heights = (lines) => (lines[0]?.values ?? []).map((_, at) => lines.reduce((all, line) => all + (line.values[at] ?? 0), 0));

function pile(times, lines, zero, unit) {
  const now = times.at(-1);
  const x = times.map((time) => WIDTH - ((now - time) / SPAN) * WIDTH);
  const floor = times.map(() => zero);
  return lines.flatMap(({ tone, values }) => {
    const roof = values.map((value, at) => floor[at] + (value ?? 0) * unit);
    let fill = "";
    let line = "";
    for (const [first, last] of runs(times, values)) {
      // Zero has no area, and a line along the bottom would say that there is something.
      if (!values.slice(first, last + 1).some(Boolean)) continue;
      const upper = [];
      const lower = [];
      for (let at = first; at <= last; at += 1) {
        upper.push(`${x[at].toFixed(1)} ${roof[at].toFixed(1)}`);
        lower.unshift(`${x[at].toFixed(1)} ${floor[at].toFixed(1)}`);
      }
      fill += `M${upper.join("L")}L${lower.join("L")}Z`;
      line += `M${upper.join("L")}`;
    }
    floor.splice(0, floor.length, ...roof);
    const area = svg("path", { d: fill, class: "area", "data-tone": tone });
    // Of a pile the areas say enough; an edge would make the thin ones look thick.
    return lines.length > 1 ? [area] : [area, svg("path", { d: line, class: "edge", "data-tone": tone })];
  });
}

/** Where values follow each other without a gap: the first and the last of each run. */
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

function span(words) {
  const made = document.createElement("span");
  made.textContent = words;
  return made;
}

/** Longer than this without a look is a gap. Users are asked every five seconds. */
const GAP = 12;
/** Where a scale may end: its half is a round number too, or need not be. */
const HALVED = [1, 2, 4, 6, 8, 10];
const FINE = [1, 1.2, 1.6, 2, 2.5, 3, 4, 5, 6, 8, 10];
const WIDTH = 600;
const HEIGHT = 150;
