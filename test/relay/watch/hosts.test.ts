// Hosts of some layers answer for these alone: with the layers they hold and the rows they were given, whoever lied before them.
import { afterEach, expect, test, vi } from 'vitest'
import { disputeIdOf } from '../../../ledger/names.ts'
import { keyOf } from '../../../ledger/records.ts'
import { role } from '../../../ledger/transaction.ts'
import { hex } from '../../../protocol/hash.ts'
import type { Retained } from '../../../protocol/peer/payment.ts'
import type { RetainedClaims } from '../../../relay/watch/agent.ts'
import { type HeldModel, type Mind, ModelMind } from '../../../relay/watch/mind.ts'
import { person } from '../../ledger/world.ts'
import { accusing, playSession } from './session.ts'
import { heldTiny, type Player, Stage } from './stage.ts'

vi.setConfig({ testTimeout: 300_000 })

let stage: Stage
afterEach(() => stage?.close())

const open = async (): Promise<Stage> => {
  stage = await Stage.open({ sessionGraceMs: 10_000 }, undefined, 1, 3)
  for (const name of ['bob', 'cat', 'eve']) await stage.stake(name, role.host)
  return stage
}

/** A mind that holds layers [from, to) and nothing else: whoever asks for more fails. */
function holding(from: number, to: number): Mind {
  const whole = heldTiny(stage.model)
  const { tensors, shards, core } = stage.model.manifest
  const isHere = (index: number): boolean => {
    const { name } = shards[tensors[index].shard]
    const layer = Number(/^layer-(\d+)$/.exec(name)?.[1] ?? Number.NaN)
    return (layer >= from && layer < to) || (name === 'embed' && from === 0) || (name === 'head' && to === core.layers)
  }
  const guard = <T>(index: number, give: () => T): T => {
    if (!isHere(index)) throw new Error(`tensor ${tensors[index].name} is not here`)
    return give()
  }
  const held: HeldModel = {
    manifest: whole.manifest,
    weights: {
      matrix: (tensor, row, chunk) => guard(tensor, () => whole.weights.matrix(tensor, row, chunk)),
      vector: (tensor, index) => guard(tensor, () => whole.weights.vector(tensor, index)),
      open: (tensor, slot) => guard(tensor, () => whole.weights.open(tensor, slot)),
    },
    open: (a, b, threads) => {
      if (a < from || b > to) throw new Error(`layers ${a} to ${b} are not here`)
      return whole.open(a, b, threads)
    },
  }
  return new ModelMind(held)
}

const keeps = (id: Uint8Array, one: Retained): RetainedClaims => ({
  get: (session) => (session === hex(id) ? one : null),
  has: (session) => session === hex(id),
})

const sent = ({ notices }: Player, move: string): boolean => notices.some((one) => one.type === 'sent' && one.move === move)

/** The accuser argues down to one element, the defender shows that it is right, and time does the rest. */
async function defended(id: Uint8Array, host: number, defender: Player): Promise<void> {
  await stage.until(() => sent(defender, 'prove'), 'the last word')
  await stage.until(() => stage.disputeOf(id, host)?.verdict != null, 'the verdict', 60_000)
  expect(stage.disputeOf(id, host)!.verdict).toBe('upheld')
  expectUnrefused(defender)
}

/** Both tell time: the second of them is refused, nothing else is. */
const expectUnrefused = ({ notices }: Player): void =>
  expect(notices.filter(({ type, kind }) => type === 'failed' || (type === 'refused' && kind !== 'dispute.timeout'))).toEqual([])

for (const host of [1, 2])
  test(`host ${host} of three is accused, what it was given was false, and it defends itself with its own layer alone`, async () => {
    await open()
    const { id, retained } = await playSession(stage, 0, [host])
    const name = ['bob', 'cat', 'eve'][host]
    const before = stage.wealth(name)
    const defender = stage.play(name, { share: null, mind: holding(host, host + 1), retained: keeps(id, retained[host]) })
    // The griefer has the whole model; the rows that entered it cannot know, so it argues from the true ones.
    stage.play('dan', { share: 1, mind: accusing(stage.mind), only: `${hex(id)}/${host}` })
    await defended(id, host, defender)
    await stage.block()
    expect(stage.wealth(name)).toBeGreaterThanOrEqual(before - 200_000n)
    expect(stage.account('dan').balance).toBeLessThan(10_000_000_000n)
  })

test('a first host defends itself with its own layer and the tokens', async () => {
  await open()
  const { id, retained } = await playSession(stage, null, [0])
  const defender = stage.play('bob', { share: null, mind: holding(0, 1), retained: keeps(id, retained[0]) })
  stage.play('dan', { share: 1, mind: accusing(stage.mind), only: `${hex(id)}/0` })
  // The accuser knows that it has nothing to deny: it is silent from here on.
  await stage.until(() => sent(defender, 'expand'), 'the steps of the unit')
  expectUnrefused(defender)
})

/** FramingUpstream: the ring's first host lied and is gone, the second one was a tab that is closed, and the requester accuses it of what came out. */
async function framed(): Promise<Uint8Array> {
  await open()
  const { id } = await playSession(stage, 0, [0, 1])
  return id
}
const accuse = (id: Uint8Array, host: number): Player => stage.play('ann', { share: 1, mind: accusing(stage.mind), only: `${hex(id)}/${host}` })
const verdictOf = (id: Uint8Array, host: number) => stage.disputeOf(id, host)?.verdict ?? null
const lockedOf = (id: Uint8Array, host: number): bigint => stage.node.get(keyOf.session(id))!.hosts[host].locked

test('a host that is gone is not to blame for what an earlier one did: its dispute waits, and is void when that one has fallen', async () => {
  const id = await framed()
  const before = { cat: stage.wealth('cat'), dan: stage.wealth('dan') }
  await stage.until(() => !stage.node.get(keyOf.session(id))!.open, 'the end of the session')
  const locked = lockedOf(id, 1)
  expect(locked).toBeGreaterThan(0n)
  accuse(id, 1)
  const watcher = stage.play('dan', { share: 1 })
  await stage.until(() => verdictOf(id, 1) !== null, 'the verdict')
  expect([verdictOf(id, 0), verdictOf(id, 1)]).toEqual(['fallen', 'void'])
  expect(lockedOf(id, 1)).toBe(locked)
  await stage.until(() => stage.node.get(keyOf.session(id))?.paid ?? true, 'the pay', 60_000)
  await stage.block()
  expect(stage.wealth('cat')).toBeGreaterThanOrEqual(before.cat)
  expect(stage.wealth('dan')).toBeGreaterThan(before.dan)
  // Its own trace of the second host is not what that host did: it puts up no root that it could not answer for.
  expect(watcher.notices.filter(({ type, move }) => type === 'sent' && move === 'defend')).toEqual([])
  expect(watcher.notices.filter(({ type, kind }) => type === 'refused' && kind !== 'dispute.timeout')).toEqual([])
})

test('who is accused in the last moment has time to be cleared: an earlier host may be accused for as long as defences may come', async () => {
  const id = await framed()
  await stage.until(() => !stage.node.get(keyOf.session(id))!.open, 'the end of the session')
  const { finalMs } = stage.node.get(keyOf.session(id))!
  // Sleeps until it is nearly too late.
  while (stage.nowMs < finalMs - 30_000) {
    await stage.poke()
    await stage.block(9000)
  }
  accuse(id, 1)
  await stage.until(() => stage.disputeOf(id, 1) !== undefined, 'the accusation')
  while (stage.nowMs < finalMs + 30_000) {
    await stage.poke()
    await stage.block()
  }
  expect(verdictOf(id, 1)).toBe(null)
  stage.play('dan', { share: 0 })
  // Whoever asks for the verdict meanwhile is told to wait.
  const told: string[] = []
  while (verdictOf(id, 1) === null) {
    const asked = stage.client().submit(person('eve').secret, { kind: 'dispute.timeout', dispute: disputeIdOf(id, 1) })
    await asked.catch((error: Error) => told.push(error.message))
    await stage.poke()
    await stage.block()
  }
  expect(told.filter((message) => message.includes('an earlier host of the session is in dispute')).length).toBeGreaterThan(0)
  expect([verdictOf(id, 0), verdictOf(id, 1)]).toEqual(['fallen', 'void'])
})

test('where nobody looks the closed tab falls: what clears it is one honest watcher', async () => {
  const id = await framed()
  accuse(id, 1)
  await stage.until(() => verdictOf(id, 1) !== null, 'the verdict')
  expect([verdictOf(id, 0), verdictOf(id, 1)]).toEqual([null, 'fallen'])
})

test('a host that invents its input is told, and so is the one before it: each claim is true by itself', async () => {
  await open()
  const { id } = await playSession(stage, null, [0, 1], 1)
  const watcher = stage.play('dan', { share: 1 })
  const checked = () => watcher.notices.filter(({ type }) => type === 'checked').map(({ host, verdict }) => [host, verdict])
  await stage.until(() => checked().length === 3, 'the checks')
  expect(checked().sort()).toEqual([
    [0, 'right'],
    [1, 'misled'],
    [2, 'misled'],
  ])
  expect(watcher.notices.filter(({ type }) => type === 'contradiction')).toEqual([{ type: 'contradiction', claim: hex(id), host: 1, position: 3 }])
  expect(watcher.notices.filter(({ type }) => type === 'sent')).toEqual([])
})
