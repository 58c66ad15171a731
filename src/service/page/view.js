// The page's elements: what is shown, and which buttons do what.

import { draw, sentence } from "./picture.js";
import { Plot } from "./plot.js";
import { inWords, isRelayed, TYPES } from "./stats.js";

const $ = (id) => document.getElementById(id);
const plots = {
  roundTrip: new Plot($("plot-round-trip"), 1, 10),
  loss: new Plot($("plot-loss"), 1, 0.02),
  rate: new Plot($("plot-rate"), 2, 100_000),
};
const logEmpty = $("log-empty");
let shown = { path: null, theirs: null };

/** Connects the page's elements with what they do. */
export function start(acts) {
  $("room").value = acts.room || freshName();
  $("with-relay").checked = acts.relayOnly;
  $("fresh").onclick = () => ($("room").value = freshName());
  $("join").onsubmit = (event) => {
    event.preventDefault();
    acts.join({
      room: $("room").value,
      audio: $("with-audio").checked,
      video: $("with-video").checked,
      relayOnly: $("with-relay").checked,
    });
  };
  $("invite").onclick = () => $("join").reportValidity() && copy($("invite"), acts.link($("room").value));
  $("invite-more").onclick = () => copy($("invite-more"), acts.link());
  $("copy").onclick = () => copy($("copy"), acts.link());
  $("hang-up").onclick = acts.hangUp;
  $("mute").onclick = acts.toggleMute;
  $("camera").onclick = acts.toggleCamera;
  $("relay").onclick = acts.toggleRelay;
  $("restart").onclick = acts.restart;
  $("again").onclick = acts.again;
  $("play").onclick = () => $("theirs").play().then(() => ($("play").hidden = true));
  $("test").onclick = async () => {
    $("test").disabled = true;
    await acts.testRelay().finally(() => ($("test").disabled = false));
  };
  $("say").onsubmit = (event) => {
    event.preventDefault();
    const words = $("words").value.trim();
    if (!words || $("send").disabled) return;
    acts.say(words);
    $("words").value = "";
  };
  $("theirs").onresize = () => ($("screen").dataset.picture = $("theirs").videoWidth > 0 ? "yes" : "no");
  new ResizeObserver(() => draw($("picture"), shown.path, shown.theirs)).observe($("picture"));
}

/** Shows a state of the call. */
export function enter(state, words, room) {
  const before = document.body.dataset.state;
  document.body.dataset.state = state;
  const inside = state !== "idle";
  $("door").hidden = inside;
  $("call").hidden = !inside;
  $("room-name").textContent = room;
  $("waiting").hidden = state === "connected" || state === "seeking";
  $("waiting-words").textContent = words;
  $("invite-more").hidden = state !== "waiting";
  $("restart").disabled = !["connected", "seeking"].includes(state);
  document.title = inside ? `${room} – Hairpin` : "Hairpin – a call between two browsers";
  status(words);
  if (before === "idle" && inside) $("mute").focus({ preventScroll: true });
  if (before !== "idle" && !inside) $("enter").focus({ preventScroll: true });
  if (!inside) {
    $("log").replaceChildren(logEmpty);
    $("server-trouble-list").replaceChildren();
    $("server-troubles").hidden = true;
  }
}

export function status(words) {
  $("status").textContent = words;
}

// Troubles

/** Shows a failure in words, with its code, name and message; the same one only once. */
export function trouble(why) {
  const key = `${why.words}/${why.code}/${why.name}`;
  const old = [...$("troubles").children].find((one) => one.dataset.key === key);
  const box = make("div", { class: "trouble", "data-key": key, "data-code": why.code });
  const words = make("div", {}, make("p", { class: "what" }, why.words));
  if (why.hint) words.append(make("p", {}, why.hint));
  words.append(make("p", { class: "detail" }, make("code", {}, why.code), ` ${why.name}: ${why.message}`));
  const close = make("button", { type: "button", class: "small" }, "Dismiss");
  close.onclick = () => box.remove();
  box.append(words, close);
  if (old) old.replaceWith(box);
  else $("troubles").append(box);
  while ($("troubles").children.length > 4) $("troubles").firstElementChild.remove();
}

export function clearTroubles() {
  $("troubles").replaceChildren();
}

/** Adds to the list of what single servers refused. */
export function serverTrouble(words) {
  const list = $("server-trouble-list");
  if ([...list.children].some((one) => one.textContent === words) || list.children.length >= 20) return;
  list.append(make("li", {}, words));
  $("server-troubles").hidden = false;
}

export function tryAgain(offered) {
  $("again").hidden = !offered;
  if (offered) $("waiting").hidden = false;
}

export function blocked(why) {
  $("play").hidden = false;
  trouble(why);
}

// Pictures and sound

/** Shows what they send; null shows nothing. */
export async function theirs(stream) {
  const video = $("theirs");
  $("play").hidden = true;
  if (video.srcObject !== stream) video.srcObject = stream;
  if (!stream) $("screen").dataset.picture = "no";
  else await video.play();
}

export function theirMedia(media) {
  const words = !media ? "" : !media.audio && !media.video ? "no camera, no sound" : !media.audio ? "muted" : !media.video ? "camera off" : "";
  $("their-media").textContent = words;
  $("their-media").hidden = words === "";
  $("screen").dataset.camera = media && !media.video ? "off" : "on";
}

/** Shows our own picture and what our buttons do. */
export function own({ audio, video }, track) {
  const element = $("ours");
  if (track && element.srcObject?.getVideoTracks()[0] !== track) element.srcObject = new MediaStream([track]);
  if (!track) element.srcObject = null;
  $("ours-frame").dataset.picture = video ? "yes" : "no";
  $("ours-words").textContent = "No camera";
  press("mute", !audio, audio ? "Mute" : "Unmute", audio ? "mic" : "mic-off");
  press("camera", !video, video ? "Camera off" : "Camera on", video ? "cam" : "cam-off");
}

export function relayOnly(only) {
  $("relay").setAttribute("aria-pressed", String(only));
}

function press(id, pressed, label, icon) {
  const button = $(id);
  button.dataset.off = pressed;
  button.removeAttribute("aria-pressed");
  button.querySelector("span").textContent = label;
  button.querySelector("use").setAttribute("href", `#i-${icon}`);
}

// The path and its numbers

/** Shows the path, with what the other side told of its own. */
export function path(path, theirs) {
  shown = { path, theirs };
  draw($("picture"), path, theirs);
  const words = path ? inWords(path, theirs) : "no path yet";
  $("path-words").textContent = words;
  $("picture").dataset.path = path ? (isRelayed(path) ? "relay" : "direct") : "none";
  $("facts").hidden = !path;
  if (!path) return;
  $("fact-local").replaceChildren(...end(path.local));
  $("fact-remote").replaceChildren(...end(path.remote));
  const row = $("fact-relay").parentElement;
  row.hidden = path.local.type !== "relay";
  $("fact-relay").textContent = path.local.type === "relay" ? [path.local.relayProtocol, path.local.url].filter(Boolean).join(", ") : "";
  $("picture").setAttribute("aria-description", sentence(path, theirs));
}

function end({ type, address, protocol }) {
  const kind = make("span", { class: "type" }, type);
  kind.title = TYPES[type] ?? "";
  return [kind, ` ${address ?? "hidden address"} `, make("span", { class: "soft" }, protocol)];
}

export function numbers({ roundTrip, received, sent, loss }) {
  $("round-trip").textContent = roundTrip === null ? "–" : `${round(roundTrip)} ms`;
  $("loss").textContent = loss === null ? "–" : `${(loss * 100).toFixed(1)} %`;
  $("received").textContent = bits(received);
  $("sent").textContent = bits(sent);
  plots.roundTrip.add(roundTrip);
  plots.loss.add(loss);
  plots.rate.add(received, sent);
}

export function clearNumbers() {
  for (const id of ["round-trip", "loss", "received", "sent"]) $(id).textContent = "–";
  for (const plot of Object.values(plots)) plot.clear();
}

function bits(rate) {
  return rate >= 999_500 ? `${(rate / 1e6).toFixed(1)} Mbit/s` : `${Math.round(rate / 1e3)} kbit/s`;
}

function round(milliseconds) {
  return milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds);
}

// Chat

export function chat(open) {
  $("words").disabled = $("send").disabled = !open;
}

export function say(who, words) {
  const log = $("log");
  logEmpty.remove();
  log.append(make("p", { class: who }, make("span", { class: "unseen" }, `${who}: `), words));
  while (log.children.length > 500) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

// The relay test

/** Shows a row for each server; returns the rows with what shows their outcome. */
export function testStarted(servers) {
  $("results").hidden = servers.length === 0;
  $("test-words").textContent = servers.length ? "Testing…" : "The server hands out no ICE servers.";
  const body = $("results").tBodies[0];
  body.replaceChildren();
  return servers.map(({ url, kind, server }) => {
    const result = make("td", { class: "result" }, "…");
    const [answer, echo] = [make("td", { class: "number" }), make("td", { class: "number" })];
    const row = make("tr", {}, make("th", { scope: "row" }, url), make("td", {}, kind.join(" ")), result, answer, echo);
    body.append(row);
    const show = (outcome) => {
      row.dataset.works = outcome.works;
      result.textContent = outcome.words;
      answer.textContent = outcome.answer === null ? "–" : `${round(outcome.answer)} ms`;
      echo.textContent = outcome.echo === null ? "–" : `${round(outcome.echo)} ms`;
    };
    return { server, show };
  });
}

export function testEnded(outcomes) {
  const good = outcomes.filter((outcome) => outcome.works).length;
  if (outcomes.length === 0) return;
  $("test-words").textContent = good === outcomes.length ? "Every server works from here." : `${good} of ${outcomes.length} servers work from here.`;
}

export function testFailed(why) {
  $("test-words").textContent = `${why.words} ${why.hint} (${why.name}: ${why.message})`;
}

// Small things

async function copy(button, text) {
  const label = button.querySelector("span");
  const before = label.dataset.label ?? label.textContent;
  label.dataset.label = before;
  label.textContent = (await toClipboard(text)) ? "Copied" : "Not copied";
  status(label.textContent === "Copied" ? "The link is copied." : `Copy this link: ${text}`);
  setTimeout(() => (label.textContent = before), 2000);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not a secure context, or not allowed: the old way.
    const field = make("textarea", { class: "unseen", readonly: "" }, text);
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A name that is easy to say and hard to guess: whoever knows it may join. */
function freshName() {
  const random = crypto.getRandomValues(new Uint32Array(8));
  const tail = [...random.slice(2)].map((one) => LETTERS[one % LETTERS.length]).join("");
  return `${FIRST[random[0] % FIRST.length]}-${SECOND[random[1] % SECOND.length]}-${tail}`;
}

const LETTERS = "23456789abcdefghjkmnpqrstuvwxyz";
const FIRST = ["amber", "brisk", "calm", "clear", "cobalt", "gentle", "green", "hazel", "ivory", "mellow", "quiet", "silver", "still", "sunny", "tidal", "violet"];
const SECOND = ["alder", "brook", "cedar", "cliff", "delta", "dune", "fern", "field", "grove", "harbor", "heron", "island", "maple", "meadow", "otter", "river"];
