/**
 * The figures as pictures, SVG.
 */
import * as Vega from "vega"
import * as VegaLite from "vega-lite"
import { isGrowth, type Measured, ratioOf } from "./judge.ts"

const order = [
  "read+write",
  "pull+writeAll",
  "readSome+writeSome",
  "read+write, reuseArrays",
  "pull+writeAll, reuseArrays",
  "readSome+writeSome, reuseArrays",
  "Broadcast.writeAll",
  "PubSub+writeAll",
  "ws",
  "effect",
  "raw",
  "bun"
]

const colours = [
  "#08519c",
  "#3182bd",
  "#6baed6",
  "#006d2c",
  "#31a354",
  "#74c476",
  "#3f007d",
  "#807dba",
  "#525252",
  "#fd8d3c",
  "#bdbdbd",
  "#e377c2"
]

const render = async (spec: VegaLite.TopLevelSpec): Promise<string> => {
  const { spec: compiled } = VegaLite.compile(spec)
  return await new Vega.View(Vega.parse(compiled), { renderer: "none" }).toSVG()
}

const seriesOf = (names: ReadonlySet<string>) => {
  const present = order.map((name, at) => [name, colours[at]!] as const).filter(([name]) => names.has(name))
  return { domain: present.map(([name]) => name), range: present.map(([, colour]) => colour) }
}

/** Messages of a second of the processor, as multiples of those of `ws`, in each cell. */
export const bars = (title: string, all: ReadonlyArray<Measured>): Promise<string> => {
  const values = all.flatMap((measured) =>
    measured.rows
      .filter(({ contender }) => contender !== "ws")
      .map(({ contender }) => ({ cell: measured.cell.name, contender, ratio: ratioOf(measured, contender, "ws") }))
  )
  const scale = seriesOf(new Set(values.map(({ contender }) => contender)))
  return render({
    title,
    background: "white",
    width: 520,
    height: { step: 9 },
    data: { values },
    layer: [{
      mark: "bar",
      encoding: {
        x: {
          field: "ratio",
          type: "quantitative",
          scale: { type: "log", nice: false },
          title: "times ws, logarithmic"
        },
        x2: { datum: 1 },
        y: { field: "cell", sort: all.map(({ cell }) => cell.name), title: null, axis: { labelLimit: 400 } },
        yOffset: { field: "contender", sort: scale.domain },
        color: { field: "contender", scale, title: null, legend: { labelLimit: 300 } }
      }
    }, { mark: { type: "rule", color: "#525252" }, encoding: { x: { datum: 1 } } }]
  })
}

const figures = [["CPU of a message, us", "cpu"], ["p99, us", "p99"], ["resident, MiB", "resident"]] as const

/** What more connections do to the cost of a message, to its time and to memory. */
export const growth = (all: ReadonlyArray<Measured>): Promise<string> => {
  const values = all.filter(isGrowth).flatMap(({ cell, rows }) =>
    rows.map(({ contender, figures }) => ({
      connections: cell.load.connections,
      contender,
      cpu: 1e6 / figures["rate"]!.median,
      p99: figures["p99"]!.median,
      resident: figures["resident"]!.median
    }))
  )
  const scale = seriesOf(new Set(values.map(({ contender }) => contender)))
  return render({
    title: "125 B, one in flight, as connections become more",
    background: "white",
    data: { values },
    hconcat: figures.map(([title, field]) => ({
      width: 220,
      mark: { type: "line", point: true } as const,
      encoding: {
        x: {
          field: "connections",
          type: "quantitative",
          scale: { type: "log" },
          axis: { values: [100, 1000, 10_000] }
        },
        y: { field, type: "quantitative", title, ...(field === "p99" ? { scale: { type: "log" } } : {}) },
        color: { field: "contender", type: "nominal", scale, title: null, legend: { labelLimit: 300 } }
      }
    }))
  })
}
