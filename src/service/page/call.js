// The call page: a room, a call in it, and what can be told about the call.

import { Connection } from "./connection.js";
import * as media from "./media.js";
import { Signal } from "./signal.js";
import { Meter } from "./stats.js";
import { failure, theirs as theirFailure } from "./words.js";
import * as view from "./view.js";

const address = new URL(location.href);
const token = new URLSearchParams(address.hash.slice(1)).get("token") ?? address.searchParams.get("token");

/** The one call of this page. */
const call = {
  state: "idle",
  room: address.searchParams.get("room") ?? "",
  relayOnly: address.searchParams.get("relay") === "only",
  id: null,
  peer: null,
  present: new Set(),
  servers: [],
  /** @type {Signal | null} */ signal: null,
  /** @type {Connection | null} */ connection: null,
  meter: new Meter(),
  tracks: { audio: null, video: null },
  muted: false,
  troubles: [],
  /** @type {import("./stats.js").Path | null} */ path: null,
  theirPath: null,
  reading: null,
  theirTracks: new MediaStream(),
  wait: 0,
};

// Joining and leaving

async function join(wanted) {
  if (call.state !== "idle") return;
  enter("asking", "Asking for camera and microphone");
  view.clearTroubles();
  history.replaceState(null, "", link());
  const { tracks, failure: trouble } = await media.open(wanted);
  if (call.state !== "asking") {
    for (const track of tracks) track.stop();
    return;
  }
  for (const track of tracks) keep(track);
  showOwn();
  if (trouble) report(trouble);
  signalIn();
}

function signalIn() {
  const signal = new Signal(call.room, token);
  call.signal = signal;
  enter("joining", "Joining the room");
  const on = (type, act) => signal.addEventListener(type, ({ detail }) => call.signal === signal && act(detail));
  on("welcome", welcome);
  on("joined", ({ id }) => joined(id));
  on("left", ({ id }) => left(id));
  on("offer", described);
  on("answer", described);
  on("candidate", (message) => isOurs(message) && call.connection?.candidate(message));
  on("message", told);
  on("bye", bye);
  // Who is told of a peer that just left has nothing to do about it.
  on("refused", (why) => why.code !== "no-such-peer" && view.trouble(why));
  on("lost", () => view.status("The server cannot be reached; trying again"));
  on("ended", ended);
  signal.open();
}

function hangUp() {
  call.signal?.send({ type: "bye" });
  leave("You hung up.");
}

/** Ends everything and shows the door again. */
function leave(words) {
  endCall();
  call.signal?.close();
  call.signal = null;
  call.peer = null;
  call.present.clear();
  for (const kind of ["audio", "video"]) drop(kind);
  call.muted = false;
  call.troubles = [];
  showOwn();
  enter("idle", words);
}

function ended(why) {
  // A call needs no words to be a call.
  if (why.code === "idle" && call.connection?.state === "connected") return call.signal.revive();
  leave(why.words);
  view.trouble(why);
}

// Who is in the room

function welcome({ id, peers, iceServers }) {
  call.id = id;
  call.servers = iceServers;
  call.present = new Set(peers);
  for (const trouble of call.troubles) tell({ error: trouble });
  if (call.connection && call.connection.state !== "failed") {
    // We were away. The call went on; the other side may have another id now.
    if (!call.present.has(call.peer)) call.peer = peers[0] ?? call.peer;
    if (call.state === "connected") view.status(CONNECTED);
    return;
  }
  if (peers.length === 0) return enter("waiting", "Waiting for somebody to join");
  // Who was here offers; if it does not, we do.
  call.peer = peers[0];
  enter("calling", "Somebody is here; connecting");
  clearTimeout(call.wait);
  call.wait = setTimeout(() => !call.connection && call.present.has(peers[0]) && begin(peers[0], true), NEWCOMER_OFFERS);
}

function joined(id) {
  call.present.add(id);
  for (const trouble of call.troubles) tell({ error: trouble }, id);
  if (call.connection && call.connection.state === "connected" && !call.present.has(call.peer)) {
    call.peer = id;
    return;
  }
  if (call.connection && call.present.has(call.peer)) return;
  begin(id, true);
}

function left(id) {
  call.present.delete(id);
  if (id !== call.peer) return;
  if (call.connection?.state === "connected") {
    // It may be only its way to the server that broke: the call itself tells.
    view.status("They lost the server; the call goes on as long as its path holds");
    return;
  }
  alone("They left.");
}

function bye({ from }) {
  if (from === call.peer) alone("They hung up.");
}

/** The call is over, the room stays. */
function alone(words) {
  endCall();
  call.present.delete(call.peer);
  call.peer = null;
  enter("waiting", `${words} Waiting for somebody to join`);
}

// The call

/** Makes the connection to `peer`; `offering` says whether we make the first offer. */
function begin(peer, offering) {
  endCall();
  clearTimeout(call.wait);
  call.peer = peer;
  enter("calling", "Connecting");
  const send = (message) => call.signal?.send({ ...message, to: call.peer });
  let connection;
  try {
    connection = new Connection({ servers: call.servers, relayOnly: call.relayOnly, polite: call.id < peer, send });
  } catch (error) {
    report(failure("create-connection", error));
    return null;
  }
  call.connection = connection;
  call.meter = new Meter();
  const on = (type, act) => connection.addEventListener(type, ({ detail }) => call.connection === connection && act(detail));
  on("state", changed);
  on("track", heard);
  on("text", (words) => view.say("them", words));
  on("channel", () => view.chat(connection.canText));
  on("failed", failed);
  on("trouble", view.serverTrouble);
  call.wait = setTimeout(() => {
    const words = { name: "TimeoutError", message: `no path within ${NO_PATH / 1000} seconds` };
    if (connection.state !== "connected") failed(failure("no-path", words));
  }, NO_PATH);
  if (offering) connection.start(ownTracks());
  tell({ media: ownMedia() });
  return connection;
}

function described(message) {
  const connection = meant(message);
  connection?.describe(message, ownTracks());
}

/** The connection that a description is for: the one there is, or a new one when the other side has a new one. */
function meant({ type, from, call: theirs }) {
  const { connection } = call;
  const same = connection && (theirs === undefined || connection.theirCall === undefined || connection.theirCall === theirs);
  if (same && (from === call.peer || (theirs !== undefined && connection.theirCall === theirs))) {
    call.peer = from;
    return connection;
  }
  if (type !== "offer") return null;
  if (connection?.state === "connected" && from !== call.peer && call.present.has(call.peer)) {
    tell({ error: { code: "busy", name: "BusyError", message: "this page is in a call with somebody else" } }, from);
    return null;
  }
  return begin(from, false);
}

/** Whether a message belongs to the connection there is, not to one that was. */
function isOurs({ from, call: theirs }) {
  const known = call.connection?.theirCall;
  return from === call.peer && (theirs === undefined || known === undefined || known === theirs);
}

function changed(state) {
  if (state === "connected") {
    clearTimeout(call.wait);
    enter("connected", CONNECTED);
    measure();
  } else if (state === "disconnected") {
    if (!call.present.has(call.peer) && call.state === "connected") return alone("They left.");
    enter("seeking", "The path is lost; looking for another");
    // Our own way to the server may be dead, too, without anybody having noticed.
    call.signal?.renew();
  } else if (state === "failed") {
    if (!call.present.has(call.peer)) alone("They left.");
  }
}

function failed(why) {
  report(why);
  if (why.code === "path-lost") view.tryAgain(true);
}

function endCall() {
  clearTimeout(call.wait);
  call.connection?.close();
  call.connection = null;
  call.path = call.theirPath = call.reading = null;
  for (const track of call.theirTracks.getTracks()) call.theirTracks.removeTrack(track);
  view.theirs(null);
  view.theirMedia(null);
  view.chat(false);
  view.clearNumbers();
  view.path(null, null);
  view.tryAgain(false);
}

/** Something they send arrives. */
function heard(track) {
  for (const old of call.theirTracks.getTracks()) if (old.kind === track.kind) call.theirTracks.removeTrack(old);
  call.theirTracks.addTrack(track);
  view.theirs(call.theirTracks).catch((error) => error.name !== "AbortError" && view.blocked(failure("playback", error)));
}

// What the two pages tell each other beside the call

function tell(what, to = call.peer) {
  if (to || call.present.size) call.signal?.send({ type: "message", ...(to ? { to } : {}), ...what });
}

function told(message) {
  if (message.error) view.trouble(theirFailure(message.error));
  if (message.from !== call.peer) return;
  if (message.media) view.theirMedia(message.media);
  if (message.path) {
    call.theirPath = message.path;
    view.path(call.path, call.theirPath);
  }
}

/** Shows a failure of ours and tells the other side. */
function report(why) {
  view.trouble(why);
  const short = { code: why.code, name: why.name, message: why.message };
  if (why.code === "media") call.troubles.push(short);
  tell({ error: short });
}

// Our camera and microphone

function ownTracks() {
  return [call.tracks.audio, call.tracks.video].filter(Boolean);
}

function ownMedia() {
  return { audio: Boolean(call.tracks.audio) && !call.muted, video: Boolean(call.tracks.video) };
}

function keep(track) {
  call.tracks[track.kind] = track;
  track.onended = () => call.tracks[track.kind] === track && switchOff(track.kind);
}

function drop(kind) {
  call.tracks[kind]?.stop();
  call.tracks[kind] = null;
}

function showOwn() {
  view.own(ownMedia(), call.tracks.video);
  tell({ media: ownMedia() });
}

async function switchOn(kind) {
  const { tracks, failure: trouble } = await media.open({ audio: kind === "audio", video: kind === "video" });
  if (trouble) report(trouble);
  for (const track of tracks) {
    if (call.state === "idle") track.stop();
    else keep(track);
  }
  if (call.tracks[kind]) await call.connection?.replace(kind, call.tracks[kind]);
  showOwn();
}

function switchOff(kind) {
  drop(kind);
  call.connection?.replace(kind, null).catch(() => {});
  showOwn();
}

function toggleMute() {
  if (!call.tracks.audio) {
    call.muted = false;
    return switchOn("audio");
  }
  call.muted = !call.muted;
  call.tracks.audio.enabled = !call.muted;
  showOwn();
}

function toggleCamera() {
  return call.tracks.video ? switchOff("video") : switchOn("video");
}

/**
 * Makes the relay the only way, or one of all. A browser keeps a path that works through an ICE restart, whatever its
 * new policy says, so this takes a new connection.
 */
async function toggleRelay() {
  call.relayOnly = !call.relayOnly;
  view.relayOnly(call.relayOnly);
  if (!call.connection) return;
  await refresh();
  if (call.connection) begin(call.peer, true);
}

/** Looks for a new path, while the old one is used as long as it works. */
async function lookAgain() {
  await refresh();
  call.connection?.renew(call.servers, call.relayOnly);
}

/** Fetches fresh credentials, where the server hands them out; else those of the welcome have to do. */
async function refresh() {
  try {
    call.servers = await fetchServers();
  } catch {
    // The welcome's are good for as long as it said.
  }
}

// What can be told about the call

async function measure() {
  const { connection } = call;
  if (!connection) return;
  const reading = call.meter.read(await connection.stats());
  if (call.connection !== connection) return;
  call.reading = reading;
  view.numbers(reading);
  if (JSON.stringify(reading.path) === JSON.stringify(call.path)) return;
  call.path = reading.path;
  view.path(call.path, call.theirPath);
  if (call.path) {
    const { local, remote, nat } = call.path;
    tell({ path: { nat, local: { type: local.type, protocol: local.protocol, relayProtocol: local.relayProtocol }, remote: { type: remote.type } } });
  }
}

async function fetchServers() {
  const query = new URLSearchParams({ room: call.room || "test" });
  if (token) query.set("token", token);
  const answer = await fetch(`/ice-servers?${query}`, { cache: "no-store" });
  const told = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(told.message), { name: told.name });
  return told.iceServers;
}

async function testRelay() {
  const { each, kind, test } = await import("./relay_test.js");
  let servers = call.servers;
  try {
    servers = await fetchServers();
  } catch (error) {
    if (servers.length === 0) return view.testFailed(failure("servers", error));
  }
  const rows = view.testStarted(each(servers).map((server) => ({ url: server.urls[0], kind: kind(server.urls[0]), server })));
  const outcomes = [];
  for (const { server, show } of rows) {
    const outcome = await test(server);
    outcomes.push(outcome);
    show(outcome);
  }
  view.testEnded(outcomes);
}

// The page

function enter(state, words) {
  call.state = state;
  view.enter(state, words, call.room);
}

function link() {
  const url = new URL("/", location.href);
  url.searchParams.set("room", call.room);
  if (call.relayOnly) url.searchParams.set("relay", "only");
  if (token) url.hash = new URLSearchParams({ token }).toString();
  return url.href;
}

view.start({
  room: call.room,
  relayOnly: call.relayOnly,
  join: ({ room, audio, video, relayOnly }) => {
    Object.assign(call, { room, relayOnly });
    view.relayOnly(relayOnly);
    join({ audio, video });
  },
  hangUp,
  toggleMute,
  toggleCamera,
  toggleRelay,
  restart: lookAgain,
  again: () => call.peer && begin(call.peer, true),
  say: (words) => {
    call.connection.text(words);
    view.say("you", words);
  },
  link: (room) => {
    call.room = room || call.room;
    return link();
  },
  testRelay,
});

setInterval(measure, 1000);
addEventListener("online", () => call.signal?.renew());
addEventListener("pagehide", () => {
  call.signal?.send({ type: "bye" });
  call.signal?.close();
});

// A page that the browser kept has no call any more.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

/** What the page knows, for tests and for the curious: `hairpin.snapshot()` in the console. */
globalThis.hairpin = Object.freeze({
  snapshot: () => ({
    state: call.state,
    room: call.room,
    id: call.id,
    peer: call.peer,
    call: call.connection?.call ?? null,
    connection: call.connection?.state ?? null,
    path: call.path,
    theirPath: call.theirPath,
    reading: call.reading,
  }),
});

const CONNECTED = "Connected";
/** How long who came waits for an offer before it makes one, in milliseconds. */
const NEWCOMER_OFFERS = 1_500;
/** How long until we say that there is no path yet, in milliseconds. */
const NO_PATH = 15_000;
