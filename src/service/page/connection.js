// One RTCPeerConnection to the other side, by perfect negotiation: either side may offer at any time.

import { candidateError, failure } from "./words.js";

/**
 * Events: `state` (the connection state changed), `track` (detail: a MediaStreamTrack), `text` (detail: a string),
 * `channel` (the text channel opened or closed), `failed` (detail: a Failure), `server-error` (detail: text about one server).
 */
export class Connection extends EventTarget {
  /** Identifies this connection, so that the other side notices a new one. */
  call = crypto.getRandomValues(new Uint32Array(2)).join("-");
  /** The identifier of the other side's connection, once received. */
  remoteCall = undefined;

  #polite;
  #send;
  #pc;
  #queue = Promise.resolve();
  #offering = false;
  #ignoring = false;
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
    this.#pc.onicecandidateerror = (event) => this.#emit("server-error", candidateError(event));
    this.#pc.ontrack = ({ track }) => this.#emit("track", track);
    this.#pc.ondatachannel = ({ channel }) => this.#adoptChannel(channel);
    this.#pc.onconnectionstatechange = () => this.#onStateChange();
  }

  get state() {
    return this.#pc.connectionState;
  }

  get canChat() {
    return this.#channel?.readyState === "open";
  }

  /** Makes the first offer, with `tracks` and a channel for chat. */
  start(tracks) {
    this.#adoptChannel(this.#pc.createDataChannel("chat"));
    this.#add(tracks);
    for (const kind of ["audio", "video"]) {
      if (!tracks.some((track) => track.kind === kind)) this.#pc.addTransceiver(kind, { direction: "recvonly" });
    }
  }

  /** Applies the other side's description; adds `tracks` if it is the first. */
  receiveDescription(message, tracks) {
    this.remoteCall ??= message.call;
    const description = { type: message.type, sdp: message.sdp };
    return this.#enqueue(() => this.#applyDescription(description, tracks));
  }

  /** Adds one of the other side's candidates; null ends them. */
  addCandidate({ candidate }) {
    return this.#enqueue(async () => {
      try {
        await this.#pc.addIceCandidate(candidate ?? undefined);
      } catch (error) {
        if (!this.#ignoring) this.#emitFailure("add-candidate", error);
      }
    });
  }

  /** Replaces the sent track of a kind; null stops sending that kind. */
  async replace(kind, track) {
    const transceiver = this.#pc.getTransceivers().find((transceiver) => transceiver.receiver.track.kind === kind && !transceiver.stopped);
    if (!transceiver) {
      if (track) this.#add([track]);
      return;
    }
    await transceiver.sender.replaceTrack(track);
    if (track && !["sendrecv", "sendonly"].includes(transceiver.direction)) transceiver.direction = "sendrecv";
  }

  /** Restarts ICE with these servers; the old path stays in use as long as it works. */
  restartIce(servers, relayOnly) {
    try {
      this.#pc.setConfiguration({ iceServers: servers, iceTransportPolicy: relayOnly ? "relay" : "all" });
      this.#pc.restartIce();
    } catch (error) {
      this.#emitFailure("renew", error);
    }
  }

  sendText(text) {
    this.#channel.send(text);
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

  /** Runs steps one after another: the browser orders its own calls, but a step consists of several. */
  #enqueue(step) {
    this.#queue = this.#queue.then(() => this.#pc.signalingState === "closed" || step()).catch(() => {});
    return this.#queue;
  }

  async #offer() {
    if (this.#pc.signalingState !== "stable") return;
    this.#offering = true;
    try {
      const offer = await this.#attempt("create-offer", () => this.#pc.createOffer());
      await this.#attempt("local-description", () => this.#pc.setLocalDescription(offer));
      this.#send({ type: "offer", sdp: this.#pc.localDescription.sdp });
    } finally {
      this.#offering = false;
    }
  }

  async #applyDescription(description, tracks) {
    const collision = description.type === "offer" && (this.#offering || this.#pc.signalingState !== "stable");
    this.#ignoring = !this.#polite && collision;
    if (this.#ignoring) return;
    if (description.type === "answer" && this.#pc.signalingState !== "have-local-offer") return;
    const first = this.#pc.remoteDescription === null && this.#pc.getSenders().every((sender) => !sender.track);
    await this.#attempt("remote-description", () => this.#pc.setRemoteDescription(description));
    if (description.type !== "offer") return;
    if (first) this.#add(tracks);
    const answer = await this.#attempt("create-answer", () => this.#pc.createAnswer());
    await this.#attempt("local-description", () => this.#pc.setLocalDescription(answer));
    this.#send({ type: "answer", sdp: this.#pc.localDescription.sdp });
  }

  async #attempt(code, step) {
    try {
      return await step();
    } catch (error) {
      this.#emitFailure(code, error);
      throw error;
    }
  }

  #adoptChannel(channel) {
    if (channel.label === "hairpin") return answerPings(channel);
    const use = () => {
      if (!this.canChat) this.#channel = channel;
      this.#emit("channel");
    };
    channel.onopen = use;
    channel.onclose = () => this.#emit("channel");
    channel.onmessage = ({ data }) => typeof data === "string" && this.#emit("text", data);
    channel.onerror = ({ error }) => this.#pc.connectionState === "connected" && this.#emitFailure("data-channel", error);
    if (channel.readyState === "open") use();
  }

  #onStateChange() {
    const state = this.#pc.connectionState;
    clearTimeout(this.#timer);
    if (state === "disconnected") this.#timer = setTimeout(() => this.#pc.restartIce(), RESTART_AFTER);
    if (state === "failed") this.#restartAfterFailure();
    this.#emit("state", state);
  }

  /** Restarts ICE after a failure, at most twice within a minute. */
  #restartAfterFailure() {
    const now = performance.now();
    this.#restarts = [...this.#restarts.filter((time) => now - time < 60_000), now];
    if (this.#restarts.length > 2) this.#emitFailure("path-lost", { name: "NetworkError", message: "three paths failed within a minute" });
    else this.#pc.restartIce();
  }

  #emitFailure(code, error) {
    this.#emit("failed", failure(code, error));
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** `hairpin peer` sends numbered pings on its channel and has no chat. */
function answerPings(channel) {
  channel.onmessage = ({ data }) => {
    if (typeof data !== "string" || channel.bufferedAmount > MAX_BUFFERED) return;
    let ping;
    try {
      ping = JSON.parse(data);
    } catch {
      return;
    }
    if (ping?.hairpin === "ping") channel.send(JSON.stringify({ hairpin: "pong", n: ping.n }));
  };
}

/** Time without a path before ICE is restarted, in milliseconds. */
const RESTART_AFTER = 2_000;
/** Octets that may be buffered on a channel; beyond that, pings are not answered. */
const MAX_BUFFERED = 1 << 20;
