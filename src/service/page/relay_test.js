// “Test my relay”: every URL of the list by itself, and what it takes in milliseconds.

import { candidateError } from "./words.js";

/**
 * One URL's outcome.
 * @typedef {{url: string, works: boolean, answer: number | null, echo: number | null, words: string}} Outcome
 */

/** Every URL of `servers` with the credentials that belong to it. */
export function each(servers) {
  return servers.flatMap((server) => [server.urls].flat().map((url) => ({ ...server, urls: [url] })));
}

/** What a URL stands for: `["STUN", "udp"]`, `["TURN", "tls"]`. */
export function kind(url) {
  const [scheme] = url.split(":");
  const transport = /[?&]transport=(\w+)/.exec(url)?.[1] ?? (scheme === "turns" || scheme === "stuns" ? "tcp" : "udp");
  const secure = scheme.endsWith("s");
  return [scheme.startsWith("turn") ? "TURN" : "STUN", secure ? (transport === "udp" ? "dtls" : "tls") : transport];
}

/**
 * Tests one server: how long until it gives an address, and for a relay how long data takes through it and back.
 * @returns {Promise<Outcome>}
 */
export async function test(server) {
  const [url] = server.urls;
  const relay = url.startsWith("turn");
  const gathered = await gather(server, relay);
  if (!gathered.works) return { url, works: false, answer: null, echo: null, words: gathered.words };
  if (!relay) return { url, works: true, answer: gathered.after, echo: null, words: gathered.words };
  const echo = await roundTrip(server);
  const words = echo === null ? "gives relays, but data does not pass through it to itself" : "relays";
  return { url, works: true, answer: gathered.after, echo, words };
}

async function gather(server, relay) {
  const troubles = [];
  let pc;
  try {
    pc = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: relay ? "relay" : "all" });
  } catch (error) {
    return { works: false, words: `${error.name}: ${error.message}` };
  }
  try {
    pc.createDataChannel("test");
    pc.onicecandidateerror = (event) => troubles.push(candidateError(event));
    const start = performance.now();
    const answered = new Promise((resolve) => {
      pc.onicecandidate = ({ candidate }) => {
        if (candidate === null) resolve(null);
        else if (candidate.type === (relay ? "relay" : "srflx")) resolve(performance.now() - start);
      };
    });
    await pc.setLocalDescription(await pc.createOffer());
    const outcome = await within(answered, LIMIT);
    if (typeof outcome === "number") return { works: true, after: outcome, words: relay ? "relays" : "answers" };
    // A browser hides a reflexive address that equals its own: all went well, and there is no NAT.
    if (!relay && outcome === null && troubles.length === 0) {
      return { works: true, after: performance.now() - start, words: "answers; there is no NAT before you" };
    }
    return { works: false, words: troubles.at(-1) ?? `no answer within ${LIMIT / 1000} seconds` };
  } finally {
    pc.close();
  }
}

/** Two connections in this page, each through the relay only: the time of one message there and back. */
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
    // The far end must know the near end before it hears of its candidates.
    await far.setRemoteDescription(offer);
    await near.setLocalDescription(offer);
    const answer = await far.createAnswer();
    await near.setRemoteDescription(answer);
    await far.setLocalDescription(answer);
    if ((await within(open, LIMIT)) !== true) return null;
    let best = null;
    for (let turn = 0; turn < 3; turn += 1) {
      const start = performance.now();
      const back = new Promise((resolve) => (channel.onmessage = () => resolve(true)));
      channel.send(String(turn));
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

/** How long each step may take, in milliseconds. */
const LIMIT = 6_000;
