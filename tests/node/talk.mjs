// A conversation by OpenAI's SDK on Node against the base URL given: an Assistants run as a stream and polled, a
// response as a stream, and a chat completion. One JSON line for each thing that came back.
import OpenAI from "openai";

const [base, assistant, key] = process.argv.slice(2);
const client = new OpenAI({ apiKey: key, baseURL: `${base}/v1`, maxRetries: 0, timeout: 20_000 });
const tell = (name, value) => console.log(JSON.stringify([name, value]));

const thread = await client.beta.threads.create({ metadata: { scene: "order-desk" } });
tell("thread", thread);
tell("message", await client.beta.threads.messages.create(thread.id, { role: "user", content: "Which orders are late?" }));
let run;
for await (const event of await client.beta.threads.runs.create(thread.id, { assistant_id: assistant, stream: true })) {
  tell(event.event, event.data);
  if (event.event === "thread.run.requires_action") run = event.data;
}
const outputs = run.required_action.submit_tool_outputs.tool_calls.map((call) => ({
  tool_call_id: call.id,
  output: "none",
}));
const submitted = { thread_id: thread.id, tool_outputs: outputs, stream: true };
for await (const event of await client.beta.threads.runs.submitToolOutputs(run.id, submitted)) {
  tell(event.event, event.data);
}
tell("polled", await client.beta.threads.runs.retrieve(run.id, { thread_id: thread.id }));
tell("cancelled", await client.beta.threads.runs.cancel(run.id, { thread_id: thread.id }));
for await (const event of await client.responses.create({ model: "gpt-4o", input: "Hello", stream: true })) {
  tell(event.type, event);
}
const messages = [{ role: "user", content: "Hello" }];
for await (const chunk of await client.chat.completions.create({ model: "gpt-4o", messages, stream: true })) {
  tell("chunk", chunk);
}
tell("whole", await client.chat.completions.create({ model: "gpt-4o", messages }));
