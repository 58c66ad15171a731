// The signaling client: one WebSocket that reconnects by itself and keeps its id.

import { failure, refusal } from "./words.js";

/**
 * Events: `welcome`, `joined`, `left`, `offer`, `answer`, `candidate`, `message`, `bye` (detail: the message),
 * `refused` (detail: a Failure; the connection stays open), `lost` (detail: a Failure; it reconnects),
 * `ended` (detail: a Failure; it does not reconnect).
 */
export class Signal extends EventTarget {
  #room;
  #token;
  #socket = null;
  #resume = null;
  #unsent = [];
  #attempts = 0;
  #timer = 0;
  #closed = false;
  #lastRefusal = null;

  constructor(room, token) {
    super();
    this.#room = room;
    this.#token = token;
  }

  open() {
    clearTimeout(this.#timer);
    const query = new URLSearchParams({ room: this.#room });
    if (this.#token) query.set("token", this.#token);
    if (this.#resume) query.set("resume", this.#resume);
    const url = new URL(`/signal?${query}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = (event) => this.#socket === socket && this.#receive(event.data);
    socket.onclose = (event) => this.#socket === socket && this.#onClose(event.code);
  }

  /** Sends now, or once the connection is established again. */
  send(message) {
    const text = JSON.stringify(message);
    if (this.#resume && this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
    else if (this.#unsent.length < 256) this.#unsent.push(text);
  }

  /** Replaces a connection that may be dead without a sign of it; the server keeps the place in the room. */
  replaceSocket() {
    if (this.#closed || !this.#resume || this.#socket?.readyState === WebSocket.CONNECTING) return;
    const old = this.#socket;
    this.open();
    if (old) old.onclose = old.onmessage = null;
  }

  /** Reconnects after `ended`, with the same id. */
  reopen() {
    this.#closed = false;
    this.#lastRefusal = null;
    this.open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#socket = null;
  }

  #receive(text) {
    const message = JSON.parse(text);
    if (message.type === "error") {
      const reason = refusal(message);
      if (NON_FATAL.has(reason.code)) this.#emit("refused", reason);
      else this.#lastRefusal = reason;
      return;
    }
    if (message.type === "welcome") {
      this.#attempts = 0;
      this.#lastRefusal = null;
      this.#resume = message.resume;
      this.#emit("welcome", message);
      for (const text of this.#unsent.splice(0)) this.#socket.send(text);
      return;
    }
    this.#emit(message.type, message);
  }

  async #onClose(code) {
    this.#socket = null;
    if (this.#closed) return;
    const reason = this.#lastRefusal ?? (this.#resume ? null : await this.#fetchRefusal());
    if (this.#closed || this.#socket) return;
    if (FINAL_CLOSE_CODES.has(code) || (reason && FINAL_REFUSALS.has(reason.code))) {
      this.#closed = true;
      this.#emit("ended", reason ?? failure("signaling", null));
      return;
    }
    this.#attempts += 1;
    this.#emit("lost", reason ?? failure("signaling", { name: "NetworkError", message: `the connection closed (${code})` }));
    const pause = Math.min(5000, 200 * 2 ** Math.min(this.#attempts, 5)) * (0.75 + Math.random() / 2);
    this.#lastRefusal = null;
    this.#timer = setTimeout(() => this.open(), pause);
  }

  /** Fetches the reason of a failed upgrade over plain HTTP, because the browser does not reveal it. */
  async #fetchRefusal() {
    try {
      const response = await fetch(`/signal?room=${encodeURIComponent(this.#room)}`, { cache: "no-store" });
      const error = await response.json();
      return error.code === "not-websocket" ? null : refusal(error);
    } catch {
      return null;
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Refusals that leave the connection open. */
const NON_FATAL = new Set(["too-large", "too-fast", "binary", "bad-json", "bad-message", "unknown-type", "no-such-peer"]);
/** Close codes after which reconnecting is pointless. */
const FINAL_CLOSE_CODES = new Set([4400, 4401, 4403, 4408, 4409, 4410]);
const FINAL_REFUSALS = new Set(["origin"]);
