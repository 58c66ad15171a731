// Draws what the server counts: asks once a second, keeps five minutes.
const KEPT = 300;
const at = (id) => document.getElementById(id);
const past = [];
let token = sessionStorage.getItem("token");

const number = (value) => Intl.NumberFormat("en").format(Math.round(value));
const sum = (map) => Object.values(map).reduce((all, one) => all + one, 0);

function scaled(value, units) {
  let power = 0;
  while (value >= 1000 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

const bits = (octets) => scaled(octets * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
const octets = (count) => scaled(count, ["B", "kB", "MB", "GB", "TB", "PB"]);

async function ask(path) {
  const answer = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store" });
  if (answer.status === 401 || answer.status === 403) {
    at("login").hidden = false;
    throw new Error(await answer.text());
  }
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function rows(id, table) {
  at(id).replaceChildren(
    ...table.map((cells) => {
      const row = document.createElement("tr");
      row.replaceChildren(
        ...cells.map((text) => {
          const cell = document.createElement("td");
          cell.textContent = text;
          return cell;
        }),
      );
      return row;
    }),
  );
}

function plot(id, lines) {
  const top = Math.max(1, ...lines.flat());
  const paths = lines.map((line, index) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const step = 300 / (KEPT - 1);
    const start = KEPT - line.length;
    const points = line.map((value, n) => `${((start + n) * step).toFixed(1)} ${(78 - (value / top) * 74).toFixed(1)}`);
    path.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
    path.setAttribute("class", index === 0 ? "one" : "two");
    return path;
  });
  at(id).replaceChildren(...paths);
}

/** What a number gained a second between two looks. */
const rate = (before, now, read) => {
  const seconds = now.uptime_seconds - before.uptime_seconds;
  return seconds > 0 ? Math.max(0, (read(now) - read(before)) / seconds) : 0;
};
const rates = (read) => past.slice(1).map((now, n) => rate(past[n], now, read));

function draw() {
  const now = past.at(-1);
  const before = past.at(-2) ?? now;
  const alive = sum(now.allocations);
  at("state").textContent = now.draining ? "draining: no new allocations" : "running";
  at("allocations-now").textContent = number(alive);
  plot("allocations", [past.map((one) => sum(one.allocations))]);
  const up = (one) => sum(one.to_peers_bytes);
  const down = (one) => sum(one.to_clients_bytes);
  at("throughput-now").textContent =
    `${bits(rate(before, now, up))} to peers, ${bits(rate(before, now, down))} to clients`;
  plot("throughput", [rates(up), rates(down)]);
  rows(
    "transports",
    Object.keys(now.allocations).map((name) => [
      name,
      bits(rate(before, now, (one) => one.to_peers_bytes[name])),
      bits(rate(before, now, (one) => one.to_clients_bytes[name])),
    ]),
  );
  const loads = now.shards_busy_seconds.map((_, n) => rate(before, now, (one) => one.shards_busy_seconds[n] ?? 0));
  at("shards").replaceChildren(
    ...loads.map((load, n) => {
      const label = document.createElement("label");
      const meter = document.createElement("meter");
      meter.value = load;
      label.append(`shard ${n}: ${Math.round(load * 100)} %`, meter);
      return label;
    }),
  );
  const dropped = Object.entries(now.discards).filter(([, count]) => count > 0);
  rows(
    "discards",
    dropped.map(([name, count]) => [name, number(count), rate(before, now, (one) => one.discards[name]).toFixed(1)]),
  );
  const facts = [
    ["version", now.version],
    ["up", `${number(now.uptime_seconds)} s`],
    ["relayed ports", `${number(now.ports_taken)} of ${number(now.ports)}`],
    ["allocations begun", number(now.started)],
    ...Object.entries(now.ended).map(([reason, count]) => [`ended: ${reason}`, number(count)]),
    ...(now.certificates ?? []).map((one) => [`certificate ${one.name}`, `${number(one.seconds / 86400)} days left`]),
  ];
  at("server").replaceChildren(
    ...facts.flatMap(([name, value]) => {
      const term = document.createElement("dt");
      const detail = document.createElement("dd");
      term.textContent = name;
      detail.textContent = value;
      return [term, detail];
    }),
  );
}

async function look() {
  try {
    past.push(await ask("status"));
    if (past.length > KEPT) past.shift();
    at("login").hidden = true;
    draw();
  } catch (error) {
    at("state").textContent = error.message;
  }
}

async function lookAtUsers() {
  try {
    const { users } = await ask("users?limit=10");
    rows(
      "users",
      users.map((one) => [one.user, number(one.allocations), octets(one.to_peers_bytes), octets(one.to_client_bytes)]),
    );
  } catch {
    // The other look says why.
  }
}

at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  sessionStorage.setItem("token", token);
  look();
  lookAtUsers();
});
look();
lookAtUsers();
setInterval(look, 1000);
setInterval(lookAtUsers, 5000);
