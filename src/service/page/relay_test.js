// “Test my relay”: tries every URL of the list separately and times it.

import { candidateError } from "./words.js";

/**
 * The outcome for one URL; times in milliseconds.
 * @typedef {{url: string, works: boolean, answer: number | null, echo: number | null, words: string}} Outcome
 */

/** Splits `servers` into one server per URL, each with its credentials. */
export function splitByUrl(servers) {
  return servers.flatMap((server) => [server.urls].flat().map((url) => ({ ...server, urls: [url] })));
}

/** Protocol and transport of a URL: `["STUN", "UDP"]`, `["TURN", "TLS"]`. */
export function kind(url) {
  const [scheme] = url.split(":");
  const transport = /[?&]transport=(\w+)/.exec(url)?.[1] ?? (scheme === "turns" || scheme === "stuns" ? "tcp" : "udp");
  const secure = scheme.endsWith("s");
  return [scheme.startsWith("turn") ? "TURN" : "STUN", secure ? (transport === "udp" ? "DTLS" : "TLS") : transport.toUpperCase()];
}

/**
 * Tests one server: the time until it returns an address, and for a relay the round trip of data through it.
 * @returns {Promise<Outcome>}
 */
export async function test(server) {
  const [url] = server.urls;
  const relay = url.startsWith("turn");
  const gathered = await gather(server, relay);
  if (!gathered.works) return { url, works: false, answer: null, echo: null, words: gathered.words };
  if (!relay) return { url, works: true, answer: gathered.time, echo: null, words: gathered.words };
  const echo = await roundTrip(server);
  const words = echo === null ? "allocates, but no data gets through" : "works";
  return { url, works: true, answer: gathered.time, echo, words };
}

async function gather(server, relay) {
  const errors = [];
  let pc;
  try {
    pc = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: relay ? "relay" : "all" });
  } catch (error) {
    return { works: false, words: `${error.name}: ${error.message}` };
  }
  try {
    pc.createDataChannel("test");
    pc.onicecandidateerror = (event) => errors.push(candidateError(event));
    const start = performance.now();
    const answered = new Promise((resolve) => {
      pc.onicecandidate = ({ candidate }) => {
        if (candidate === null) resolve(null);
        else if (candidate.type === (relay ? "relay" : "srflx")) resolve(performance.now() - start);
      };
    });
    await pc.setLocalDescription(await pc.createOffer());
    const outcome = await within(answered, LIMIT);
    if (typeof outcome === "number") return { works: true, time: outcome, words: "works" };
    // A browser omits a reflexive address that equals its own: the server works, and there is no NAT.
    if (!relay && outcome === null && errors.length === 0) {
      return { works: true, time: performance.now() - start, words: "works – you are not behind NAT" };
    }
    return { works: false, words: errors.at(-1) ?? `no response within ${LIMIT / 1000} seconds` };
  } finally {
    pc.close();
  }
}

/** Connects two peer connections of this page through the relay and measures the round trip of a message. */
async function roundTrip(server) {
  const how = { iceServers: [server], iceTransportPolicy: "relay" };
  const [near, far] = [new RTCPeerConnection(how), new RTCPeerConnection(how)];
  try {
    near.onicecandidate = ({ candidate }) => far.addIceCandidate(candidate ?? undefined).catch(() => {});
    far.onicecandidate = ({ candidate }) => near.addIceCandidate(candidate ?? undefined).catch(() => {});
    far.ondatachannel = ({ channel }) => (channel.onmessage = ({ data }) => channel.send(data));
    const channel = near.createDataChannel("echo");
    const open = new Promise((resolve) => (channel.onopen = () => resolve(true)));
    const offer = await near.createOffer();
    // Candidates may only be added after the remote description is set.
    await far.setRemoteDescription(offer);
    await near.setLocalDescription(offer);
    const answer = await far.createAnswer();
    await near.setRemoteDescription(answer);
    await far.setLocalDescription(answer);
    if ((await within(open, LIMIT)) !== true) return null;
    let best = null;
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const start = performance.now();
      const back = new Promise((resolve) => (channel.onmessage = () => resolve(true)));
      channel.send(String(attempt));
      if ((await within(back, LIMIT)) !== true) return best;
      best = Math.min(best ?? Infinity, performance.now() - start);
    }
    return best;
  } catch {
    return null;
  } finally {
    near.close();
    far.close();
  }
}

function within(promise, limit) {
  return Promise.race([promise, new Promise((resolve) => setTimeout(resolve, limit, undefined))]);
}

/** Timeout of each step, in milliseconds. */
const LIMIT = 6_000;
