// A real small model (a GGUF file, by llama.cpp's prebuilt bindings for Node) behind POST /v1/chat/completions, for the test that wants
// one. node server.mjs MODEL.gguf [PORT]; it prints where it listens.
import { createServer } from "node:http";
import { getLlama, LlamaChatSession } from "node-llama-cpp";

const [file, port = "0"] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never" });
const model = await llama.loadModel({ modelPath: file });
// One thread: with more than there are free processors they wait for one another.
const context = await model.createContext({ contextSize: 4096, threads: 1 });

async function complete({ messages, response_format, max_tokens }) {
  const told = (role) => messages.filter((one) => one.role === role).map((one) => one.content).join("\n");
  const schema = response_format?.json_schema?.schema;
  const grammar = schema && (await llama.createGrammarForJsonSchema(schema));
  const contextSequence = context.getSequence();
  try {
    const session = new LlamaChatSession({ contextSequence, systemPrompt: told("system") });
    return await session.prompt(told("user"), { grammar, maxTokens: max_tokens ?? 256, temperature: 0 });
  } finally {
    contextSequence.dispose();
  }
}

let last = Promise.resolve();
const server = createServer((request, response) => {
  let body = "";
  request.on("data", (data) => (body += data));
  request.on("end", () => {
    // One after another: there is one sequence.
    last = last.then(async () => {
      let status = 200;
      let answer;
      try {
        const content = await complete(JSON.parse(body));
        answer = { choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }] };
      } catch (error) {
        status = 400;
        answer = { error: { message: String(error) } };
      }
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
    });
  });
});
server.listen(Number(port), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/v1`));
