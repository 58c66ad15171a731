// One RTCPeerConnection to the other side, by perfect negotiation: either side may start, and start again.

import { candidateError, failure } from "./words.js";

/**
 * Events: `state` (the connection state changed), `track` (detail: a MediaStreamTrack), `text` (detail: a string),
 * `channel` (the text channel opened or closed), `failed` (detail: a Failure), `trouble` (detail: words about one server).
 */
export class Connection extends EventTarget {
  /** Names this connection, so that the other side notices when it is another one than before. */
  call = crypto.getRandomValues(new Uint32Array(2)).join("-");
  /** The name of the other side's connection, once it said it. */
  theirCall = undefined;

  #polite;
  #send;
  #pc;
  #queue = Promise.resolve();
  #offering = false;
  #ignored = false;
  #channel = null;
  #restarts = [];
  #timer = 0;

  /**
   * @param {{servers: RTCIceServer[], relayOnly: boolean, polite: boolean, send: (message: object) => void}} how
   */
  constructor({ servers, relayOnly, polite, send }) {
    super();
    this.#polite = polite;
    this.#send = (message) => send({ ...message, call: this.call });
    this.#pc = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: relayOnly ? "relay" : "all" });
    this.#pc.onnegotiationneeded = () => this.#enqueue(() => this.#offer());
    this.#pc.onicecandidate = ({ candidate }) => this.#send({ type: "candidate", candidate });
    this.#pc.onicecandidateerror = (event) => this.#tell("trouble", candidateError(event));
    this.#pc.ontrack = ({ track }) => this.#tell("track", track);
    this.#pc.ondatachannel = ({ channel }) => this.#adopt(channel);
    this.#pc.onconnectionstatechange = () => this.#changed();
  }

  get state() {
    return this.#pc.connectionState;
  }

  get canText() {
    return this.#channel?.readyState === "open";
  }

  /** Makes the first offer, with `tracks` and a channel for text. */
  start(tracks) {
    this.#adopt(this.#pc.createDataChannel("chat"));
    this.#add(tracks);
    for (const kind of ["audio", "video"]) {
      if (!tracks.some((track) => track.kind === kind)) this.#pc.addTransceiver(kind, { direction: "recvonly" });
    }
  }

  /** Takes the other side's description; `tracks` are what we add if it is the first. */
  describe(message, tracks) {
    this.theirCall ??= message.call;
    const description = { type: message.type, sdp: message.sdp };
    return this.#enqueue(() => this.#take(description, tracks));
  }

  /** Takes one of the other side's candidates; null ends them. */
  candidate({ candidate }) {
    return this.#enqueue(async () => {
      try {
        await this.#pc.addIceCandidate(candidate ?? undefined);
      } catch (error) {
        if (!this.#ignored) this.#fail("add-candidate", error);
      }
    });
  }

  /** Sends `track` in the place of whatever of its kind is sent now; null stops sending that kind. */
  async replace(kind, track) {
    const transceiver = this.#pc.getTransceivers().find((one) => one.receiver.track.kind === kind && !one.stopped);
    if (!transceiver) {
      if (track) this.#add([track]);
      return;
    }
    await transceiver.sender.replaceTrack(track);
    if (track && !["sendrecv", "sendonly"].includes(transceiver.direction)) transceiver.direction = "sendrecv";
  }

  /** Looks for a new path with these servers, while the old one is used as long as it works. */
  renew(servers, relayOnly) {
    try {
      this.#pc.setConfiguration({ iceServers: servers, iceTransportPolicy: relayOnly ? "relay" : "all" });
      this.#pc.restartIce();
    } catch (error) {
      this.#fail("renew", error);
    }
  }

  text(words) {
    this.#channel.send(words);
  }

  stats() {
    return this.#pc.getStats();
  }

  close() {
    clearTimeout(this.#timer);
    this.#pc.onconnectionstatechange = null;
    this.#pc.close();
  }

  #add(tracks) {
    for (const track of tracks) this.#pc.addTrack(track);
  }

  /** One step after another: the browser's own order is not enough where several calls make one step. */
  #enqueue(step) {
    this.#queue = this.#queue.then(() => this.#pc.signalingState === "closed" || step()).catch(() => {});
    return this.#queue;
  }

  async #offer() {
    if (this.#pc.signalingState !== "stable") return;
    this.#offering = true;
    try {
      const offer = await this.#step("create-offer", () => this.#pc.createOffer());
      await this.#step("local-description", () => this.#pc.setLocalDescription(offer));
      this.#send({ type: "offer", sdp: this.#pc.localDescription.sdp });
    } finally {
      this.#offering = false;
    }
  }

  async #take(description, tracks) {
    const collision = description.type === "offer" && (this.#offering || this.#pc.signalingState !== "stable");
    this.#ignored = !this.#polite && collision;
    if (this.#ignored) return;
    if (description.type === "answer" && this.#pc.signalingState !== "have-local-offer") return;
    const first = this.#pc.remoteDescription === null && this.#pc.getSenders().every((sender) => !sender.track);
    await this.#step("remote-description", () => this.#pc.setRemoteDescription(description));
    if (description.type !== "offer") return;
    if (first) this.#add(tracks);
    const answer = await this.#step("create-answer", () => this.#pc.createAnswer());
    await this.#step("local-description", () => this.#pc.setLocalDescription(answer));
    this.#send({ type: "answer", sdp: this.#pc.localDescription.sdp });
  }

  async #step(code, step) {
    try {
      return await step();
    } catch (error) {
      this.#fail(code, error);
      throw error;
    }
  }

  #adopt(channel) {
    if (channel.label === "hairpin") return answerPings(channel);
    const use = () => {
      if (!this.canText) this.#channel = channel;
      this.#tell("channel");
    };
    channel.onopen = use;
    channel.onclose = () => this.#tell("channel");
    channel.onmessage = ({ data }) => typeof data === "string" && this.#tell("text", data);
    channel.onerror = ({ error }) => this.#pc.connectionState === "connected" && this.#fail("data-channel", error);
    if (channel.readyState === "open") use();
  }

  #changed() {
    const state = this.#pc.connectionState;
    clearTimeout(this.#timer);
    if (state === "disconnected") this.#timer = setTimeout(() => this.#pc.restartIce(), PATIENCE);
    if (state === "failed") this.#again();
    this.#tell("state", state);
  }

  /** The path failed: looks for another, but not without end. */
  #again() {
    const now = performance.now();
    this.#restarts = [...this.#restarts.filter((then) => now - then < 60_000), now];
    if (this.#restarts.length > 2) this.#fail("path-lost", { name: "NetworkError", message: "three paths failed within a minute" });
    else this.#pc.restartIce();
  }

  #fail(code, error) {
    this.#tell("failed", failure(code, error));
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** `hairpin peer` numbers its messages and wants each answered; it has no use for a chat. */
function answerPings(channel) {
  channel.onmessage = ({ data }) => {
    if (typeof data !== "string" || channel.bufferedAmount > MOST_WAITING) return;
    let ping;
    try {
      ping = JSON.parse(data);
    } catch {
      return;
    }
    if (ping?.hairpin === "ping") channel.send(JSON.stringify({ hairpin: "pong", n: ping.n }));
  };
}

/** How long a path may be lost before another is looked for, in milliseconds. */
const PATIENCE = 2_000;
/** How much may wait on a channel, in octets; more is not answered. */
const MOST_WAITING = 1 << 20;
