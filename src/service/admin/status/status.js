// Draws what the server counts: asks once a second, keeps as long as a picture shows, asks nobody else.

import { Plot, SPAN, spark } from "./plot.js";
import { bits, clock, day, duration, frequency, number, octets, percent, scale } from "./words.js";

/** Seconds between two looks, at the numbers and at users. */
const PERIOD = 1;
const USERS_PERIOD = 5;
/** Users that are shown. */
const USERS = 10;
/** Milliseconds after which an answer does not come any more. */
const PATIENCE = 5000;
/** Seconds by which the server's clock and ours may differ between two looks. */
const SLACK = 5;
const DAY = 86400;

/** Transports in the order of their layers. */
const TRANSPORTS = ["udp", "tcp", "tls", "dtls"];

const at = (id) => document.getElementById(id);
const sum = (map) => Object.values(map).reduce((all, one) => all + one, 0);

/** What was asked, the oldest first: each answer with what happened since the one before. */
const past = [];
/** The same for users, each by realm and name. */
const users = { times: [], total: 0, rows: [], rates: new Map(), asked: -Infinity };
const plots = {
  allocations: new Plot(at("plot-allocations"), number, 4),
  throughput: new Plot(at("plot-throughput"), scale, 2000, ["to peers ↑", "to clients ↓"]),
  discards: new Plot(at("plot-discards"), (value) => `${number(value)}/s`, 2),
};
let token = sessionStorage.getItem("hairpin-token");
let paused = false;
let lastAnswer = null;
/** What each reason of a discard means: asked once. */
let reasons = null;

/** Why there are no numbers: the answer's status, where there was an answer. */
class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

async function ask(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Refused(answer.status, (await answer.text()).trim());
  return answer.json();
}

const seconds = () => performance.now() / 1000;

/** What grew, a second; null where nothing is known: at the first look, and across a restart, after which uptime is another. */
function rate(before, now, passed, read) {
  const time = before ? now.uptime_seconds - before.uptime_seconds : 0;
  return time > 0 && Math.abs(time - passed) < SLACK ? Math.max(0, (read(now) - read(before)) / time) : null;
}

const each = (map, make) => Object.fromEntries(Object.keys(map).map((name) => [name, make(name)]));

function remember(now) {
  const [before, time] = [past.at(-1)?.now, seconds()];
  const passed = time - (past.at(-1)?.time ?? time);
  const rates = (read) => rate(before, now, passed, read);
  past.push({
    time,
    now,
    toPeers: each(now.allocations, (name) => rates((one) => 8 * one.to_peers_bytes[name])),
    toClients: each(now.allocations, (name) => rates((one) => 8 * one.to_clients_bytes[name])),
    discards: each(now.discards, (name) => rates((one) => one.discards[name] ?? 0)),
    loads: now.shards_busy_seconds.map((_, shard) => rates((one) => one.shards_busy_seconds[shard] ?? 0)),
  });
  while (past[0].time < time - SPAN - PERIOD) past.shift();
}

/** Says something only when it is new, so that nothing is read out each second. */
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function show(state, words) {
  document.body.dataset.state = state;
  say(at("state"), words);
  at("login").hidden = state !== "locked";
  at("closed").hidden = state !== "closed";
  at("shown").hidden = state === "locked" || state === "closed" || past.length === 0;
  at("pause").hidden = at("shown").hidden;
  at("leave").hidden = !token || state === "locked";
}

/** A row of a table, whose first cell is its head. Cells are words, elements, or {words, title, className, value}. */
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

function small(words, className) {
  const made = document.createElement(className === "about" ? "span" : "small");
  made.className = className ?? "";
  made.textContent = words;
  return made;
}

function draw() {
  const { now, toPeers, toClients, discards, loads } = past.at(-1);
  show(now.draining ? "draining" : "running", now.draining ? "Draining: no new allocations" : "Running");
  const known = (map) => (Object.values(map).every((one) => one === null) ? "–" : bits(sum(map)));
  const share = now.ports > 0 ? now.ports_taken / now.ports : 0;
  const [up, down, dropped] = [known(toPeers), known(toClients), sum(discards)];
  say(at("now-allocations"), number(sum(now.allocations)));
  say(at("now-to-peers"), up);
  say(at("now-to-clients"), down);
  say(at("now-load"), loads.includes(null) ? "–" : percent(Math.max(0, ...loads)));
  say(at("now-discards"), frequency(dropped));
  at("now-ports").replaceChildren(number(now.ports_taken), " ", small(`of ${number(now.ports)}`));
  at("now-ports").className = share > 0.8 ? "bad" : "";
  drawAllocations(now);
  drawThroughput(now, toPeers, toClients, `${up} to peers, ${down} to clients`);
  drawDiscards(now, discards, dropped);
  drawShards(loads);
  drawCertificates(now);
  drawFacts(now);
}

const times = () => past.map((one) => one.time);
const swatch = (name) => ({ content: name, className: "swatch", tone: name });

function drawAllocations(now) {
  const names = TRANSPORTS.filter((name) => name in now.allocations);
  const lines = names.map((tone) => ({ tone, values: past.map((one) => one.now.allocations[tone]) }));
  plots.allocations.draw(times(), lines, [], `Allocations over the last minutes; now ${number(sum(now.allocations))}`);
  at("alive").replaceChildren(
    ...names.map((name) => {
      const count = now.allocations[name];
      return row([swatch(name), { content: number(count), value: count }], count === 0);
    }),
  );
}

function drawThroughput(now, toPeers, toClients, words) {
  const names = TRANSPORTS.filter((name) => name in now.allocations);
  const lines = (read) => names.map((tone) => ({ tone, values: past.map((one) => read(one)[tone]) }));
  const [above, below] = [lines((one) => one.toPeers), lines((one) => one.toClients)];
  plots.throughput.draw(times(), above, below, `Throughput over the last minutes; now ${words}`);
  const flow = (value, total) => ({ content: value === null ? "–" : bits(value), value: total });
  at("flows").replaceChildren(
    ...names.map((name) => {
      const [up, down] = [now.to_peers_bytes[name], now.to_clients_bytes[name]];
      const whole = { content: octets(up + down), className: "roomy", title: `${number(up)} bytes to peers, ${number(down)} to clients` };
      return row([swatch(name), flow(toPeers[name], up), flow(toClients[name], down), whole], up + down === 0);
    }),
  );
}

function drawDiscards(now, rates, dropped) {
  const totals = past.map((one) => (Object.values(one.discards).every((rate) => rate === null) ? null : sum(one.discards)));
  plots.discards.draw(times(), [{ tone: "other", values: totals }], [], `Packets discarded a second over the last minutes; now ${frequency(dropped)}`);
  const seen = Object.entries(now.discards).filter(([, count]) => count > 0);
  seen.sort(([, one], [, other]) => other - one);
  at("discards-empty").hidden = seen.length > 0;
  at("discards").parentElement.hidden = seen.length === 0;
  at("discards").replaceChildren(
    ...seen.map(([name, count]) => {
      const values = past.map((one) => one.discards[name] ?? null);
      const code = document.createElement("code");
      code.textContent = name;
      const picture = { content: spark(times(), values, Math.max(0, ...values), "other"), className: "roomy" };
      return row([[code, small(reasons[name] ?? "", "about")], picture, frequency(rates[name] ?? 0), { content: number(count), value: count }]);
    }),
  );
}

function drawShards(loads) {
  at("shards").replaceChildren(
    ...loads.map((load, shard) => {
      const meter = document.createElement("meter");
      Object.assign(meter, { min: 0, max: 1, low: 0.7, high: 0.85, optimum: 0, value: load ?? 0 });
      meter.ariaLabel = `load of shard ${shard}`;
      const values = past.map((one) => one.loads[shard] ?? null);
      return row([`${shard}`, spark(times(), values, 1, "load"), { content: [meter, load === null ? "–" : percent(load)] }]);
    }),
  );
}

function drawCertificates(now) {
  const known = Object.entries(now.certificates);
  at("certificates-empty").hidden = known.length > 0;
  at("certificates").parentElement.hidden = known.length === 0;
  at("certificates").replaceChildren(
    ...known.map(([name, left]) => {
      const tone = left < 7 * DAY ? "bad" : left < 21 * DAY ? "warn" : "";
      const words = left > 0 ? duration(left) : `expired ${duration(-left)} ago`;
      return row([{ content: name, title: name }, day(new Date(Date.now() + left * 1000)), { content: words, className: tone, value: left }]);
    }),
  );
  const failures = now.certificate_failures;
  at("certificates-failed").hidden = failures === 0;
  say(at("certificates-failed"), `New certificates could not be used (${number(failures)} so far); the old ones stayed. The log says why.`);
}

function drawFacts(now) {
  const facts = [
    ["Up for", duration(now.uptime_seconds)],
    ["Version", now.version],
    ["Allocations begun", number(now.started)],
    ...Object.entries(now.ended).map(([reason, count]) => [`Ended: ${reason.replaceAll("_", " ")}`, number(count)]),
  ];
  at("server").replaceChildren(
    ...facts.map((words) => {
      const both = document.createElement("div");
      both.replaceChildren(
        ...words.map((text, index) => {
          const made = document.createElement(index === 0 ? "dt" : "dd");
          made.textContent = text;
          return made;
        }),
      );
      return both;
    }),
  );
}

function rememberUsers(answer) {
  const time = seconds();
  const gone = time - (users.times.at(-1) ?? Number.NaN);
  const before = new Map(users.rows.map((one) => [key(one), one]));
  users.times.push(time);
  const carried = (one) => one.to_peers_bytes + one.to_client_bytes;
  for (const one of answer.users) {
    const was = before.get(key(one));
    const rates = users.rates.get(key(one)) ?? new Array(users.times.length - 1).fill(null);
    // An allocation that ends takes its bytes with it: then nothing is known.
    const grown = was ? carried(one) - carried(was) : Number.NaN;
    rates.push(grown >= 0 ? (8 * grown) / gone : null);
    users.rates.set(key(one), rates);
  }
  for (const [name, rates] of users.rates) {
    if (rates.length < users.times.length) rates.push(null);
    if (rates.every((rate) => rate === null) && !answer.users.some((one) => key(one) === name)) users.rates.delete(name);
  }
  while (users.times[0] < time - SPAN - USERS_PERIOD) {
    users.times.shift();
    for (const rates of users.rates.values()) rates.shift();
  }
  Object.assign(users, { rows: answer.users, total: answer.total });
}

const key = (one) => `${one.realm}\n${one.user}`;

function drawUsers() {
  const several = new Set(users.rows.map((one) => one.realm)).size > 1;
  const more = users.total - users.rows.length;
  say(at("users-total"), more > 0 ? `the first ${users.rows.length} of ${number(users.total)}` : "");
  at("users-empty").hidden = users.rows.length > 0;
  at("users").parentElement.hidden = users.rows.length === 0;
  const top = Math.max(1, ...users.rows.flatMap((one) => users.rates.get(key(one))));
  at("users").replaceChildren(
    ...users.rows.map((one) => {
      const rates = users.rates.get(key(one));
      const rate = rates.at(-1);
      const whole = one.to_peers_bytes + one.to_client_bytes;
      const title = `${number(one.to_peers_bytes)} bytes to peers, ${number(one.to_client_bytes)} to the client`;
      const name = several ? [one.user, small(one.realm, "about")] : [one.user];
      return row([
        { content: name, title: `${one.user} of ${one.realm}` },
        { content: number(one.allocations), value: one.allocations },
        { content: spark(users.times, rates, top, "load"), className: "roomy" },
        rate === null ? "–" : bits(rate),
        { content: octets(whole), title, value: whole },
      ]);
    }),
  );
}

async function look() {
  // Who was asked for a token is not asked again and again by a page that has none.
  if (paused || (document.body.dataset.state === "locked" && !token)) return;
  try {
    reasons ??= await ask("reasons");
    remember(await ask("status"));
    if (!document.hidden && seconds() - users.asked >= USERS_PERIOD) {
      users.asked = seconds();
      rememberUsers(await ask(`users?limit=${USERS}`));
    }
    if (paused) return;
    lastAnswer = new Date();
    draw();
    drawUsers();
  } catch (error) {
    explain(error);
  }
}

function explain(error) {
  if (error.status === 401) {
    if (token) say(at("refusal"), "That token is not right.");
    forget();
  } else if (error.status === 403) {
    say(at("closed-words"), error.message);
    show("closed", "Refused");
  } else {
    const since = lastAnswer ? `No answer since ${clock(lastAnswer)}` : "No answer";
    show("gone", `${since}: asking again every second`);
  }
}

/** Wants a token from now on. */
function forget() {
  token = null;
  sessionStorage.removeItem("hairpin-token");
  past.length = 0;
  const asked = !at("login").hidden;
  show("locked", "Locked");
  if (!asked) at("token").focus();
}

at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  sessionStorage.setItem("hairpin-token", token);
  at("token").value = "";
  at("login").hidden = true;
  users.asked = -Infinity;
  look();
});
at("leave").addEventListener("click", () => {
  say(at("refusal"), "");
  forget();
});
at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").ariaPressed = String(paused);
  if (paused) show("paused", `Paused at ${clock(new Date())}`);
});
at("host").textContent = location.host;

async function watch() {
  await look();
  setTimeout(watch, PERIOD * 1000);
}
watch();
