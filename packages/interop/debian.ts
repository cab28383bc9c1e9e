/**
 * Debian's packages: what is missing is installed, and what is there tells its version.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { output } from "./program.ts"

const statusOf = (name: string) =>
  output(["dpkg-query", "-W", "-f", "${db:Status-Status}", name]).pipe(
    Effect.catchTag("PeerFailed", () => Effect.succeed("unknown"))
  )

/** The version of an installed package. */
export const versionOf = (name: string) => output(["dpkg-query", "-W", "-f", "${Version}", name])

/** Installs those of the packages that are missing, and fails where one cannot be had. */
export const install = Effect.fnUntraced(function*(names: ReadonlyArray<string>) {
  const missing = yield* Effect.filter(names, (name) => Effect.map(statusOf(name), (status) => status !== "installed"))
  if (missing.length === 0) return
  yield* Console.log(`installing ${missing.join(", ")}`)
  yield* output(["apt-get", "update"])
  yield* output(["apt-get", "install", "-y", "--no-install-recommends", ...missing])
})
