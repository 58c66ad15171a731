// The path as a picture: straight when it is direct, a hairpin when it is relayed.

import { inWords, isRelayed } from "./stats.js";

/**
 * Draws the path into `svg`, whose text comes out at its natural size because the drawing is as wide as the element.
 * @param {SVGSVGElement} svg
 * @param {import("./stats.js").Path | null} path none while there is none
 * @param {{local?: object, nat?: boolean} | null} theirs the other side's own view of it
 */
export function draw(svg, path, theirs) {
  const width = Math.max(260, svg.clientWidth || 320);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const nodes = plan(width, path, theirs);
  const route = nodes.filter((node) => node.used);
  const parts = [];
  if (!path) parts.push(element("path", { d: line(nodes[0], nodes.at(-1)), class: "way seeking" }));
  else {
    const drawn = isRelayed(path) ? curve(route) : line(route[0], route.at(-1));
    parts.push(element("path", { d: drawn, class: "way" }), element("path", { d: drawn, class: "flow" }));
  }
  for (const node of nodes) parts.push(...mark(node));
  svg.replaceChildren(element("title", {}, sentence(path, theirs)), ...parts);
}

/** The picture as a sentence, for those who do not see it. */
export function sentence(path, theirs) {
  if (!path) return "No path yet.";
  const stops = plan(600, path, theirs).filter((node) => node.used).map((node) => node.name);
  return `The call is ${inWords(path, theirs)}: ${stops.join(", then ")}.`;
}

/** Which stops there are, and where. */
function plan(width, path, theirs) {
  const relayed = path !== null && isRelayed(path);
  const ours = path?.local.type === "relay";
  const their = path?.remote.type === "relay";
  const both = ours && their && host(path.local.address) !== host(path.remote.address);
  const nat = (known) => path !== null && known;
  const ourNat = nat(path?.nat);
  const theirNat = nat(theirs?.nat ?? ["srflx", "prflx"].includes(path?.remote.type));
  const low = HEIGHT - 46;
  const ourWay = ours ? (path.local.relayProtocol ?? "") : "";
  const theirWay = their ? (theirs?.local?.relayProtocol ?? "") : "";
  const relay = (x, name, way) => ({ name, label: name, x, y: 34, kind: "relay", used: relayed, way });
  const relays = both
    ? [relay(width * 0.38, "your relay", ourWay), relay(width * 0.62, "their relay", theirWay)]
    : [relay(width / 2, "relay", [...new Set([ourWay, theirWay])].filter(Boolean).join(" · "))];
  return [
    { name: "you", label: "you", x: 34, y: low, kind: "person", used: true },
    { name: "your NAT", label: "NAT", x: width * 0.27, y: low, kind: "nat", used: ourNat },
    ...relays,
    { name: "their NAT", label: "NAT", x: width * 0.73, y: low, kind: "nat", used: theirNat },
    { name: "them", label: "them", x: width - 34, y: low, kind: "person", used: path !== null },
  ].filter((node) => node.kind !== "nat" || node.used);
}

function mark(node) {
  const shape =
    node.kind === "nat"
      ? element("rect", { x: node.x - 17, y: node.y - 11, width: 34, height: 22, rx: 6 })
      : element("circle", { cx: node.x, cy: node.y, r: node.kind === "relay" ? 15 : 17 });
  shape.setAttribute("class", `node ${node.kind}${node.used ? "" : " unused"}`);
  const parts = [shape];
  if (node.kind === "person") {
    parts.push(element("circle", { cx: node.x, cy: node.y - 4.5, r: 4.2, class: "figure" }));
    parts.push(element("path", { d: `M${node.x - 8} ${node.y + 9}a8 7.5 0 0 1 16 0`, class: "figure" }));
  }
  if (node.kind === "relay") {
    const turn = `M${node.x - 4.5} ${node.y + 6}v-6a4.5 4.5 0 0 1 9 0v6m-3-3 3 3 3-3`;
    parts.push(element("path", { d: turn, class: "glyph" }));
  }
  if (node.kind === "nat") {
    parts.push(element("text", { x: node.x, y: node.y + 4, class: "inside" }, node.label));
  } else {
    const below = node.kind === "relay" ? 33 : 36;
    parts.push(element("text", { x: node.x, y: node.y + below, class: node.used ? "" : "unused" }, node.label));
  }
  if (node.way) parts.push(element("text", { x: node.x, y: node.y + 49, class: "way-name" }, node.way));
  return parts;
}

/** A straight way. */
function line(from, to) {
  return `M${from.x} ${from.y}L${to.x} ${to.y}`;
}

/** Up to the relay and down again, round where it turns. */
function curve(route) {
  let d = `M${route[0].x} ${route[0].y}`;
  for (let at = 1; at < route.length; at += 1) {
    const [from, to] = [route[at - 1], route[at]];
    const middle = (from.x + to.x) / 2;
    d += from.y === to.y ? `L${to.x} ${to.y}` : `C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`;
  }
  return d;
}

function host(address) {
  return address?.replace(/:\d+$/, "");
}

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const HEIGHT = 150;
