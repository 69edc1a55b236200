// The client `consul` of npm against the stand-in for a Consul agent, and the stand-in's shapes against those of
// `@hashicorp/consul-api-double`. Prints `N passed, N failed` last.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { url, folder } = JSON.parse(process.argv[2]);
const require = createRequire(join(folder, "package.json"));
const Consul = require("consul");
const { hostname, port } = new URL(url);

let passed = 0;
let failed = 0;

async function check(name, test) {
  try {
    await test();
    passed += 1;
    console.log(`ok: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED: ${name}: ${error.message}`);
  }
}

function same(found, expected) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${JSON.stringify(found)} in place of ${JSON.stringify(expected)}`);
  }
}

const consul = new Consul({ host: hostname, port });

await check("a service is registered with a TTL check and found in catalogue and health", async () => {
  await consul.agent.service.register({
    name: "npm-service", id: "npm-1", address: "127.0.0.1", port: 8080, tags: ["v1"], meta: { zone: "a" },
    check: { ttl: "10s", notes: "by npm" },
  });
  same((await consul.health.service({ service: "npm-service", passing: true })).length, 0);
  await consul.agent.check.pass("service:npm-1");
  const [entry] = await consul.health.service({ service: "npm-service", passing: true });
  same([entry.Service.ID, entry.Service.Port, entry.Service.Meta.zone], ["npm-1", 8080, "a"]);
  same((await consul.catalog.service.nodes("npm-service"))[0].ServiceID, "npm-1");
  same(Object.keys(await consul.catalog.service.list()).includes("npm-service"), true);
  same((await consul.agent.services())["npm-1"].Service, "npm-service");
});

await check("a check that fails is critical, and one that warns a warning", async () => {
  await consul.agent.check.fail({ id: "service:npm-1", note: "on fire" });
  const [check] = (await consul.health.state("critical")).filter((check) => check.CheckID === "service:npm-1");
  same(check.Output, "on fire");
  await consul.agent.check.warn("service:npm-1");
  same((await consul.health.checks("npm-service"))[0].Status, "warning");
});

await check("a watch hears of a change", async () => {
  const watch = consul.watch({ method: consul.health.service, options: { service: "npm-watched" }, backoffFactor: 100 });
  const seen = new Promise((resolve, reject) => {
    watch.on("error", reject);
    watch.on("change", (entries) => entries.length === 1 && resolve(entries[0].Service.ID));
    setTimeout(() => reject(new Error("nothing was heard")), 10000).unref();
  });
  setTimeout(() => consul.agent.service.register({ name: "npm-watched", id: "w1", port: 1 }), 200);
  same(await seen, "w1");
  watch.end();
});

await check("what is deregistered is gone", async () => {
  await consul.agent.service.deregister("npm-1");
  same((await consul.health.service("npm-service")).length, 0);
});

// The double's files are templates of JavaScript: rendered with plain values in place of invented ones.
function rendered(path) {
  const template = readFileSync(join(folder, "node_modules/@hashicorp/consul-api-double", path), "utf8");
  const words = (name) =>
    ({ number: 5, boolean: true, ip: "10.0.0.1", timestamp: 5 })[name] ?? "word";
  const group = new Proxy({}, {
    get: (_, name) => (name === "randomize" ? (list) => list[0] : name === "words" ? () => "a b" : () => words(name)),
  });
  const fake = new Proxy({}, { get: () => group });
  const range = (count) => Array.from({ length: Number(count) || 1 }, (_, i) => i);
  const env = (_, usual) => usual;
  const location = { pathname: { slice: () => "orders", get: () => "orders", toString: () => "/v1/health/service/orders",
    split: () => ["", "v1", "health", "service", "orders"] }, search: {} };
  const render = new Function("fake", "range", "env", "location", "http", `return \`${template}\`;`);
  return JSON.parse(render(fake, range, env, location, { headers: {}, method: "GET" }));
}

// Every member that ours has and the double has, too, is of the same type; and all that are needed are in both.
function compare(ours, theirs, needed, where) {
  for (const key of needed) {
    if (!(key in ours) || !(key in theirs)) throw new Error(`${where} lacks ${key}`);
  }
  for (const key of Object.keys(ours)) {
    if (!(key in theirs)) continue;
    const kind = (value) => (Array.isArray(value) ? "list" : typeof value);
    if (kind(ours[key]) !== kind(theirs[key])) {
      throw new Error(`${where}.${key} is a ${kind(ours[key])}, there a ${kind(theirs[key])}`);
    }
  }
}

await check("health answers have the shape of consul-api-double", async () => {
  await consul.agent.service.register({ name: "shape", id: "s1", port: 80, tags: ["t"], check: { ttl: "10s" } });
  const [ours] = await consul.health.service("shape");
  const [theirs] = rendered("v1/health/service/_");
  compare(ours, theirs, ["Node", "Service", "Checks"], "entry");
  compare(ours.Node, theirs.Node, ["ID", "Node", "Address", "Datacenter", "Meta"], "Node");
  compare(ours.Service, theirs.Service, ["ID", "Service", "Tags", "Address", "Port"], "Service");
  const members = ["Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags"];
  compare(ours.Checks[1], theirs.Checks[0], members, "Check");
  await consul.agent.service.deregister("s1");
});

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
