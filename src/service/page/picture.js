// A drawing of the path: straight if direct, a hairpin if relayed.

import { inWords, isRelayed } from "./stats.js";

/**
 * Draws the path into `svg`. The drawing is as wide as the element, so that its text keeps its natural size.
 * @param {SVGSVGElement} svg
 * @param {import("./stats.js").Path | null} path null if there is none
 * @param {{local?: object, nat?: boolean} | null} theirs the path as the other side reports it
 */
export function draw(svg, path, theirs) {
  const width = Math.max(260, svg.clientWidth || 320);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const nodes = plan(width, path, theirs);
  const route = nodes.filter((node) => node.used);
  const parts = [];
  if (!path) parts.push(element("path", { d: line(nodes[0], nodes.at(-1)), class: "route searching" }));
  else {
    const drawn = isRelayed(path) ? curve(route) : line(route[0], route.at(-1));
    parts.push(element("path", { d: drawn, class: "route" }), element("path", { d: drawn, class: "flow" }));
  }
  for (const node of nodes) parts.push(...mark(node));
  svg.replaceChildren(element("title", {}, sentence(path, theirs)), ...parts);
}

/** The drawing as a sentence, for screen readers. */
export function sentence(path, theirs) {
  if (!path) return "No path yet.";
  const stops = plan(600, path, theirs).filter((node) => node.used).map((node) => node.name);
  return `${inWords(path, theirs)}: ${stops.join(", then ")}.`;
}

/** The nodes of the drawing and their positions. */
function plan(width, path, theirs) {
  const relayed = path !== null && isRelayed(path);
  const ours = path?.local.type === "relay";
  const their = path?.remote.type === "relay";
  const both = ours && their && host(path.local.address) !== host(path.remote.address);
  const ourNat = path !== null && path.nat;
  const theirNat = path !== null && (theirs?.nat ?? ["srflx", "prflx"].includes(path.remote.type));
  const baseline = HEIGHT - 46;
  const ourProtocol = ours ? (path.local.relayProtocol ?? "").toUpperCase() : "";
  const theirProtocol = their ? String(theirs?.local?.relayProtocol ?? "").toUpperCase() : "";
  const relay = (x, name, protocols) => ({ name, label: name, x, y: 34, kind: "relay", used: relayed, protocols });
  const relays = both
    ? [relay(width * 0.38, "your relay", ourProtocol), relay(width * 0.62, "their relay", theirProtocol)]
    : [relay(width / 2, "relay", [...new Set([ourProtocol, theirProtocol])].filter(Boolean).join(" · "))];
  return [
    { name: "you", label: "you", x: 34, y: baseline, kind: "person", used: true },
    { name: "your NAT", label: "NAT", x: width * 0.27, y: baseline, kind: "nat", used: ourNat },
    ...relays,
    { name: "their NAT", label: "NAT", x: width * 0.73, y: baseline, kind: "nat", used: theirNat },
    { name: "them", label: "them", x: width - 34, y: baseline, kind: "person", used: path !== null },
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
    const arrow = `M${node.x - 4.5} ${node.y + 6}v-6a4.5 4.5 0 0 1 9 0v6m-3-3 3 3 3-3`;
    parts.push(element("path", { d: arrow, class: "glyph" }));
  }
  if (node.kind === "nat") {
    parts.push(element("text", { x: node.x, y: node.y + 4, class: "inside" }, node.label));
  } else {
    const below = node.kind === "relay" ? 33 : 36;
    parts.push(element("text", { x: node.x, y: node.y + below, class: node.used ? "" : "unused" }, node.label));
  }
  if (node.protocols) parts.push(element("text", { x: node.x, y: node.y + 49, class: "route-label" }, node.protocols));
  return parts;
}

function line(from, to) {
  return `M${from.x} ${from.y}L${to.x} ${to.y}`;
}

/** A curve through the nodes. */
function curve(route) {
  let d = `M${route[0].x} ${route[0].y}`;
  for (let index = 1; index < route.length; index += 1) {
    const [from, to] = [route[index - 1], route[index]];
    const middle = (from.x + to.x) / 2;
    d += from.y === to.y ? `L${to.x} ${to.y}` : `C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`;
  }
  return d;
}

function host(address) {
  return address?.replace(/:\d+$/, "");
}

function element(name, attributes, text) {
  const created = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  if (text !== undefined) created.textContent = text;
  return created;
}

const HEIGHT = 150;
