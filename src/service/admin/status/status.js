// The status page: requests the counters once a second, derives rates and draws them. It contacts no other host.

import { Plot, SPAN, spark } from "./plot.js";
import { bitRate, bytes, clock, day, duration, frequency, number, percent, scaleBitRate } from "./format.js";

/** Seconds between two requests of the counters, and of users. */
const INTERVAL = 1;
const USERS_INTERVAL = 5;
const MAX_USERS = 10;
/** Time limit of a request in milliseconds. */
const TIMEOUT = 5000;
/** Seconds by which the clocks of server and browser may drift apart between two samples. */
const MAX_DRIFT = 5;
const DAY = 86400;

const TRANSPORTS = ["udp", "tcp", "tls", "dtls"];

const byId = (id) => document.getElementById(id);
const sum = (map) => Object.values(map).reduce((total, value) => total + value, 0);

/** Samples of the counters with the rates since the previous one, the oldest first. */
const samples = [];
/** The same for users; the rates are keyed by realm and name. */
const users = { times: [], total: 0, rows: [], rates: new Map(), requested: -Infinity };
const plots = {
  allocations: new Plot(byId("plot-allocations"), number, 4),
  throughput: new Plot(byId("plot-throughput"), scaleBitRate, 2000, ["to peers ↑", "to clients ↓"]),
  discards: new Plot(byId("plot-discards"), (value) => `${number(value)}/s`, 2),
};
let token = sessionStorage.getItem("hairpin-token");
let paused = false;
let lastResponse = null;
/** What each reason of a discard means; requested once. */
let reasons = null;

/** A response that is not a success. */
class HttpError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function fetchJson(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
  if (!response.ok) throw new HttpError(response.status, (await response.text()).trim());
  return response.json();
}

const nowSeconds = () => performance.now() / 1000;

/** The growth per second of a counter; null for the first sample and across a restart, which uptime reveals. */
function growthRate(before, now, passed, read) {
  const time = before ? now.uptime_seconds - before.uptime_seconds : 0;
  return time > 0 && Math.abs(time - passed) < MAX_DRIFT ? Math.max(0, (read(now) - read(before)) / time) : null;
}

const mapKeys = (map, make) => Object.fromEntries(Object.keys(map).map((name) => [name, make(name)]));

function addSample(now) {
  const [before, time] = [samples.at(-1)?.now, nowSeconds()];
  const passed = time - (samples.at(-1)?.time ?? time);
  const rateOf = (read) => growthRate(before, now, passed, read);
  samples.push({
    time,
    now,
    toPeers: mapKeys(now.allocations, (name) => rateOf((status) => 8 * status.to_peers_bytes[name])),
    toClients: mapKeys(now.allocations, (name) => rateOf((status) => 8 * status.to_clients_bytes[name])),
    discards: mapKeys(now.discards, (name) => rateOf((status) => status.discards[name] ?? 0)),
    loads: now.shards_busy_seconds.map((_, shard) => rateOf((status) => status.shards_busy_seconds[shard] ?? 0)),
  });
  while (samples[0].time < time - SPAN - INTERVAL) samples.shift();
}

/** Sets a text only if it differs, so that screen readers do not repeat it every second. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setState(state, text) {
  document.body.dataset.state = state;
  setText(byId("state"), text);
  byId("login").hidden = state !== "locked";
  byId("forbidden").hidden = state !== "forbidden";
  byId("dashboard").hidden = state === "locked" || state === "forbidden" || samples.length === 0;
  byId("pause").hidden = byId("dashboard").hidden;
  byId("forget-token").hidden = !token || state === "locked";
}

/** A table row whose first cell is its header. A cell is a text, an element, or {content, title, className, tone, value}. */
function row(cells, quiet) {
  const made = document.createElement("tr");
  if (quiet) made.className = "quiet";
  made.replaceChildren(
    ...cells.map((cell, index) => {
      const made = document.createElement(index === 0 ? "th" : "td");
      if (index === 0) made.scope = "row";
      const { content = cell, title, className, tone, value } = cell?.content === undefined ? {} : cell;
      made.append(...[content].flat());
      if (title) made.title = title;
      if (className) made.className = className;
      if (tone) made.dataset.tone = tone;
      if (value !== undefined) made.dataset.value = value;
      return made;
    }),
  );
  return made;
}

function smallText(text, className) {
  const made = document.createElement(className === "about" ? "span" : "small");
  made.className = className ?? "";
  made.textContent = text;
  return made;
}

function draw() {
  const { now, toPeers, toClients, discards, loads } = samples.at(-1);
  setState(now.draining ? "draining" : "running", now.draining ? "Draining: no new allocations" : "Running");
  const total = (rates) => (Object.values(rates).every((rate) => rate === null) ? "–" : bitRate(sum(rates)));
  const share = now.ports > 0 ? now.ports_taken / now.ports : 0;
  const [up, down, dropped] = [total(toPeers), total(toClients), sum(discards)];
  setText(byId("now-allocations"), number(sum(now.allocations)));
  setText(byId("now-to-peers"), up);
  setText(byId("now-to-clients"), down);
  setText(byId("now-load"), loads.includes(null) ? "–" : percent(Math.max(0, ...loads)));
  setText(byId("now-discards"), frequency(dropped));
  byId("now-ports").replaceChildren(number(now.ports_taken), " ", smallText(`of ${number(now.ports)}`));
  byId("now-ports").className = share > 0.8 ? "bad" : "";
  drawAllocations(now);
  drawThroughput(now, toPeers, toClients, `${up} to peers, ${down} to clients`);
  drawDiscards(now, discards, dropped);
  drawShards(loads);
  drawCertificates(now);
  drawFacts(now);
}

const times = () => samples.map((sample) => sample.time);
const swatch = (name) => ({ content: name, className: "swatch", tone: name });

function drawAllocations(now) {
  const names = TRANSPORTS.filter((name) => name in now.allocations);
  const lines = names.map((tone) => ({ tone, values: samples.map((sample) => sample.now.allocations[tone]) }));
  plots.allocations.draw(times(), lines, [], `Allocations over the last minutes; now ${number(sum(now.allocations))}`);
  byId("alive").replaceChildren(
    ...names.map((name) => {
      const count = now.allocations[name];
      return row([swatch(name), { content: number(count), value: count }], count === 0);
    }),
  );
}

function drawThroughput(now, toPeers, toClients, summary) {
  const names = TRANSPORTS.filter((name) => name in now.allocations);
  const lines = (read) => names.map((tone) => ({ tone, values: samples.map((sample) => read(sample)[tone]) }));
  const [above, below] = [lines((sample) => sample.toPeers), lines((sample) => sample.toClients)];
  plots.throughput.draw(times(), above, below, `Throughput over the last minutes; now ${summary}`);
  const flow = (value, total) => ({ content: value === null ? "–" : bitRate(value), value: total });
  byId("flows").replaceChildren(
    ...names.map((name) => {
      const [up, down] = [now.to_peers_bytes[name], now.to_clients_bytes[name]];
      const total = { content: bytes(up + down), className: "roomy", title: `${number(up)} bytes to peers, ${number(down)} to clients` };
      return row([swatch(name), flow(toPeers[name], up), flow(toClients[name], down), total], up + down === 0);
    }),
  );
}

function drawDiscards(now, rates, dropped) {
  const totals = samples.map(({ discards }) => (Object.values(discards).every((rate) => rate === null) ? null : sum(discards)));
  plots.discards.draw(times(), [{ tone: "other", values: totals }], [], `Packets discarded per second over the last minutes; now ${frequency(dropped)}`);
  const seen = Object.entries(now.discards).filter(([, count]) => count > 0);
  seen.sort(([, a], [, b]) => b - a);
  byId("discards-empty").hidden = seen.length > 0;
  byId("discards").parentElement.hidden = seen.length === 0;
  byId("discards").replaceChildren(
    ...seen.map(([name, count]) => {
      const values = samples.map((sample) => sample.discards[name] ?? null);
      const code = document.createElement("code");
      code.textContent = name;
      const picture = { content: spark(times(), values, Math.max(0, ...values), "other"), className: "roomy" };
      return row([[code, smallText(reasons[name] ?? "", "about")], picture, frequency(rates[name] ?? 0), { content: number(count), value: count }]);
    }),
  );
}

function drawShards(loads) {
  byId("shards").replaceChildren(
    ...loads.map((load, shard) => {
      const meter = document.createElement("meter");
      Object.assign(meter, { min: 0, max: 1, low: 0.7, high: 0.85, optimum: 0, value: load ?? 0 });
      meter.ariaLabel = `load of shard ${shard}`;
      const values = samples.map((sample) => sample.loads[shard] ?? null);
      return row([`${shard}`, spark(times(), values, 1, "load"), { content: [meter, load === null ? "–" : percent(load)] }]);
    }),
  );
}

function drawCertificates(now) {
  const known = Object.entries(now.certificates);
  byId("certificates-empty").hidden = known.length > 0;
  byId("certificates").parentElement.hidden = known.length === 0;
  byId("certificates").replaceChildren(
    ...known.map(([name, left]) => {
      const tone = left < 7 * DAY ? "bad" : left < 21 * DAY ? "warn" : "";
      const text = left > 0 ? duration(left) : `expired ${duration(-left)} ago`;
      return row([{ content: name, title: name }, day(new Date(Date.now() + left * 1000)), { content: text, className: tone, value: left }]);
    }),
  );
  const failures = now.certificate_failures;
  byId("certificates-failed").hidden = failures === 0;
  setText(byId("certificates-failed"), `${number(failures)} reloads or orders of certificates failed; the old ones are still in use. See the log.`);
}

function drawFacts(now) {
  const facts = [
    ["Uptime", duration(now.uptime_seconds)],
    ["Version", now.version],
    ["Allocations started", number(now.started)],
    ...Object.entries(now.ended).map(([reason, count]) => [`Ended: ${reason.replaceAll("_", " ")}`, number(count)]),
  ];
  byId("server").replaceChildren(
    ...facts.map((fact) => {
      const both = document.createElement("div");
      both.replaceChildren(
        ...fact.map((text, index) => {
          const made = document.createElement(index === 0 ? "dt" : "dd");
          made.textContent = text;
          return made;
        }),
      );
      return both;
    }),
  );
}

function addUserSample(response) {
  const time = nowSeconds();
  const passed = time - (users.times.at(-1) ?? Number.NaN);
  const before = new Map(users.rows.map((user) => [key(user), user]));
  users.times.push(time);
  const relayed = (user) => user.to_peers_bytes + user.to_client_bytes;
  for (const user of response.users) {
    const was = before.get(key(user));
    const rates = users.rates.get(key(user)) ?? new Array(users.times.length - 1).fill(null);
    // Totals cover current allocations, so they shrink when an allocation ends; the rate is then unknown.
    const grown = was ? relayed(user) - relayed(was) : Number.NaN;
    rates.push(grown >= 0 ? (8 * grown) / passed : null);
    users.rates.set(key(user), rates);
  }
  for (const [name, rates] of users.rates) {
    if (rates.length < users.times.length) rates.push(null);
    if (rates.every((rate) => rate === null) && !response.users.some((user) => key(user) === name)) users.rates.delete(name);
  }
  while (users.times[0] < time - SPAN - USERS_INTERVAL) {
    users.times.shift();
    for (const rates of users.rates.values()) rates.shift();
  }
  Object.assign(users, { rows: response.users, total: response.total });
}

const key = (user) => `${user.realm}\n${user.user}`;

function drawUsers() {
  const several = new Set(users.rows.map((user) => user.realm)).size > 1;
  const more = users.total - users.rows.length;
  setText(byId("users-total"), more > 0 ? `the first ${users.rows.length} of ${number(users.total)}` : "");
  byId("users-empty").hidden = users.rows.length > 0;
  byId("users").parentElement.hidden = users.rows.length === 0;
  const top = Math.max(1, ...users.rows.flatMap((user) => users.rates.get(key(user))));
  byId("users").replaceChildren(
    ...users.rows.map((user) => {
      const rates = users.rates.get(key(user));
      const rate = rates.at(-1);
      const total = user.to_peers_bytes + user.to_client_bytes;
      const title = `${number(user.to_peers_bytes)} bytes to peers, ${number(user.to_client_bytes)} to the client`;
      const name = several ? [user.user, smallText(user.realm, "about")] : [user.user];
      return row([
        { content: name, title: `${user.user} of ${user.realm}` },
        { content: number(user.allocations), value: user.allocations },
        { content: spark(users.times, rates, top, "load"), className: "roomy" },
        rate === null ? "–" : bitRate(rate),
        { content: bytes(total), title, value: total },
      ]);
    }),
  );
}

async function refresh() {
  // Without a token each request would fail.
  if (paused || (document.body.dataset.state === "locked" && !token)) return;
  try {
    reasons ??= await fetchJson("reasons");
    addSample(await fetchJson("status"));
    if (!document.hidden && nowSeconds() - users.requested >= USERS_INTERVAL) {
      users.requested = nowSeconds();
      addUserSample(await fetchJson(`users?limit=${MAX_USERS}`));
    }
    if (paused) return;
    lastResponse = new Date();
    draw();
    drawUsers();
  } catch (error) {
    showError(error);
  }
}

function showError(error) {
  if (error.status === 401) {
    if (token) setText(byId("token-error"), "Wrong token.");
    forgetToken();
  } else if (error.status === 403) {
    setText(byId("forbidden-message"), error.message);
    setState("forbidden", "Refused");
  } else {
    const since = lastResponse ? `No response since ${clock(lastResponse)}` : "No response";
    setState("unreachable", `${since}; retrying every second`);
  }
}

/** Shows the token form. */
function forgetToken() {
  token = null;
  sessionStorage.removeItem("hairpin-token");
  samples.length = 0;
  const isShown = !byId("login").hidden;
  setState("locked", "Locked");
  if (!isShown) byId("token").focus();
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  sessionStorage.setItem("hairpin-token", token);
  byId("token").value = "";
  byId("login").hidden = true;
  users.requested = -Infinity;
  refresh();
});
byId("forget-token").addEventListener("click", () => {
  setText(byId("token-error"), "");
  forgetToken();
});
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").ariaPressed = String(paused);
  if (paused) setState("paused", `Paused at ${clock(new Date())}`);
});
byId("host").textContent = location.host;

async function run() {
  await refresh();
  setTimeout(run, INTERVAL * 1000);
}
run();
