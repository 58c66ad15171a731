// The call page: the room, the call in it, and measurements of the call.

import { Connection } from "./connection.js";
import * as media from "./media.js";
import { Signal } from "./signal.js";
import { Meter } from "./stats.js";
import { failure, remoteFailure } from "./words.js";
import * as view from "./view.js";

const address = new URL(location.href);
const token = new URLSearchParams(address.hash.slice(1)).get("token") ?? address.searchParams.get("token");

/** The state of this page’s call. */
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
  mediaFailures: [],
  /** @type {import("./stats.js").Path | null} */ path: null,
  theirPath: null,
  reading: null,
  remoteTracks: new MediaStream(),
  wait: 0,
};

// Joining and leaving

async function join(devices) {
  if (call.state !== "idle") return;
  setState("requesting-media", "Requesting camera and microphone");
  view.clearAlerts();
  history.replaceState(null, "", link());
  const { tracks, failure: mediaFailure } = await media.open(devices);
  if (call.state !== "requesting-media") {
    for (const track of tracks) track.stop();
    return;
  }
  for (const track of tracks) keepTrack(track);
  showLocal();
  if (mediaFailure) reportFailure(mediaFailure);
  openSignaling();
}

function openSignaling() {
  const signal = new Signal(call.room, token);
  call.signal = signal;
  setState("joining", "Joining");
  const on = (type, act) => signal.addEventListener(type, ({ detail }) => call.signal === signal && act(detail));
  on("welcome", onWelcome);
  on("joined", ({ id }) => onJoined(id));
  on("left", ({ id }) => onLeft(id));
  on("offer", onDescription);
  on("answer", onDescription);
  on("candidate", (message) => belongsToCall(message) && call.connection?.addCandidate(message));
  on("message", onPeerMessage);
  on("bye", onBye);
  // A message to a peer that has just left needs no alert.
  on("refused", (reason) => reason.code !== "no-such-peer" && view.showAlert(reason));
  on("lost", () => view.showStatus("Server unreachable – retrying"));
  on("ended", onSignalingEnded);
  signal.open();
}

function hangUp() {
  call.signal?.send({ type: "bye" });
  leaveRoom("You hung up.");
}

/** Leaves the room and shows the lobby. */
function leaveRoom(words) {
  endCall();
  call.signal?.close();
  call.signal = null;
  call.peer = null;
  call.present.clear();
  for (const kind of ["audio", "video"]) dropTrack(kind);
  call.muted = false;
  call.mediaFailures = [];
  showLocal();
  setState("idle", words);
}

function onSignalingEnded(reason) {
  // Signaling is idle during a quiet call, which must continue.
  if (reason.code === "idle" && call.connection?.state === "connected") return call.signal.reopen();
  leaveRoom(reason.words);
  view.showAlert(reason);
}

// Peers in the room

function onWelcome({ id, peers, iceServers }) {
  call.id = id;
  call.servers = iceServers;
  call.present = new Set(peers);
  for (const error of call.mediaFailures) sendToPeer({ error });
  if (call.connection && call.connection.state !== "failed") {
    // Signaling was interrupted while the call continued; the other side may have a new id.
    if (!call.present.has(call.peer)) call.peer = peers[0] ?? call.peer;
    if (call.state === "connected") view.showStatus(CONNECTED);
    return;
  }
  if (peers.length === 0) return setState("waiting", "Waiting for someone to join");
  // The peer that was here first makes the offer; if it does not, this page does.
  call.peer = peers[0];
  setState("calling", "Someone is here – connecting…");
  clearTimeout(call.wait);
  call.wait = setTimeout(() => !call.connection && call.present.has(peers[0]) && startCall(peers[0], true), NEWCOMER_OFFERS);
}

function onJoined(id) {
  call.present.add(id);
  for (const error of call.mediaFailures) sendToPeer({ error }, id);
  if (call.connection && call.connection.state === "connected" && !call.present.has(call.peer)) {
    call.peer = id;
    return;
  }
  if (call.connection && call.present.has(call.peer)) return;
  startCall(id, true);
}

function onLeft(id) {
  call.present.delete(id);
  if (id !== call.peer) return;
  if (call.connection?.state === "connected") {
    // Possibly only its connection to the server broke; the state of the call will show.
    view.showStatus("Their link to the server dropped; the call continues");
    return;
  }
  waitForNextPeer("They left.");
}

function onBye({ from }) {
  if (from === call.peer) waitForNextPeer("They hung up.");
}

/** Ends the call and stays in the room. */
function waitForNextPeer(words) {
  endCall();
  call.present.delete(call.peer);
  call.peer = null;
  setState("waiting", `${words} Waiting for someone to join`);
}

// The call

/** Connects to `peer`; `offering` is true if this page makes the first offer. */
function startCall(peer, offering) {
  endCall();
  clearTimeout(call.wait);
  call.peer = peer;
  setState("calling", "Connecting");
  const send = (message) => call.signal?.send({ ...message, to: call.peer });
  let connection;
  try {
    connection = new Connection({ servers: call.servers, relayOnly: call.relayOnly, polite: call.id < peer, send });
  } catch (error) {
    reportFailure(failure("create-connection", error));
    return null;
  }
  call.connection = connection;
  call.meter = new Meter();
  const on = (type, act) => connection.addEventListener(type, ({ detail }) => call.connection === connection && act(detail));
  on("state", onConnectionState);
  on("track", onTrack);
  on("text", (text) => view.appendChat("them", text));
  on("channel", () => view.enableChat(connection.canChat));
  on("failed", onConnectionFailure);
  on("server-error", view.showServerError);
  call.wait = setTimeout(() => {
    const words = { name: "TimeoutError", message: `no path within ${NO_PATH / 1000} seconds` };
    if (connection.state !== "connected") onConnectionFailure(failure("no-path", words));
  }, NO_PATH);
  if (offering) connection.start(localTracks());
  sendToPeer({ media: localMedia() });
  return connection;
}

function onDescription(message) {
  const connection = connectionFor(message);
  connection?.receiveDescription(message, localTracks());
}

/** Returns the connection for a description: the current one, or a new one if the other side has a new one. */
function connectionFor({ type, from, call: theirs }) {
  const { connection } = call;
  const same = connection && (theirs === undefined || connection.remoteCall === undefined || connection.remoteCall === theirs);
  if (same && (from === call.peer || (theirs !== undefined && connection.remoteCall === theirs))) {
    call.peer = from;
    return connection;
  }
  if (type !== "offer") return null;
  if (connection?.state === "connected" && from !== call.peer && call.present.has(call.peer)) {
    sendToPeer({ error: { code: "busy", name: "BusyError", message: "already in a call" } }, from);
    return null;
  }
  return startCall(from, false);
}

/** Returns true if a message belongs to the current connection, not to an earlier one. */
function belongsToCall({ from, call: theirs }) {
  const known = call.connection?.remoteCall;
  return from === call.peer && (theirs === undefined || known === undefined || known === theirs);
}

function onConnectionState(state) {
  if (state === "connected") {
    clearTimeout(call.wait);
    setState("connected", CONNECTED);
    measure();
  } else if (state === "disconnected") {
    if (!call.present.has(call.peer) && call.state === "connected") return waitForNextPeer("They left.");
    setState("reconnecting", "Connection lost – finding another route…");
    // The connection to the server may be dead as well, without a sign of it yet.
    call.signal?.replaceSocket();
  } else if (state === "failed") {
    if (!call.present.has(call.peer)) waitForNextPeer("They left.");
  }
}

function onConnectionFailure(reason) {
  reportFailure(reason);
  if (reason.code === "path-lost") view.offerRetry(true);
}

function endCall() {
  clearTimeout(call.wait);
  call.connection?.close();
  call.connection = null;
  call.path = call.theirPath = call.reading = null;
  for (const track of call.remoteTracks.getTracks()) call.remoteTracks.removeTrack(track);
  view.playRemote(null);
  view.showRemoteMedia(null);
  view.enableChat(false);
  view.clearReadings();
  view.showPath(null, null);
  view.offerRetry(false);
}

/** A remote track arrived. */
function onTrack(track) {
  for (const old of call.remoteTracks.getTracks()) if (old.kind === track.kind) call.remoteTracks.removeTrack(old);
  call.remoteTracks.addTrack(track);
  view.playRemote(call.remoteTracks).catch((error) => error.name !== "AbortError" && view.offerPlay(failure("playback", error)));
}

// Messages between the two pages

function sendToPeer(content, to = call.peer) {
  if (to || call.present.size) call.signal?.send({ type: "message", ...(to ? { to } : {}), ...content });
}

function onPeerMessage(message) {
  if (message.error) view.showAlert(remoteFailure(message.error));
  if (message.from !== call.peer) return;
  if (message.media) view.showRemoteMedia(message.media);
  if (message.path) {
    call.theirPath = message.path;
    view.showPath(call.path, call.theirPath);
  }
}

/** Shows a failure on this side and reports it to the other side. */
function reportFailure(reason) {
  view.showAlert(reason);
  const short = { code: reason.code, name: reason.name, message: reason.message };
  if (reason.code === "media") call.mediaFailures.push(short);
  sendToPeer({ error: short });
}

// Camera and microphone

function localTracks() {
  return [call.tracks.audio, call.tracks.video].filter(Boolean);
}

function localMedia() {
  return { audio: Boolean(call.tracks.audio) && !call.muted, video: Boolean(call.tracks.video) };
}

function keepTrack(track) {
  call.tracks[track.kind] = track;
  track.onended = () => call.tracks[track.kind] === track && stopTrack(track.kind);
}

function dropTrack(kind) {
  call.tracks[kind]?.stop();
  call.tracks[kind] = null;
}

function showLocal() {
  view.showLocalMedia(localMedia(), call.tracks.video);
  sendToPeer({ media: localMedia() });
}

async function startTrack(kind) {
  const { tracks, failure: mediaFailure } = await media.open({ audio: kind === "audio", video: kind === "video" });
  if (mediaFailure) reportFailure(mediaFailure);
  for (const track of tracks) {
    if (call.state === "idle") track.stop();
    else keepTrack(track);
  }
  if (call.tracks[kind]) await call.connection?.replace(kind, call.tracks[kind]);
  showLocal();
}

function stopTrack(kind) {
  dropTrack(kind);
  call.connection?.replace(kind, null).catch(() => {});
  showLocal();
}

function toggleMute() {
  if (!call.tracks.audio) {
    call.muted = false;
    return startTrack("audio");
  }
  call.muted = !call.muted;
  call.tracks.audio.enabled = !call.muted;
  showLocal();
}

function toggleCamera() {
  return call.tracks.video ? stopTrack("video") : startTrack("video");
}

/**
 * Switches between relay only and all paths. A browser keeps a working path through an ICE restart even if its new
 * policy excludes that path, so this needs a new connection.
 */
async function toggleRelay() {
  call.relayOnly = !call.relayOnly;
  view.showRelayOnly(call.relayOnly);
  if (!call.connection) return;
  await refreshServers();
  if (call.connection) startCall(call.peer, true);
}

/** Searches for a new path; the old one stays in use as long as it works. */
async function findPath() {
  await refreshServers();
  call.connection?.restartIce(call.servers, call.relayOnly);
}

/** Fetches new credentials if the server provides them to this page. */
async function refreshServers() {
  try {
    call.servers = await fetchServers();
  } catch {
    // The servers of the welcome message stay valid for its ttl.
  }
}

// Measurements

async function measure() {
  const { connection } = call;
  if (!connection) return;
  const reading = call.meter.read(await connection.stats());
  if (call.connection !== connection) return;
  call.reading = reading;
  view.showReading(reading);
  if (JSON.stringify(reading.path) === JSON.stringify(call.path)) return;
  call.path = reading.path;
  view.showPath(call.path, call.theirPath);
  if (call.path) {
    const { local, remote, nat } = call.path;
    sendToPeer({ path: { nat, local: { type: local.type, protocol: local.protocol, relayProtocol: local.relayProtocol }, remote: { type: remote.type } } });
  }
}

async function fetchServers() {
  const query = new URLSearchParams({ room: call.room || "test" });
  if (token) query.set("token", token);
  const answer = await fetch(`/ice-servers?${query}`, { cache: "no-store" });
  const reply = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(reply.message), { name: reply.name });
  return reply.iceServers;
}

async function testRelay() {
  const { splitByUrl, kind, test } = await import("./relay_test.js");
  let servers = call.servers;
  try {
    servers = await fetchServers();
  } catch (error) {
    // The welcome of a server that gives this page no access to its relay has STUN servers only.
    const hasRelay = servers.some(({ urls }) => [urls].flat().some((url) => url.startsWith("turn")));
    if (!hasRelay) return view.showTestFailure(failure("servers", error));
  }
  const rows = view.showTestRows(splitByUrl(servers).map((server) => ({ url: server.urls[0], kind: kind(server.urls[0]), server })));
  const outcomes = [];
  for (const { server, show } of rows) {
    const outcome = await test(server);
    outcomes.push(outcome);
    show(outcome);
  }
  view.showTestSummary(outcomes);
}

// The page

function setState(state, words) {
  call.state = state;
  view.showState(state, words, call.room);
}

function link() {
  const url = new URL("/", location.href);
  url.searchParams.set("room", call.room);
  if (call.relayOnly) url.searchParams.set("relay", "only");
  if (token) url.hash = new URLSearchParams({ token }).toString();
  return url.href;
}

view.bind({
  room: call.room,
  relayOnly: call.relayOnly,
  join: ({ room, audio, video, relayOnly }) => {
    Object.assign(call, { room, relayOnly });
    view.showRelayOnly(relayOnly);
    join({ audio, video });
  },
  hangUp,
  toggleMute,
  toggleCamera,
  toggleRelay,
  restart: findPath,
  retry: () => call.peer && startCall(call.peer, true),
  sendChat: (text) => {
    call.connection.sendText(text);
    view.appendChat("you", text);
  },
  link: (room) => {
    call.room = room || call.room;
    return link();
  },
  testRelay,
});

setInterval(measure, 1000);
addEventListener("online", () => call.signal?.replaceSocket());
addEventListener("pagehide", () => {
  call.signal?.send({ type: "bye" });
  call.signal?.close();
});

// A page restored from the back/forward cache has lost its call.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

/** The state of the page, for tests and debugging: `hairpin.snapshot()` in the console. */
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
/** Time that a newcomer waits for an offer before it makes one, in milliseconds. */
const NEWCOMER_OFFERS = 1_500;
/** Time until a missing path is reported, in milliseconds. */
const NO_PATH = 15_000;
