// A ledger's life from one seed: requesters, hosts, auditors, and cheats of every kind at once; every invariant after every block. First anything may happen, then the
// honest must be able to finish everything they began. The same seed tells the same story and ends with the same hash.
//   node test/sim/ledger.ts 42          one seed, with its story
//   node test/sim/ledger.ts 1 --count 2000   many seeds, quietly
import { createHash } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { formatAmount } from '../../ledger/amount.ts'
import { Chain } from '../../ledger/chain.ts'
import { checkAll } from '../../ledger/invariants.ts'
import { keyOf } from '../../ledger/records.ts'
import { State } from '../../ledger/state.ts'
import { random } from '../../protocol/engine/specimen.ts'
import { equalBytes, hex } from '../../protocol/hash.ts'
import { credit } from '../ledger/world.ts'
import { cheats, honest, SimWorld } from './ledger-actors.ts'
import { disputeLie } from './ledger-liar.ts'

export interface SimResult {
  seed: number
  blocks: number
  transactions: number
  /** Attempts of cheats that were refused, by what they were. */
  foiled: Record<string, number>
  /** SHA-256 over every root in order. */
  hash: string
  story: string[]
}

/** ms between blocks: mostly a second, now and then long enough for windows to close. */
const pauses = [1000, 1000, 1000, 2000, 60_000, 600_000, 3_600_000]

function act(world: SimWorld): void {
  world.begin()
  for (const name of honest.requesters) {
    if (world.chance(20)) world.createJob(name)
    if (world.chance(30)) world.openSession(name, world.chance(50) ? [world.pick(honest.hosts)] : [honest.hosts[0], honest.hosts[1]])
  }
  for (const name of honest.hosts) {
    for (const job of [...world.jobs]) {
      if (world.chance(30)) world.commit(name, job)
      if (world.chance(60)) world.reveal(name, job)
    }
  }
  for (const session of [...world.sessions]) if (world.chance(50)) world.continueSession(session)
  for (const name of honest.auditors) world.audit(name)
  world.claimPaid()
  for (const name of cheats) if (world.chance(25)) world.cheat(name)
}

/** A crash: the state as it lies on disk is read again, and must be the same state. */
function crash(world: SimWorld): void {
  const restored = State.restore(world.chain.state.sealedEntries().toReversed())
  if (!equalBytes(restored.root(), world.chain.state.root())) throw new Error('a restored state has another root')
  world.replaceChain(new Chain(world.name, restored))
}

/** With `lie`, a real answer of a tiny model is altered and disputed to its end (ledger-liar.ts). */
export async function simulate(seed: number, rounds = 60, lie = false): Promise<SimResult> {
  const world = new SimWorld(random(seed))
  const roots = createHash('sha256')
  let blocks = 0
  const block = (ms: number): void => {
    roots.update(world.block(ms))
    blocks++
  }
  world.start()
  const stakes = new Map(honest.hosts.map((name) => [name, world.account(name).stake]))
  const auditorStakes = new Map(honest.auditors.map((name) => [name, world.account(name).stake]))
  const dealt = world.wealth('dealer', 'dealerHost')
  const lazy = world.account('lazyAuditor').stake
  for (let round = 0; round < rounds; round++) {
    act(world)
    block(world.pick(pauses))
    if (world.chance(5)) crash(world)
  }
  world.tell(
    `safety phase over: ${world.accepted} transactions accepted, ${[...world.foiled.values()].reduce((sum, n) => sum + n, 0)} attempts of cheats refused`,
  )

  if (lie) await disputeLie(world, block)

  // Liveness: nobody begins anything new; auditors audit, hosts are paid, windows close.
  // By the hour while audits run, then in strides: the longest things left are sessions whose vouchers expire and windows that begin again.
  for (let step = 0; step < 40; step++) {
    world.begin()
    for (const name of honest.hosts) for (const job of [...world.jobs]) world.reveal(name, job)
    for (const name of honest.auditors) world.audit(name)
    world.claimPaid()
    block(step < 16 ? 3_600_000 : 8 * 3_600_000)
    while (world.chain.isDue(world.timeMs)) block(1000)
    if (step % 20 === 0) crash(world)
  }
  const left = world.chain.state.entries().map(([key]) => key.split('/')[0])
  for (const kind of ['job', 'claim', 'commit', 'session', 'work']) if (left.includes(kind)) throw new Error(`seed ${seed}: a ${kind} was never finished`)
  const sums = checkAll(world.chain.state)
  for (const [name, stake] of stakes)
    if (world.account(name).stake !== stake || world.account(name).locked !== 0n) throw new Error(`seed ${seed}: ${name} lost stake`)
  for (const [name, stake] of auditorStakes) {
    // An honest auditor asleep for an hour may miss an audit, and is fined for that only.
    const missed = world.chain.state.get(keyOf.reputation(world.who(name).id))?.missed ?? 0
    if (world.account(name).stake !== stake - BigInt(missed) * world.chain.parameters.auditMissPenalty) throw new Error(`seed ${seed}: ${name} lost stake`)
  }
  const profit = world.wealth('dealer', 'dealerHost') - dealt
  if (profit > 0n) throw new Error(`seed ${seed}: dealing with oneself earned ${profit} µ`)
  if (sums.emitted > sums.burned) throw new Error(`seed ${seed}: more was minted than burned`)
  const paid = (name: string): string => formatAmount(world.wealth(name) - 1000n * credit)
  world.tell('liveness phase over: every job and session is finished, everybody is paid')
  for (const name of honest.hosts) world.tell(`${name} earned ${paid(name)}`)
  world.tell(`dealer paid itself and lost ${formatAmount(-profit)}`)
  world.tell(`lazyAuditor was fined ${formatAmount(lazy - world.account('lazyAuditor').stake)}`)
  world.tell(`burned ${formatAmount(sums.burned)}, emitted ${formatAmount(sums.emitted)}, conserved to the µ`)
  return { seed, blocks, transactions: world.accepted, foiled: Object.fromEntries([...world.foiled].sort()), hash: roots.digest('hex'), story: world.story }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { count: { type: 'string' }, json: { type: 'boolean' } } })
  const first = Number(positionals[0] ?? 42)
  if (values.count === undefined) {
    const result = await simulate(first, 60, true)
    if (values.json) console.log(JSON.stringify(result))
    else console.log([...result.story, `hash ${result.hash}`].join('\n'))
  } else {
    const began = performance.now()
    const all = createHash('sha256')
    for (let seed = first; seed < first + Number(values.count); seed++) all.update((await simulate(seed, 60, seed % 20 === 0)).hash)
    console.log(JSON.stringify({ seeds: Number(values.count), seconds: Math.round((performance.now() - began) / 1000), hash: hex(all.digest()) }))
  }
}
