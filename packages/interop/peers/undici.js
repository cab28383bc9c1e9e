/**
 * Node's global WebSocket as a peer: a line of standard input is a connection to make.
 */
import * as Readline from "node:readline"
import { run } from "./steps.js"

for await (const line of Readline.createInterface({ input: process.stdin })) {
  run(line).then((report) => process.stdout.write(`${JSON.stringify(report)}\n`))
}
