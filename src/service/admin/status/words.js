// How the page says numbers.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const number = (value) => whole.format(value);

/** Three digits and a unit. */
function scaled(value, units) {
  let power = 0;
  while (value >= 999.5 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  const digits = power === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[power]}`;
}

/** Bits a second. */
export const bits = (value) => scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);

/** The same on a scale, whose values are round. */
export const scale = (value) => bits(value).replace(/\.0+ /, " ");

export const octets = (count) => scaled(count, ["B", "kB", "MB", "GB", "TB", "PB"]);

/** A number a second: exact while it is small. */
export const frequency = (value) => `${value > 0 && value < 10 ? value.toFixed(1) : number(value)}/s`;

export const percent = (part) => `${Math.round(part * 100)} %`;

/** How long, in its two greatest units; long times in days. */
export function duration(seconds) {
  if (seconds >= 30 * 86400) return `${number(Math.floor(seconds / 86400))} d`;
  const parts = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  let rest = Math.floor(seconds);
  return parts
    .slice(first, first + 2)
    .map(([size, unit]) => {
      const count = Math.floor(rest / size);
      rest -= count * size;
      return count > 0 ? `${count} ${unit}` : "";
    })
    .filter(Boolean)
    .join(" ");
}

export const clock = (date) => date.toLocaleTimeString("en-GB");

export const day = (date) => date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
