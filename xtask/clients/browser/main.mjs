// The console as people see it, in Chromium.
//
// Takes one JSON object: {"trunkline", "folder", "shots", "chromium", "documents"}, all paths. Prints a line for each check,
// then `N passed, N failed`. Packages are found from the working directory.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { NAME, attack } from "./hostile.mjs";
import { end, gateway, services, until } from "./stand.mjs";

const what = JSON.parse(process.argv[2]);
const require = createRequire(join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

let [passed, failed] = [0, 0];

async function check(name, run) {
  const began = Date.now();
  try {
    await run();
    passed += 1;
    console.log(`ok   ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n     ${String(error.stack ?? error).split("\n").slice(0, 40).join("\n     ")}`);
  }
}

function same(found, wanted, why) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${why}: ${a} in place of ${b}`);
}

/** A page that notes what must not be: errors, and requests that leave the origin. */
async function opened(context, base) {
  const page = await context.newPage();
  page.wrong = [];
  page.on("console", (message) => message.type() === "error" && page.wrong.push(message.text()));
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("request", (request) => new URL(request.url()).origin === base || page.wrong.push(request.url()));
  page.on("requestfailed", (request) => {
    const why = request.failure()?.errorText;
    // What a page that is left was reading ends with it.
    if (why !== "net::ERR_ABORTED") page.wrong.push(`${request.url()}: ${why}`);
  });
  return page;
}

/** What axe-core finds serious or critical. It runs by the debugger: the page's own policy forbids foreign scripts. */
async function faults(page) {
  const run = `(() => { ${axe}; return axe.run(document, { resultTypes: ["violations"] }).then((found) => found.violations
    .filter((fault) => ["serious", "critical"].includes(fault.impact))
    .map((fault) => fault.id + ": " + fault.nodes.slice(0, 3).map((node) => node.html.slice(0, 120) + " " + (node.any[0]?.message ?? "")).join("; ")));
  })()`;
  return page.evaluate(run);
}

/** How a page is looked at: its width and its colours. */
const LOOKS = [
  { name: "light", width: 1280, colorScheme: "light" },
  { name: "dark", width: 1280, colorScheme: "dark" },
  { name: "phone", width: 390, colorScheme: "light" },
];

/** Looks at one page in every way. */
async function looked(context, base, path) {
  const page = await opened(context, base);
  try {
    const reply = await page.goto(base + path, { waitUntil: "load" });
    same(reply.status(), 200, "status");
    const title = await page.title();
    if (!/^.+ · Trunkline$/.test(title)) throw new Error(`the title ${JSON.stringify(title)}`);
    for (const look of LOOKS) {
      await page.setViewportSize({ width: look.width, height: 800 });
      await page.emulateMedia({ colorScheme: look.colorScheme });
      const name = path === "/" ? "overview" : path.replace("/console/", "").replace(/[^a-z0-9]+/gi, "-").slice(0, 60);
      await page.screenshot({ path: join(what.shots, `${name}-${look.name}.png`), fullPage: true });
      same(await faults(page), [], `axe, ${look.name}`);
      // Tables and drawings scroll by themselves, never the page.
      const over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
      same(over, 0, `sideways scrolling, ${look.name}`);
    }
    same(await page.evaluate("typeof window.marker"), "undefined", "a foreign script ran");
    same(page.wrong, [], "errors and foreign requests");
  } finally {
    await page.close();
  }
}

async function call(base, tool, args, headers = {}) {
  const url = `${base}/v1/tools/${encodeURIComponent(tool)}:call`;
  return (await fetch(url, { method: "POST", headers, body: JSON.stringify(args) })).json();
}

/** Calls, a flow, and all that a hostile service can bring onto a page. Gives the paths of the pages of single things. */
async function happen(base) {
  const { tools } = await (await fetch(`${base}/v1/tools?service=bad-mcp`)).json();
  const [bad] = tools;
  same(bad?.original_name, NAME, "the name of the hostile tool");
  await call(base, "shop-stock__listItems", {});
  await call(base, bad.name, { word: attack("word"), [attack("argument")]: attack("value") });
  await call(base, "bad-http__doIt", {});
  // One a day: the second is refused, in a conversation whose name is hostile.
  for (let i = 0; i < 2; i += 1) await call(base, "shop-stock__getItem", { sku: "mug-blue" }, { "trunkline-conversation": attack("who") });
  await call(base, attack("unknown"), {});
  const items = [{ sku: "mug-blue", quantity: 1, unit_price_cents: 1250 }];
  const steps = [{ id: "order", tool: "shop-orders__createOrder", args: { body: { customer: attack("customer"), items } } }];
  const done = await call(base, "run_plan", { plan: { steps } });
  const flow = JSON.stringify(done).match(/"instance\\?":\s*\\?"([0-9a-f-]{36})/)?.[1];
  if (!flow) throw new Error(`no flow: ${JSON.stringify(done).slice(0, 400)}`);
  await spans(base);
  // A call that the hostile client made within its span.
  await call(base, "shop-stock__listItems", {}, { traceparent: `00-${TRACE}-00f067aa0ba902b8-01` });
  return { bad: `/console/tools/${encodeURIComponent(bad.name)}`, flow: `/console/flows/${flow}` };
}

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";

/** Spans of a hostile client, which the gateway keeps because they failed. */
async function spans(base) {
  const now = BigInt(Date.now()) * 1_000_000n;
  const text = (name) => ({ stringValue: attack(name) });
  const span = (id, parent) => ({
    traceId: TRACE, spanId: id, parentSpanId: parent, name: attack("span"), kind: 2,
    startTimeUnixNano: String(now), endTimeUnixNano: String(now + 5_000_000n),
    attributes: [{ key: attack("key"), value: text("value") }],
    events: [{ timeUnixNano: String(now), name: attack("event"), attributes: [{ key: "x", value: text("of event") }] }],
    status: { code: 2, message: attack("status") },
  });
  const scopeSpans = [{ scope: { name: attack("scope") }, spans: [span("00f067aa0ba902b7", ""), span("00f067aa0ba902b8", "00f067aa0ba902b7")] }];
  const resource = { attributes: [{ key: "service.name", value: text("agent") }] };
  const body = JSON.stringify({ resourceSpans: [{ resource, scopeSpans }] });
  const headers = { "content-type": "application/json" };
  const reply = await fetch(`${base}/v1/traces`, { method: "POST", headers, body });
  same(reply.status, 200, "spans are taken");
  await until("the trace", () => fetch(`${base}/v1/traces/${TRACE}`).then((reply) => reply.ok));
}

async function live(context, base) {
  const page = await opened(context, base);
  await page.goto(`${base}/console/calls?target=shop-payments%2FlistPayments`);
  await page.getByRole("status").filter({ hasText: "Live" }).waitFor();
  const rows = page.locator("#content tbody tr");
  same(await rows.count(), 0, "before the call");
  await call(base, "shop-payments__listPayments", {});
  await rows.first().waitFor({ timeout: 5_000 });
  same(page.wrong, [], "errors and foreign requests");
  await page.close();
}

async function failing(context, base, shop) {
  const chaos = (how) => fetch(`${shop.shipping}/_chaos`, { method: "POST", body: JSON.stringify(how), headers: { "content-type": "application/json" } });
  await chaos({ fail_share: 1, mode: "error" });
  const page = await opened(context, base);
  try {
    await page.goto(base);
    for (let i = 0; i < 3; i += 1) await call(base, "shop-shipping__getShipment", { shipment_id: "none" });
    const row = page.getByRole("row").filter({ hasText: "shop-shipping" }).filter({ has: page.locator(".bad") });
    await row.first().waitFor({ timeout: 5_000 });
    await page.screenshot({ path: join(what.shots, "failing-overview.png"), fullPage: true });
    // One click to the service, one to its calls that failed, and there it says why.
    await row.first().getByRole("link", { name: "shop-shipping" }).click();
    const service = page.locator("section").filter({ has: page.getByRole("heading", { name: /shop-shipping/ }) });
    await service.getByRole("link", { name: "calls that failed" }).click();
    await page.getByText(/503/).first().waitFor({ timeout: 5_000 });
    await page.screenshot({ path: join(what.shots, "failing-cause.png"), fullPage: true });
    await page.goto(`${base}/console/map`);
    const node = page.locator("svg.map a.bad").filter({ hasText: "shop-shipping" });
    await node.filter({ hasText: /breaker/ }).waitFor();
    const red = await node.locator("rect").evaluate((rect) => getComputedStyle(rect).stroke);
    same(red, "rgb(179, 18, 29)", "the node is red");
    await page.screenshot({ path: join(what.shots, "failing-map.png"), fullPage: true });
    await node.click();
    await page.getByRole("heading", { name: /shop-shipping/ }).waitFor();
    same(page.wrong, [], "errors and foreign requests");
  } finally {
    await page.close();
    await chaos({});
  }
}

async function undone(context, base, flow) {
  const page = await opened(context, base);
  await page.goto(base + flow);
  await page.getByRole("link", { name: /^Undo/ }).click();
  await page.getByRole("heading", { name: /^Undo/ }).waitFor();
  await page.screenshot({ path: join(what.shots, "undo-asked.png"), fullPage: true });
  await page.getByLabel("Why, for the record").fill("it was a test");
  await page.getByRole("button", { name: /^Undo/ }).click();
  await page.waitForURL(base + flow);
  // The page follows what happens.
  await page.locator("#content .state").filter({ hasText: /^undone$/ }).first().waitFor({ timeout: 10_000 }).catch(async (error) => {
    throw new Error(`${error.message}\n${await page.locator("#content").innerText()}`);
  });
  await page.screenshot({ path: join(what.shots, "undone.png"), fullPage: true });
  same(page.wrong, [], "errors and foreign requests");
  await page.close();
  const { orders } = await (await fetch(`${base}/v1/audit?action=flow.undo`)).json().then(({ deeds }) => ({ orders: deeds }));
  same(orders[0]?.detail, "it was a test", "the order in the record");
}

const KEYS = { anna: "a-key-that-anna-has-been-given", ops: "a-key-that-operators-have-been-given" };

/** Signing in where a key is needed, seeing what is one's own, and out again. */
async function signedIn(browser, base) {
  const context = await browser.newContext({ reducedMotion: "reduce" });
  context.setDefaultTimeout(10_000);
  const page = await opened(context, base);
  await page.goto(`${base}/console/calls?outcome=done`);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  for (const look of LOOKS) {
    await page.setViewportSize({ width: look.width, height: 800 });
    await page.emulateMedia({ colorScheme: look.colorScheme });
    same(await faults(page), [], `axe, ${look.name}`);
    await page.screenshot({ path: join(what.shots, `sign-in-${look.name}.png`), fullPage: true });
  }
  same(page.wrong, [], "errors and foreign requests");
  await page.getByLabel("API key").fill("not-a-key-of-this-gateway");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  page.wrong.length = 0; // Chromium notes the 401 as an error.
  await page.getByLabel("API key").fill(KEYS.ops);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${base}/console/calls?outcome=done`);
  await page.getByText("Signed in as ops").waitFor();
  // It is live, too: the stream of events takes the cookie.
  await page.getByRole("status").filter({ hasText: "Live" }).waitFor();
  await call(base, "shop-stock__listItems", {}, { authorization: `Bearer ${KEYS.anna}` });
  await page.locator("#content tbody tr").filter({ hasText: "listItems" }).first().waitFor();
  const [cookie] = await context.cookies(base);
  same([cookie.httpOnly, cookie.sameSite], [true, "Strict"], "the cookie");
  same(await page.evaluate("document.cookie"), "", "scripts do not see it");
  await page.screenshot({ path: join(what.shots, "signed-in.png"), fullPage: true });
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  // What was signed out stays so, even with the same cookie.
  await context.addCookies([cookie]);
  await page.goto(base);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  same(page.wrong, [], "errors and foreign requests");
  await context.close();
}

async function tried(context, base) {
  const page = await opened(context, base);
  await page.goto(`${base}/console/tools/shop-orders__createOrder`);
  await page.getByRole("link", { name: /^Try it/ }).click();
  same(await faults(page), [], "axe");
  const items = [{ sku: "mug-blue", quantity: 1, unit_price_cents: 1250 }];
  await page.getByLabel("Arguments, as JSON").fill(JSON.stringify({ body: { customer: "by hand", items } }));
  const button = page.getByRole("button", { name: "Call it" });
  await button.click();
  // What changes something is confirmed first: the browser holds the form back.
  same(await page.getByRole("heading", { name: /was tried/ }).count(), 0, "without a confirmation");
  await page.getByLabel(/may change something/).check();
  await button.click();
  await page.getByRole("heading", { name: /was tried/ }).waitFor();
  await page.getByText("by hand").first().waitFor();
  await page.screenshot({ path: join(what.shots, "tried.png"), fullPage: true });
  same(await faults(page), [], "axe");
  same(page.wrong, [], "errors and foreign requests");
  await page.close();
}

/** A flow that failed is begun anew from its step. */
async function retried(context, base, shop) {
  const chaos = (how) => fetch(`${shop.payments}/_chaos`, { method: "POST", body: JSON.stringify(how), headers: { "content-type": "application/json" } });
  await chaos({ fail_share: 1, mode: "error" });
  const steps = [
    { id: "look", tool: "shop-stock__listItems", args: {} },
    { id: "pay", tool: "shop-payments__listPayments", args: {}, after: ["look"] },
  ];
  const page = await opened(context, base);
  try {
    const done = await call(base, "run_plan", { plan: { steps } });
    const { instances: [{ id }] } = await (await fetch(`${base}/v1/instances?limit=1`)).json();
    await page.goto(`${base}/console/flows/${id}`);
    const row = page.getByRole("row").filter({ hasText: "listPayments" }).first();
    await row.getByRole("link", { name: /^Retry from here/ }).waitFor().catch(async (error) => {
      throw new Error(`${error.message} ${JSON.stringify(done).slice(0, 300)}\n${await page.locator("#content").innerText()}`);
    });
    await chaos({});
    await row.getByRole("link", { name: /^Retry from here/ }).click();
    await page.screenshot({ path: join(what.shots, "retry-asked.png"), fullPage: true });
    await page.getByRole("button", { name: "Retry" }).click();
    await page.getByText("In the place of").waitFor();
    same(page.wrong, [], "errors and foreign requests");
  } finally {
    await page.close();
    await chaos({});
  }
}

/** Text of the hostile service is on these pages: they show it, and it does nothing. */
async function shown(context, base, pages) {
  const page = await opened(context, base);
  for (const [path, words] of pages) {
    await page.goto(base + path);
    const text = await page.locator("#content").evaluate((content) => content.textContent);
    for (const word of words) {
      if (!text.includes(word)) throw new Error(`${path} does not show ${word}`);
    }
    for (const button of await page.locator("summary").all()) await button.click();
    same(await page.locator("#content script, #content img, #content [onload], #content [onerror], #content a[href^='javascript']").count(), 0, path);
    same(await page.evaluate("typeof window.marker"), "undefined", `${path}: a foreign script ran`);
  }
  same(page.wrong, [], "errors and foreign requests");
  await page.close();
}

async function all(browser) {
  const { shop, hostile, config } = await services(what);
  const limits = [{ name: "items", tool: "getItem", each: ["conversation", "tool"], calls: 1, every_ms: 86_400_000 }];
  const base = await gateway(what, "open", { listen: "127.0.0.1:0", doors: { record: { arguments: true, results: true } }, limits, ...config });
  const context = await browser.newContext({ reducedMotion: "reduce" });
  context.setDefaultTimeout(10_000);
  const { bad, flow } = await happen(base);
  const paths = [
    "/", "/console/map", "/console/services", "/console/calls", "/console/traces", `/console/traces/${TRACE}`, "/console/flows", flow,
    `${flow}/undo`, "/console/tools", "/console/tools?q=refund%20a%20payment", "/console/tools/shop-stock__listItems", bad,
    "/console/events", "/console/limits", "/console/config?origin=file", "/console/connect",
  ];
  const rest = [...paths];
  const look = async () => {
    for (let path = rest.shift(); path; path = rest.shift()) {
      const name = path.replace(flow, "/console/flows/ID").replace(bad, "/console/tools/HOSTILE");
      await check(`page ${name}`, () => looked(context, base, path));
    }
  };
  await Promise.all([look(), look(), look()]);
  await check("a call made elsewhere appears", () => live(context, base));
  await check("what is hostile is text", () => shown(context, base, [
    ["/console/calls", [attack("unknown").slice(0, 60), NAME]],
    ["/console/events?limit=1000", [attack("word").slice(0, 60)]],
    ["/console/services", [attack("standard error").slice(0, 60)]],
    ["/console/tools", [attack("description").slice(0, 60), attack("summary").slice(0, 60)]],
    [bad, [attack("description"), "argument of", NAME]],
    [flow, ["customer<"]],
    ["/console/map", [attack("agent")]],
    ["/console/traces", [attack("problem")]],
    [`/console/traces/${TRACE}`, [attack("agent"), attack("span"), attack("key"), attack("value"), attack("event"), attack("status")]],
    ["/console/limits", [attack("who")]],
    ["/console/config", [attack("service")]],
  ]));
  await check("what fails is red, with its cause two clicks away", () => failing(context, base, shop));
  await check("a saga is undone by the button", () => undone(context, base, flow));
  await check("a flow is retried from a step", () => retried(context, base, shop));
  await check("a tool is tried", () => tried(context, base));
  await check("people sign in where a key is needed, and out", async () => {
    const api_keys = Object.entries(KEYS).map(([id, key]) => ({ id, key, operator: id === "ops" }));
    const listen = "0.0.0.0:0";
    const url = await gateway(what, "closed", { listen, auth: { api_keys }, ...config });
    await signedIn(browser, url);
  });
  hostile.close();
}

// Nothing that was started stays behind, whatever happens here.
process.on("uncaughtException", async (error) => {
  console.log(`FAIL ${error.stack}`);
  await end();
  process.exit(1);
});

let browser;
try {
  // As root, as in most containers, Chromium runs without its sandbox only.
  browser = await chromium.launch({
    executablePath: what.chromium, timeout: 30_000, chromiumSandbox: false,
    args: ["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  await all(browser);
} catch (error) {
  failed += 1;
  console.log(`FAIL ${String(error.stack ?? error).slice(0, 2_000)}`);
} finally {
  await browser?.close();
  await end();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
