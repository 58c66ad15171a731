// Readings of getStats(): the path and its quality.

/**
 * @typedef {{type: string, protocol: string, relayProtocol: string | null, address: string | null, url: string | null}} End
 * @typedef {{local: End, remote: End, nat: boolean}} Path
 */

/** Computes readings from one connection's successive statistics. */
export class Meter {
  #before = null;

  /**
   * @param {RTCStatsReport} report
   * @returns {{path: Path | null, roundTrip: number | null, received: number, sent: number, loss: number | null, frames: number, decoded: number}}
   */
  read(report) {
    const all = [...report.values()];
    const pair = selected(report, all);
    const inbound = all.filter((entry) => entry.type === "inbound-rtp");
    const sum = (list, key) => list.reduce((total, entry) => total + (entry[key] ?? 0), 0);
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

/** Returns true if either end of the path is relayed. */
export function isRelayed({ local, remote }) {
  return local.type === "relay" || remote.type === "relay";
}

/** A summary of the path: `Direct · UDP`, `Relayed · TLS`. */
export function inWords(path, theirs) {
  if (!isRelayed(path)) return `Direct · ${path.local.protocol.toUpperCase()}`;
  const protocols = new Set();
  if (path.local.type === "relay") protocols.add(path.local.relayProtocol ?? path.local.protocol);
  if (path.remote.type === "relay" && theirs?.local?.relayProtocol) protocols.add(theirs.local.relayProtocol);
  return protocols.size ? `Relayed · ${[...protocols].map((protocol) => String(protocol).toUpperCase()).join(" and ")}` : "Relayed on their side";
}

/** Explanations of candidate types. */
export const TYPES = {
  host: "local address",
  srflx: "address seen by the server",
  prflx: "address seen by the other side",
  relay: "relay address",
};

function selected(report, all) {
  const transport = all.find((entry) => entry.type === "transport" && entry.selectedCandidatePairId);
  if (transport) return report.get(transport.selectedCandidatePairId);
  const pairs = all.filter((entry) => entry.type === "candidate-pair");
  return pairs.find((entry) => entry.selected) ?? pairs.find((entry) => entry.nominated && entry.state === "succeeded");
}

function path(report, all, pair) {
  const local = end(report.get(pair.localCandidateId));
  const remote = end(report.get(pair.remoteCandidateId));
  return { local, remote, nat: isTranslated(local, all) };
}

/** Returns true if a NAT is on this side: the path shows it, or a reflexive address that is not a local entry. */
function isTranslated(local, all) {
  if (local.type !== "relay") return local.type !== "host";
  const locals = all.filter((entry) => entry.type === "local-candidate");
  const own = new Set(locals.filter((entry) => entry.candidateType === "host").map((entry) => entry.address));
  return locals.some((entry) => entry.candidateType === "srflx" && !own.has(entry.address));
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
