// The signaling client: one WebSocket that comes back by itself, with the id it had.

import { failure, refusal } from "./words.js";

/**
 * Events: `welcome`, `joined`, `left`, `offer`, `answer`, `candidate`, `message`, `bye` (detail: the message),
 * `refused` (detail: a Failure; the connection goes on), `lost` (detail: a Failure; it is trying again),
 * `ended` (detail: a Failure; it is not).
 */
export class Signal extends EventTarget {
  #room;
  #token;
  #socket = null;
  #resume = null;
  #waiting = [];
  #attempts = 0;
  #timer = 0;
  #closed = false;
  #last = null;

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
    socket.onmessage = (event) => this.#socket === socket && this.#hear(event.data);
    socket.onclose = (event) => this.#socket === socket && this.#over(event.code);
  }

  /** Sends now, or as soon as the connection stands again. */
  send(message) {
    const text = JSON.stringify(message);
    if (this.#resume && this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
    else if (this.#waiting.length < 256) this.#waiting.push(text);
  }

  /** Replaces a connection that may be dead without knowing it; the server keeps our place. */
  renew() {
    if (this.#closed || !this.#resume || this.#socket?.readyState === WebSocket.CONNECTING) return;
    const old = this.#socket;
    this.open();
    if (old) old.onclose = old.onmessage = null;
  }

  /** Comes back after the end, with the id it had. */
  revive() {
    this.#closed = false;
    this.#last = null;
    this.open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#socket = null;
  }

  #hear(text) {
    const message = JSON.parse(text);
    if (message.type === "error") {
      const why = refusal(message);
      if (GOES_ON.has(why.code)) this.#tell("refused", why);
      else this.#last = why;
      return;
    }
    if (message.type === "welcome") {
      this.#attempts = 0;
      this.#last = null;
      this.#resume = message.resume;
      this.#tell("welcome", message);
      for (const waiting of this.#waiting.splice(0)) this.#socket.send(waiting);
      return;
    }
    this.#tell(message.type, message);
  }

  async #over(code) {
    this.#socket = null;
    if (this.#closed) return;
    const why = this.#last ?? (this.#resume ? null : await this.#reason());
    if (this.#closed || this.#socket) return;
    if (FINAL.has(code) || (why && FINAL_CODES.has(why.code))) {
      this.#closed = true;
      this.#tell("ended", why ?? failure("signaling", null));
      return;
    }
    this.#attempts += 1;
    this.#tell("lost", why ?? failure("signaling", { name: "NetworkError", message: `the connection closed (${code})` }));
    const pause = Math.min(5000, 200 * 2 ** Math.min(this.#attempts, 5)) * (0.75 + Math.random() / 2);
    this.#last = null;
    this.#timer = setTimeout(() => this.open(), pause);
  }

  /** A browser does not tell why an upgrade failed; the same address says it over plain HTTP. */
  async #reason() {
    try {
      const answer = await fetch(`/signal?room=${encodeURIComponent(this.#room)}`, { cache: "no-store" });
      const told = await answer.json();
      return told.code === "not-websocket" ? null : refusal(told);
    } catch {
      return null;
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Refusals that leave the connection as it is. */
const GOES_ON = new Set(["too-large", "too-fast", "binary", "bad-json", "bad-message", "unknown-type", "no-such-peer"]);
/** Close codes after which trying again changes nothing. */
const FINAL = new Set([4400, 4401, 4403, 4408, 4409, 4410]);
const FINAL_CODES = new Set(["origin"]);
