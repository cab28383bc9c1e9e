import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { cases } from "../cases/index.ts"
import { requirements } from "../requirements/index.ts"
import { audit, casesOf, isCase, matches } from "../runner/Audit.ts"
import { rolesOf, sectionOf, transportsOf } from "../runner/Case.ts"
import * as Page from "../runner/Page.ts"

const live = <A, E>(name: string, test: Effect.Effect<A, E, NodeServices.NodeServices>) =>
  it.live(name, () => Effect.provide(test, NodeServices.layer))

describe("the requirements", () => {
  live("every test that they name is there", Effect.map(audit, (problems) => assert.deepStrictEqual(problems, [])))

  it("cover every section that demands something", () => {
    const sections = new Set(requirements.map(({ rfc, section }) => `${rfc} ${section}`))
    const demanded = [
      "3 4.1 4.2.1 4.2.2 4.3 4.4 5.1 5.2 5.3 5.4 5.5 5.5.1 5.5.2 5.5.3 5.6 5.7 5.8 6.1 6.2 7.1.1 7.1.2 7.1.3 7.1.4",
      "7.1.5 7.1.6 7.1.7 7.2.1 7.2.2 7.2.3 7.4.1 7.4.2 8.1 9.1 10.1 10.2 10.3 10.4 10.5 10.6 10.7 10.8 11"
    ].join(" ").split(" ").map((section) => `6455 ${section}`).concat(
      "4 5 5.1 6 6.1 6.2 7 7.1.1.1 7.1.1.2 7.1.2.1 7.1.2.2 7.1.3 7.2.1 7.2.2 7.2.3".split(" ").map((section) =>
        `7692 ${section}`
      )
    )
    assert.deepStrictEqual(demanded.filter((section) => !sections.has(section)), [])
  })

  it("a demand without a test says why", () => {
    for (const requirement of requirements) {
      if ("reason" in requirement) assert.isAbove(requirement.reason.length, 20, requirement.id)
    }
  })
})

describe("the cases", () => {
  it("are each meant by a requirement, but for those beyond the RFCs", () => {
    const meant = new Set(
      requirements.flatMap((requirement) =>
        "tests" in requirement ? requirement.tests.filter(isCase).flatMap(casesOf) : []
      )
    )
    const orphans = cases.filter((case_) => /^\d/.test(sectionOf(case_)) && !meant.has(case_.id))
    assert.deepStrictEqual(orphans.map(({ id }) => id), [])
  })

  it("have a field of the grid at least, and say what they hold", () => {
    for (const case_ of cases) {
      assert.isAbove(rolesOf(case_).length * transportsOf(case_).length, 0, case_.id)
      assert.match(case_.id, /^[\d.a-z-]+\/[\w.+-]+$/)
      assert.match(case_.rule, /^[A-Z].*\.$/)
    }
  })
})

describe("matches", () => {
  it("takes a star for any characters, also none", () => {
    for (const pattern of ["a/b", "a/*", "*/b", "a*b", "a/b*", "*", "a*/*b"]) assert.isTrue(matches(pattern, "a/b"))
    for (const pattern of ["a", "a/", "b*", "*a", "a/b*b", "a*x*b"]) assert.isFalse(matches(pattern, "a/b"))
  })
})

describe("docs/conformance.md", () => {
  live(
    "is that of the data: npm run conformance writes it",
    Effect.map(Page.isUpToDate, (upToDate) => assert.isTrue(upToDate))
  )
})
