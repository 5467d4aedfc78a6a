// `meadow swarm`: what the mesh of a relay holds, as the relay knows it.
import { z } from 'zod'
import { command, printJson } from '../cli.ts'
import { messageOf, RelayError } from '../errors.ts'
import { relayUrl } from '../mesh/address.ts'
import { formatBytes } from '../progress.ts'
import { jsonOption, relayOption } from './options.ts'

/** What this command shows; the JSON is passed on as it came. */
const table = z.looseObject({
  network: z.string(),
  peers: z.number(),
  hosts: z.number(),
  models: z.array(
    z.looseObject({
      id: z.string(),
      title: z.string(),
      layers: z.number(),
      coverage: z.array(z.number()),
      holes: z.array(z.tuple([z.number(), z.number()])),
      bytesMissing: z.number(),
      runnable: z.boolean(),
      slotsFree: z.number(),
      tokensPerSecond: z.number().nullable(),
      hosts: z.array(
        z.looseObject({ peer: z.string(), from: z.number(), to: z.number(), state: z.string(), tokensPerSecond: z.number().nullable(), load: z.number() }),
      ),
    }),
  ),
})

export const swarm = command({
  meta: { name: 'swarm', description: 'Show which layers of which models the mesh holds' },
  args: { relay: relayOption, json: jsonOption },
  async run({ args }) {
    const relay = relayUrl(args.relay)
    const response = await fetch(new URL('/swarm', relay), { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(10_000) }).catch((error) => {
      throw new RelayError(`The relay at ${relay.origin} cannot be reached: ${messageOf(error)}. Is it running (\`npm start\`), or elsewhere (--relay)?`)
    })
    const parsed = table.safeParse(await response.json().catch(() => null))
    if (!response.ok || !parsed.success) throw new RelayError(`${relay.origin} does not tell of a swarm: it is no relay, or one of another version.`)
    if (args.json) return printJson(parsed.data)
    process.stdout.write(describe(parsed.data))
  },
})

const bars = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']

function describe({ network, peers, hosts, models }: z.infer<typeof table>): string {
  const lines = [`${network === 'main' ? 'The open mesh' : `Group ${network.slice(0, 12)}`}: ${peers} peers, ${hosts} of them hosts.`]
  for (const model of models) {
    lines.push('', `${model.title} (${model.id.slice(0, 12)}), ${model.layers} layers`)
    // One character per layer: how many hosts serve it.
    lines.push(`  [${model.coverage.map((count) => (count === 0 ? '·' : bars[Math.min(8, count)])).join('')}]`)
    const speed = model.tokensPerSecond === null ? '' : `, about ${Math.round(model.tokensPerSecond)} tokens/s of compute`
    if (model.runnable) lines.push(`  can run: ${model.slotsFree} answers could begin now${speed}`)
    else
      lines.push(
        `  cannot run: nobody serves layers ${model.holes.map(([from, to]) => (to - from === 1 ? from : `${from}–${to - 1}`)).join(', ')}; ${formatBytes(model.bytesMissing)} more are needed`,
      )
    for (const host of model.hosts)
      lines.push(
        `  ${host.peer.slice(0, 12)}  layers ${`${host.from}–${host.to - 1}`.padEnd(7)} ${host.state.padEnd(8)} ${host.tokensPerSecond === null ? '' : `${Math.round(host.tokensPerSecond)} rows/s`}  ${Math.round(host.load * 100)} % busy`,
      )
  }
  return `${lines.join('\n')}\n`
}
