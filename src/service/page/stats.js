// What getStats() says, made into one reading: the path, and how well it goes.

/**
 * @typedef {{type: string, protocol: string, relayProtocol: string | null, address: string | null, url: string | null}} End
 * @typedef {{local: End, remote: End, nat: boolean}} Path
 */

/** Reads one connection's statistics, second after second. */
export class Meter {
  #before = null;

  /**
   * @param {RTCStatsReport} report
   * @returns {{path: Path | null, roundTrip: number | null, received: number, sent: number, loss: number | null, frames: number, decoded: number}}
   */
  read(report) {
    const all = [...report.values()];
    const pair = selected(report, all);
    const inbound = all.filter((one) => one.type === "inbound-rtp");
    const sum = (list, key) => list.reduce((total, one) => total + (one[key] ?? 0), 0);
    const now = {
      at: pair?.timestamp ?? all[0]?.timestamp ?? performance.now(),
      pair: pair?.id,
      received: pair?.bytesReceived ?? 0,
      sent: pair?.bytesSent ?? 0,
      packets: sum(inbound, "packetsReceived"),
      lost: sum(inbound, "packetsLost"),
      decoded: sum(inbound, "framesDecoded"),
    };
    const before = this.#before?.pair === now.pair ? this.#before : null;
    this.#before = now;
    const seconds = before ? Math.max(0.001, (now.at - before.at) / 1000) : 0;
    const rate = (key) => (before ? Math.max(0, now[key] - before[key]) / seconds : 0);
    const packets = before ? now.packets - before.packets : 0;
    const lost = before ? Math.max(0, now.lost - before.lost) : 0;
    return {
      path: pair ? path(report, all, pair) : null,
      roundTrip: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
      received: rate("received") * 8,
      sent: rate("sent") * 8,
      loss: packets + lost > 0 ? lost / (packets + lost) : null,
      frames: rate("decoded"),
      decoded: now.decoded,
    };
  }
}

/** Whether either end of the path is relayed. */
export function isRelayed({ local, remote }) {
  return local.type === "relay" || remote.type === "relay";
}

/** The path in a few words: `direct over udp`, `relayed over tls`. */
export function inWords(path, theirs) {
  if (!isRelayed(path)) return `direct over ${path.local.protocol}`;
  const ways = new Set();
  if (path.local.type === "relay") ways.add(path.local.relayProtocol ?? path.local.protocol);
  if (path.remote.type === "relay" && theirs?.local?.relayProtocol) ways.add(theirs.local.relayProtocol);
  return ways.size ? `relayed over ${[...ways].join(" and ")}` : "relayed on their side";
}

/** What a candidate type means. */
export const TYPES = {
  host: "own address",
  srflx: "address seen by the server",
  prflx: "address seen by the other side",
  relay: "relay's address",
};

function selected(report, all) {
  const transport = all.find((one) => one.type === "transport" && one.selectedCandidatePairId);
  if (transport) return report.get(transport.selectedCandidatePairId);
  const pairs = all.filter((one) => one.type === "candidate-pair");
  return pairs.find((one) => one.selected) ?? pairs.find((one) => one.nominated && one.state === "succeeded");
}

function path(report, all, pair) {
  const local = end(report.get(pair.localCandidateId));
  const remote = end(report.get(pair.remoteCandidateId));
  return { local, remote, nat: isTranslated(local, all) };
}

/** Whether something on our side translates addresses: the path shows it, or a reflexive address that is not ours. */
function isTranslated(local, all) {
  if (local.type !== "relay") return local.type !== "host";
  const locals = all.filter((one) => one.type === "local-candidate");
  const own = new Set(locals.filter((one) => one.candidateType === "host").map((one) => one.address));
  return locals.some((one) => one.candidateType === "srflx" && !own.has(one.address));
}

function end(candidate) {
  const address = candidate?.address || candidate?.ip || null;
  const port = candidate?.port;
  const shown = address && (address.includes(":") ? `[${address}]` : address);
  return {
    type: candidate?.candidateType ?? "host",
    protocol: candidate?.protocol ?? "udp",
    relayProtocol: candidate?.relayProtocol ?? null,
    address: shown && port ? `${shown}:${port}` : shown,
    url: candidate?.url ?? null,
  };
}
