import { assert, it } from "@effect/vitest"
import * as Testing from "effect-websocket/testing"
import * as Fs from "node:fs"

it("effect-websocket/testing has every module of the kit", () => {
  const modules = Fs.readdirSync(new URL("../src/testing", import.meta.url))
    .filter((name) => name.endsWith(".ts") && name !== "index.ts")
    .map((name) => name.slice(0, -3))
  assert.sameMembers(Object.keys(Testing), modules)
})
