// The page's elements and their event handlers.

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
let current = { path: null, theirs: null };

/** Binds the page's elements to `actions`. */
export function bind(actions) {
  $("room").value = actions.room || randomRoomName();
  $("with-relay").checked = actions.relayOnly;
  $("new-room-name").onclick = () => ($("room").value = randomRoomName());
  $("join").onsubmit = (event) => {
    event.preventDefault();
    actions.join({
      room: $("room").value,
      audio: $("with-audio").checked,
      video: $("with-video").checked,
      relayOnly: $("with-relay").checked,
    });
  };
  $("invite").onclick = () => $("join").reportValidity() && copy($("invite"), actions.link($("room").value));
  $("invite-more").onclick = () => copy($("invite-more"), actions.link());
  $("copy").onclick = () => copy($("copy"), actions.link());
  $("hang-up").onclick = actions.hangUp;
  $("mute").onclick = actions.toggleMute;
  $("camera").onclick = actions.toggleCamera;
  $("relay").onclick = actions.toggleRelay;
  $("restart").onclick = actions.restart;
  $("retry").onclick = actions.retry;
  $("play").onclick = () => $("remote-video").play().then(() => ($("play").hidden = true));
  $("test").onclick = async () => {
    $("test").disabled = true;
    await actions.testRelay().finally(() => ($("test").disabled = false));
  };
  $("chat-form").onsubmit = (event) => {
    event.preventDefault();
    const text = $("chat-input").value.trim();
    if (!text || $("send").disabled) return;
    actions.sendChat(text);
    $("chat-input").value = "";
  };
  $("remote-video").onresize = () => ($("screen").dataset.picture = $("remote-video").videoWidth > 0 ? "yes" : "no");
  new ResizeObserver(() => draw($("picture"), current.path, current.theirs)).observe($("picture"));
}

/** Shows a state of the call. */
export function showState(state, words, room) {
  const before = document.body.dataset.state;
  document.body.dataset.state = state;
  const inside = state !== "idle";
  $("lobby").hidden = inside;
  $("call").hidden = !inside;
  $("room-name").textContent = room;
  $("waiting").hidden = state === "connected" || state === "reconnecting";
  $("waiting-text").textContent = words;
  $("invite-more").hidden = state !== "waiting";
  $("restart").disabled = !["connected", "reconnecting"].includes(state);
  document.title = inside ? `${room} – Hairpin` : "Hairpin – call another browser";
  showStatus(words);
  if (before === "idle" && inside) $("mute").focus({ preventScroll: true });
  if (before !== "idle" && !inside) $("enter").focus({ preventScroll: true });
  if (!inside) {
    $("log").replaceChildren(logEmpty);
    $("server-error-list").replaceChildren();
    $("server-errors").hidden = true;
  }
}

export function showStatus(words) {
  $("status").textContent = words;
}

// Alerts

/** Shows a failure with its code, name and message; the same failure only once. */
export function showAlert(reason) {
  const key = `${reason.words}/${reason.code}/${reason.name}`;
  const old = [...$("alerts").children].find((item) => item.dataset.key === key);
  const box = make("div", { class: "alert", "data-key": key, "data-code": reason.code });
  const words = make("div", {}, make("p", { class: "what" }, reason.words));
  if (reason.hint) words.append(make("p", {}, reason.hint));
  words.append(make("p", { class: "detail" }, make("code", {}, reason.code), ` ${reason.name}: ${reason.message}`));
  const close = make("button", { type: "button", class: "small" }, "Dismiss");
  close.onclick = () => box.remove();
  box.append(words, close);
  if (old) old.replaceWith(box);
  else $("alerts").append(box);
  while ($("alerts").children.length > 4) $("alerts").firstElementChild.remove();
}

export function clearAlerts() {
  $("alerts").replaceChildren();
}

/** Adds to the list of errors of single servers. */
export function showServerError(words) {
  const list = $("server-error-list");
  if ([...list.children].some((item) => item.textContent === words) || list.children.length >= 20) return;
  list.append(make("li", {}, words));
  $("server-errors").hidden = false;
}

export function offerRetry(offered) {
  $("retry").hidden = !offered;
  if (offered) $("waiting").hidden = false;
}

export function offerPlay(reason) {
  $("play").hidden = false;
  showAlert(reason);
}

// Video and audio

/** Plays the remote stream; null clears it. */
export async function playRemote(stream) {
  const video = $("remote-video");
  $("play").hidden = true;
  if (video.srcObject !== stream) video.srcObject = stream;
  if (!stream) $("screen").dataset.picture = "no";
  else await video.play();
}

export function showRemoteMedia(media) {
  const words = !media ? "" : !media.audio && !media.video ? "camera off, muted" : !media.audio ? "muted" : !media.video ? "camera off" : "";
  $("their-media").textContent = words;
  $("their-media").hidden = words === "";
  $("screen").dataset.camera = media && !media.video ? "off" : "on";
}

/** Shows the local video and the state of the buttons. */
export function showLocalMedia({ audio, video }, track) {
  const element = $("local-video");
  if (track && element.srcObject?.getVideoTracks()[0] !== track) element.srcObject = new MediaStream([track]);
  if (!track) element.srcObject = null;
  $("local-frame").dataset.picture = video ? "yes" : "no";
  $("local-text").textContent = "Camera off";
  setButton("mute", !audio, audio ? "Mute" : "Unmute", audio ? "mic" : "mic-off");
  setButton("camera", !video, video ? "Camera off" : "Camera on", video ? "cam" : "cam-off");
}

export function showRelayOnly(only) {
  $("relay").setAttribute("aria-pressed", String(only));
}

function setButton(id, pressed, label, icon) {
  const button = $(id);
  button.dataset.off = pressed;
  button.removeAttribute("aria-pressed");
  button.querySelector("span").textContent = label;
  button.querySelector("use").setAttribute("href", `#i-${icon}`);
}

// Path and quality

/** Shows the path, with what the other side reported about its own end. */
export function showPath(path, theirs) {
  current = { path, theirs };
  draw($("picture"), path, theirs);
  const words = path ? inWords(path, theirs) : "No path yet";
  $("path-summary").textContent = words;
  $("picture").dataset.path = path ? (isRelayed(path) ? "relay" : "direct") : "none";
  $("facts").hidden = !path;
  if (!path) return;
  $("fact-local").replaceChildren(...end(path.local));
  $("fact-remote").replaceChildren(...end(path.remote));
  const row = $("fact-relay").parentElement;
  row.hidden = path.local.type !== "relay";
  $("fact-relay").textContent = path.local.type === "relay" ? [path.local.relayProtocol?.toUpperCase(), path.local.url].filter(Boolean).join(", ") : "";
  $("picture").setAttribute("aria-description", sentence(path, theirs));
}

function end({ type, address, protocol }) {
  const kind = make("span", { class: "type" }, type);
  kind.title = TYPES[type] ?? "";
  return [kind, ` ${address ?? "address hidden by the browser"} `, make("span", { class: "soft" }, protocol.toUpperCase())];
}

export function showReading({ roundTrip, received, sent, loss }) {
  $("round-trip").textContent = roundTrip === null ? "–" : `${round(roundTrip)} ms`;
  $("loss").textContent = loss === null ? "–" : `${(loss * 100).toFixed(1)} %`;
  $("received").textContent = bits(received);
  $("sent").textContent = bits(sent);
  plots.roundTrip.add(roundTrip);
  plots.loss.add(loss);
  plots.rate.add(received, sent);
}

export function clearReadings() {
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

export function enableChat(open) {
  $("chat-input").disabled = $("send").disabled = !open;
}

export function appendChat(sender, text) {
  const log = $("log");
  logEmpty.remove();
  log.append(make("p", { class: sender }, make("span", { class: "visually-hidden" }, `${sender}: `), text));
  while (log.children.length > 500) log.firstElementChild.remove();
  log.scrollTop = log.scrollHeight;
}

// The relay test

/** Shows a row for each server; returns for each a function that shows its outcome. */
export function showTestRows(servers) {
  $("results").hidden = servers.length === 0;
  $("test-summary").textContent = servers.length ? "Testing…" : "The server provides no ICE servers.";
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

export function showTestSummary(outcomes) {
  const good = outcomes.filter((outcome) => outcome.works).length;
  if (outcomes.length === 0) return;
  $("test-summary").textContent = good === outcomes.length ? "Every server works from here." : `${good} of ${outcomes.length} servers work from here.`;
}

export function showTestFailure(reason) {
  $("test-summary").textContent = `${reason.words} ${reason.hint} (${reason.name}: ${reason.message})`;
}

// Helpers

async function copy(button, text) {
  const label = button.querySelector("span");
  const before = label.dataset.label ?? label.textContent;
  label.dataset.label = before;
  label.textContent = (await toClipboard(text)) ? "Copied" : "Not copied";
  showStatus(label.textContent === "Copied" ? "Link copied" : `Copy this link: ${text}`);
  setTimeout(() => (label.textContent = before), 2000);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not a secure context, or permission denied: use the deprecated command.
    const field = make("textarea", { class: "visually-hidden", readonly: "" }, text);
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

/** A name that is easy to say and hard to guess: anyone who knows it can join. */
function randomRoomName() {
  const random = crypto.getRandomValues(new Uint32Array(8));
  const tail = [...random.slice(2)].map((number) => LETTERS[number % LETTERS.length]).join("");
  return `${FIRST[random[0] % FIRST.length]}-${SECOND[random[1] % SECOND.length]}-${tail}`;
}

const LETTERS = "23456789abcdefghjkmnpqrstuvwxyz";
const FIRST = ["amber", "brisk", "calm", "clear", "cobalt", "gentle", "green", "hazel", "ivory", "mellow", "quiet", "silver", "still", "sunny", "tidal", "violet"];
const SECOND = ["alder", "brook", "cedar", "cliff", "delta", "dune", "fern", "field", "grove", "harbor", "heron", "island", "maple", "meadow", "otter", "river"];
