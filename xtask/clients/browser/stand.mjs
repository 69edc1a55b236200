// What is looked at: the shop, a hostile service, and the gateway before them, each a process of its own.

import { spawn } from "node:child_process";
import { mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { attack, listen } from "./hostile.mjs";

const running = [];

/** Starts a program and gives the first lines of its output. */
async function start(command, args, log, count) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", openSync(log, "a")] });
  running.push(child);
  const lines = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === count) break;
  }
  if (lines.length < count) throw new Error(`${command} ${args[0]} ended early: see ${log}`);
  child.stdout.resume();
  return lines;
}

/** Ends all of it. */
export async function end() {
  for (const child of running.reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 5_000);
    await ended;
    clearTimeout(late);
  }
}

/** Waits until `look` gives something. */
export async function until(what, look, limit = 20_000) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${limit} ms`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** Starts a gateway with this configuration. */
export async function gateway(what, name, config) {
  const file = join(what.folder, `${name}.json`);
  writeFileSync(file, JSON.stringify({ data_dir: join(what.folder, name), loops: { calls: 0 }, ...config }));
  const [line] = await start(what.trunkline, ["up", file], join(what.folder, `${name}.log`), 1);
  const url = line.replace("listening on ", "").replace("0.0.0.0", "127.0.0.1").trim();
  await until(`${name} is ready`, () => fetch(`${url}/readyz`).then((reply) => reply.ok, () => false));
  return url;
}

/** Starts the shop and the hostile services, and gives the services of a configuration and the shop's addresses. */
export async function services(what) {
  mkdirSync(join(what.folder, "shop"), { recursive: true });
  const args = ["shop", "--listen-base", "127.0.0.1:0", "--data", join(what.folder, "shop")];
  const lines = await start(what.trunkline, args, join(what.folder, "shop.log"), 4);
  const shop = Object.fromEntries(lines.map((line) => line.split(" ")));
  const hostile = await listen();
  const document = join(what.folder, "hostile.json");
  writeFileSync(document, JSON.stringify(hostile.document));
  const services = {
    "bad-http": { description: attack("service"), openapi: { document, base_url: hostile.url } },
    "bad-mcp": { mcp: { command: [process.execPath, fileURLToPath(new URL("hostile.mjs", import.meta.url)), "stdio"] } },
  };
  for (const [name, url] of Object.entries(shop)) {
    services[`shop-${name}`] = { openapi: { document: join(what.documents, `${name}.yaml`), base_url: url } };
  }
  const undo = { tool: "shop-orders__cancelOrder", args: { order_id: "$${ .result.id }" } };
  const flows = { tools: { "shop-orders__createOrder": { undo } } };
  return { shop, hostile: hostile.server, config: { services, flows } };
}
