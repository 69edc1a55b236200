// What our flows do, as handlers of Restate.
import http from "node:http";
import * as restate from "@restatedev/restate-sdk";

const agent = new http.Agent({ keepAlive: true, maxSockets: 512 });

// One POST to the small service: what a step does.
const post = (path, body) => new Promise((resolve, reject) => {
  const text = JSON.stringify(body);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
  const request = http.request(
    { agent, host: "127.0.0.1", port: process.env.SERVICE, path, method: "POST", headers },
    (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => resolve(JSON.parse(Buffer.concat(parts).toString())));
      response.on("error", reject);
    },
  );
  request.on("error", reject);
  request.end(text);
});

const STEPS = ["a", "b", "c"];

const bench = restate.service({
  name: "bench",
  handlers: {
    one: async (context) => {
      await context.run("a", () => post("/do", { step: "a" }));
      return "ended";
    },
    saga: async (context) => {
      for (const step of STEPS) await context.run(step, () => post("/do", { step }));
      return "ended";
    },
    undone: async (context) => {
      const undos = [];
      try {
        for (const step of STEPS) {
          undos.push(() => context.run(`undo ${step}`, () => post("/undo", { step })));
          await context.run(step, () => post("/do", { step }));
        }
        throw new restate.TerminalError("it can't be");
      } catch (error) {
        if (!(error instanceof restate.TerminalError)) throw error;
        for (const undo of undos.reverse()) await undo();
      }
      return "ended";
    },
    held: async (context, { number }) => {
      await context.run("a", () => post("/do", { step: "a" }));
      await context.run("hold", () => post("/hold", { number }));
      return "ended";
    },
  },
});

process.env.RESTATE_LOGGING = "ERROR";
restate.serve({ services: [bench], port: Number(process.env.PORT) });
