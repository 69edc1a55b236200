// The TypeScript MCP SDK against an endpoint with server-everything and server-filesystem behind it.
//
// Takes one JSON object: {"sdk": "v1" or "v2", "era": "legacy" or a revision, "url" or "command", "folder"}. Prints a
// line for each check, then `N passed, N failed`. Packages are found from the working directory.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const what = JSON.parse(process.argv[2]);
const LIMIT = 60_000;
const require = createRequire(join(process.cwd(), "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);

/** The parts of the SDK that the checks use, from either of its lines. */
async function sdk() {
  if (what.sdk === "v1") {
    const base = "@modelcontextprotocol/sdk/";
    const { Client } = await load(`${base}client/index.js`);
    const { StreamableHTTPClientTransport } = await load(`${base}client/streamableHttp.js`);
    const { StdioClientTransport } = await load(`${base}client/stdio.js`);
    const types = await load(`${base}types.js`);
    const handlers = { elicit: types.ElicitRequestSchema, sample: types.CreateMessageRequestSchema };
    return { Client, StreamableHTTPClientTransport, StdioClientTransport, handlers };
  }
  const { Client, StreamableHTTPClientTransport } = await load("@modelcontextprotocol/client");
  const { StdioClientTransport } = await load("@modelcontextprotocol/client/stdio");
  const handlers = { elicit: "elicitation/create", sample: "sampling/createMessage" };
  return { Client, StreamableHTTPClientTransport, StdioClientTransport, handlers };
}

async function connect() {
  const { Client, StreamableHTTPClientTransport, StdioClientTransport, handlers } = await sdk();
  const options = { capabilities: { elicitation: {}, sampling: {} } };
  if (what.era !== "legacy") options.versionNegotiation = { mode: { pin: what.era } };
  const client = new Client({ name: "trunkline-test", version: "1.0.0" }, options);
  client.setRequestHandler(handlers.elicit, async () => ({ action: "accept", content: { name: "Ada" } }));
  client.setRequestHandler(handlers.sample, async () => ({
    role: "assistant",
    model: "none",
    content: { type: "text", text: "sampled by the client" },
  }));
  const transport = what.url
    ? new StreamableHTTPClientTransport(new URL(what.url))
    : new StdioClientTransport({ command: what.command[0], args: what.command.slice(1), stderr: "inherit" });
  await client.connect(transport, { timeout: LIMIT });
  return client;
}

const said = (result) => result.content.filter((item) => item.type === "text").map((item) => item.text).join("\n");

async function every(list, member) {
  const found = [];
  let cursor;
  do {
    const page = await list(cursor ? { cursor } : {});
    found.push(...page[member]);
    cursor = page.nextCursor;
  } while (cursor);
  return found;
}

function named(items, name) {
  const found = items.filter((item) => item.name === name || item.name.endsWith(`__${name}`));
  assert.equal(found.length, 1, `${name} is listed ${found.length} times`);
  return found[0].name;
}

function checks(client, tools) {
  const send = (name, args, more) => {
    const params = { name: named(tools, name), arguments: args };
    const options = { timeout: LIMIT, ...more };
    // The first line of the SDK takes a result schema before the options.
    return what.sdk === "v1" ? client.callTool(params, undefined, options) : client.callTool(params, options);
  };
  return {
    async plain_call() {
      assert.match(said(await send("echo", { message: "hello" })), /hello/);
    },
    async structured_result() {
      const result = await send("get-structured-content", { location: "New York" });
      assert.ok("temperature" in result.structuredContent);
    },
    async content_of_other_kinds() {
      const result = await send("get-tiny-image", {});
      assert.ok(result.content.some((item) => item.type === "image"));
    },
    async a_wrong_argument_is_told() {
      const told = await send("get-sum", { a: "one", b: 2 }).then((result) => result.isError, () => true);
      assert.ok(told);
    },
    async progress_comes() {
      let seen = 0;
      const onprogress = () => (seen += 1);
      await send("trigger-long-running-operation", { duration: 1, steps: 4 }, { onprogress });
      assert.ok(seen >= 3, `${seen} notifications`);
    },
    async elicitation() {
      assert.match(said(await send("trigger-elicitation-request", {})), /Ada/);
    },
    async sampling() {
      const result = await send("trigger-sampling-request", { prompt: "anything", maxTokens: 10 });
      assert.match(said(result), /sampled by the client/);
    },
    async prompts() {
      const prompts = await every((params) => client.listPrompts(params), "prompts");
      const got = await client.getPrompt({ name: named(prompts, "args-prompt"), arguments: { city: "Delft" } });
      assert.match(got.messages[0].content.text, /Delft/);
    },
    async resources() {
      const [first] = await every((params) => client.listResources(params), "resources");
      assert.ok((await client.readResource({ uri: first.uri })).contents.length > 0);
    },
    async files() {
      const path = join(what.folder, "from-typescript.txt");
      assert.ok(!(await send("write_file", { path, content: "kept" })).isError);
      assert.equal(readFileSync(path, "utf8"), "kept");
      assert.match(said(await send("read_text_file", { path })), /kept/);
      assert.ok((await send("read_text_file", { path: "/etc/passwd" })).isError);
    },
    async many_at_once() {
      const numbers = Array.from({ length: 32 }, (_, n) => n);
      const answers = await Promise.all(numbers.map((n) => send("echo", { message: `number ${n}` })));
      answers.forEach((answer, n) => assert.ok(said(answer).includes(`number ${n}`)));
    },
    // Only the first line of the SDK follows tasks.
    ...(what.sdk === "v1" && {
      async a_run_as_a_task() {
        const tool = named(tools, "trigger-long-running-operation");
        const plan = { steps: [{ id: "first", tool, args: { duration: 1, steps: 2 } }] };
        const seen = [];
        const params = { name: named(tools, "run_plan"), arguments: { plan } };
        for await (const message of client.experimental.tasks.callToolStream(params)) seen.push(message);
        assert.equal(seen[0].type, "taskCreated");
        const last = seen.at(-1);
        assert.equal(last.type, "result", JSON.stringify(last));
        const run = last.result.structuredContent;
        assert.deepEqual([run.status, run.instance], ["completed", seen[0].task.taskId]);
      },
    }),
  };
}

/** Lists the tools until those of both servers are there. */
async function listed(client) {
  const end = Date.now() + LIMIT;
  for (;;) {
    const tools = await every((params) => client.listTools(params), "tools");
    const names = tools.map((tool) => tool.name.split("__").at(-1));
    if (names.includes("echo") && names.includes("write_file")) return tools;
    assert.ok(Date.now() < end, "the tools of both servers were not listed in time");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

let passed = 0;
let failed = 0;
try {
  const client = await connect();
  for (const [name, check] of Object.entries(checks(client, await listed(client)))) {
    try {
      await check();
      passed += 1;
      console.log(`  ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`  FAILED ${name}: ${error.message}`);
    }
  }
  await client.close();
} catch (error) {
  failed += 1;
  console.log(`  FAILED connect: ${error.message}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
