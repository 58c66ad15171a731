// Formats numbers.

const integer = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const number = (value) => integer.format(value);

/** A number with three significant digits and a unit. */
function scaled(value, units) {
  let power = 0;
  while (value >= 999.5 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  const digits = power === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[power]}`;
}

/** Bits per second. */
export const bitRate = (value) => scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);

/** Bits per second without trailing zeros, for a scale. */
export const scaleBitRate = (value) => bitRate(value).replace(/\.0+ /, " ");

export const bytes = (count) => scaled(count, ["B", "kB", "MB", "GB", "TB", "PB"]);

/** Events per second, with a decimal below 10. */
export const frequency = (value) => `${value > 0 && value < 10 ? value.toFixed(1) : number(value)}/s`;

export const percent = (part) => `${Math.round(part * 100)} %`;

/** A duration in its two largest units; from 30 days on in days. */
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
