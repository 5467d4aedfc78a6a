import { describe, expect, test } from 'vitest'
import { samplerOf } from '../../../protocol/engine/sampler.ts'
import { decodeMessage, encodeMessage, type Message } from '../../../protocol/peer/messages.ts'
import type { Node } from '../../sim/world.ts'
import { alone, ask, facts, leftovers, lending, mesh, question, start, toyOf } from './mesh.ts'

const thirds: [number, number][] = [
  [0, 2],
  [2, 4],
  [4, 6],
]
const noisy = samplerOf({ temperature: 1.1, topK: 20, topP: 0.9, minP: 0.01, repeatPenalty: 1.2 })

describe('a ring says what one device says alone', () => {
  for (const [name, q] of Object.entries({
    greedy: question(),
    'with noise and a penalty': question({ sampler: noisy, seed: 77 }),
    'up to a stop token': question({ stopIds: [63, 34] }),
    'one token': question({ maxTokens: 1 }),
    'up to the end of the context': question({ prompt: Array.from({ length: 500 }, (_, i) => i % 60), maxTokens: 100 }),
    'after a prompt of one token': question({ prompt: [3] }),
  }))
    test(name, async () => {
      const truth = await alone(q)
      for (const ranges of [[[0, 6]], thirds] as [number, number][][])
        for (const draft of [true, false]) {
          const m = mesh(ranges)
          const got = ask(m, q, { draft })
          expect({ tokens: got.tokens, stop: got.stop, repairs: got.repairs }).toEqual({ ...truth, repairs: 0 })
          expect(got.receipt!.hosts.length).toBe(ranges.length)
          expect(leftovers(m)).toBe(0)
        }
    })
})

describe('guesses', () => {
  const repeating = question({ prompt: Array.from({ length: 60 }, (_, i) => (i % 20) + 1), maxTokens: 100 })

  test('save rounds on text that repeats itself, and change no byte', async () => {
    const truth = await alone(repeating)
    const net = { delayMs: [50, 51] as [number, number] }
    const plain = ask(mesh(thirds, { net }), repeating, { draft: false })
    const guessed = ask(mesh(thirds, { net }), repeating)
    expect(guessed.tokens).toEqual(truth.tokens)
    expect(plain.rounds).toBe(100)
    expect(guessed.rounds).toBeLessThan(75)
    expect(guessed.ms).toBeLessThan(plain.ms * 0.8)
  })
})

describe('a host serves many', () => {
  test('eight sessions at once, batched, each with the bytes it would have had alone', async () => {
    const m = mesh([[0, 6]], { node: () => ({ layerUs: 2000, rowUs: 100 }) })
    const questions = Array.from({ length: 8 }, (_, i) => question({ prompt: [i + 1, 2, 3, i], seed: i, sampler: noisy }))
    const askers = questions.map((_, i) => m.world.add(`asker${i}`))
    m.world.run(40_000, () => askers.every((one) => one.peer.table.size > 0))
    const running = questions.map((q, i) => start(m, q, { asker: askers[i], draft: false }))
    m.world.run(120_000, () => running.every(({ got }) => got.receipt !== null))
    for (const [i, { got }] of running.entries()) expect(got.tokens).toEqual((await alone(questions[i])).tokens)
    const batches = m.hosts[0].notices.flatMap((n) => (n.of === 'host' && n.what === 'computed' ? [n.sessions] : []))
    expect(Math.max(...batches)).toBe(8)
    // 64 tokens of eight sessions in little more than the steps of one.
    const solo = ask(mesh([[0, 6]], { node: () => ({ layerUs: 2000, rowUs: 100 }) }), questions[0], { draft: false })
    const all = Math.max(...running.map(({ got }) => got.ms))
    expect(all).toBeLessThan(solo.ms * 2)
  })

  test('a long prompt costs the others at most a step', async () => {
    const node = () => ({ layerUs: 2000, rowUs: 1000 })
    const m = mesh([[0, 6]], { node })
    const other = m.world.add('other')
    m.world.run(40_000, () => other.peer.table.size > 0)
    const one = start(m, question(), { draft: false })
    m.world.run(60_000, () => one.got.tokens.length >= 10)
    const long = start(m, question({ prompt: Array.from({ length: 400 }, (_, i) => i % 50), maxTokens: 4 }), { asker: other })
    m.world.run(200_000, () => one.got.receipt !== null && long.got.receipt !== null)
    expect(one.got.tokens).toEqual((await alone(question())).tokens)
    expect(one.got.stallMs).toBeLessThan(2 * 150 + 100)
  })

  test('requesters share a busy host evenly, however many questions one of them asks', () => {
    const m = mesh([[0, 6]], { node: () => ({ layerUs: 3000, rowUs: 3000, rowsMax: 2 }) })
    const meek = m.world.add('meek')
    m.world.run(40_000, () => meek.peer.table.size > 0)
    const greedyOnes = Array.from({ length: 4 }, (_, i) => start(m, question({ seed: i }), { draft: false }))
    m.world.run(5000, () => greedyOnes.every(({ got }) => got.tokens.length > 2))
    const one = start(m, question(), { asker: meek, draft: false })
    m.world.run(200_000, () => one.got.receipt !== null)
    // Two rows a batch: one for the meek in nearly every batch, or it would get two of ten.
    const others = greedyOnes.reduce((sum, { got }) => sum + got.tokens.length, 0)
    expect(others).toBeLessThan(64 * 2)
  })

  test('friends go first and find room when others wait', () => {
    const m = mesh([[0, 6]], { node: () => ({ layerUs: 3000 }) })
    const friend = m.world.add('friend')
    const stranger = m.world.add('stranger')
    m.world.step(m.hosts[0], { kind: 'lend', lending: lending(0, 6, { sessionsMax: 1, friends: [friend.key] }) })
    m.world.run(60_000, () => [friend, stranger].every((one) => one.peer.table.all()[0]?.held[0]?.sessionsMax === 1))
    const first = start(m, question())
    m.world.run(5000, () => first.got.tokens.length > 2)
    const second = start(m, question(), { asker: stranger })
    m.world.run(500)
    const third = start(m, question(), { asker: friend })
    m.world.run(100_000, () => [first, second, third].every(({ got }) => got.receipt !== null))
    expect(third.got.ms).toBeLessThan(second.got.ms)
    expect(stranger.notices.some((n) => n.of === 'ask' && n.what === 'queued' && n.place === 1)).toBe(true)
    expect(friend.notices.some((n) => n.of === 'ask' && n.what === 'queued')).toBe(false)
  })

  test('a full host keeps a line, in order of coming', () => {
    const m = mesh([[0, 6]])
    const others = [1, 2, 3].map((i) => m.world.add(`other${i}`))
    m.world.step(m.hosts[0], { kind: 'lend', lending: lending(0, 6, { sessionsMax: 1 }) })
    m.world.run(60_000, () => others.every((one) => one.peer.table.all()[0]?.held[0]?.sessionsMax === 1))
    const order: number[] = []
    const running = [start(m, question())]
    for (const other of others) {
      m.world.run(60)
      running.push(start(m, question({ maxTokens: 20 }), { asker: other }))
    }
    m.world.run(300_000, () => {
      for (const [i, { got }] of running.entries()) if (got.receipt && !order.includes(i)) order.push(i)
      return order.length === 4
    })
    expect(order).toEqual([0, 1, 2, 3])
  })

  test('no requester holds more than half of the places', () => {
    const m = mesh([[0, 6]], { node: () => ({ layerUs: 20_000 }) })
    const running = Array.from({ length: 11 }, (_, i) => start(m, question({ seed: i })))
    m.world.run(3000)
    expect(running.filter(({ got }) => got.tokens.length > 0).length).toBe(8)
    m.world.run(300_000, () => running.every(({ got }) => got.receipt !== null))
    expect(running.every(({ got }) => got.tokens.length === 64)).toBe(true)
  })

  test('a cache that is too small for all sends some elsewhere, and every answer is whole', async () => {
    const m = mesh(
      [
        [0, 6],
        [0, 6],
      ],
      { node: () => ({ positionsMax: 400, layerUs: 1000 }) },
    )
    const q = (seed: number) => question({ prompt: [5, seed], maxTokens: 300, seed })
    const running = [1, 2].map((seed) => start(m, q(seed), { draft: false }))
    m.world.run(300_000, () => running.every(({ got }) => got.receipt !== null || got.failed !== null))
    for (const [i, { got }] of running.entries())
      expect({ failed: got.failed, tokens: got.tokens }).toEqual({ failed: null, tokens: (await alone(q(i + 1))).tokens })
  })
})

describe('coming and going', () => {
  test('a requester that dies frees its hosts within seconds, also when nobody saw it go', () => {
    for (const silently of [false, true]) {
      const m = mesh(thirds, { node: () => ({ layerUs: 20_000 }) })
      const { got, of } = start(m, question())
      m.world.run(20_000, () => got.tokens.length > 3)
      m.world.kill(m.asker, silently)
      of()
      const seated = (): boolean =>
        m.hosts.some(
          (host) =>
            host.notices.filter((n) => n.of === 'host' && n.what === 'opened').length >
            host.notices.filter((n) => n.of === 'host' && n.what === 'closed').length,
        )
      expect(seated()).toBe(true)
      expect(m.world.run(silently ? 11_000 : 4000, () => !seated())).toBe(true)
      expect(leftovers(m)).toBe(0)
    }
  })

  test('cancel stops the hosts at once', () => {
    const m = mesh(thirds)
    const { got, number } = start(m, question({ maxTokens: 400 }))
    m.world.run(5000, () => got.tokens.length > 3)
    m.world.step(m.asker, { kind: 'cancel', ask: number })
    expect(got.failed?.reason).toBe('cancelled')
    m.world.run(1000)
    expect(leftovers(m)).toBe(0)
  })

  for (const command of ['pause', 'drain', 'leave'] as const)
    test(`${command} in the middle of an answer: the words go on`, async () => {
      const truth = await alone(question())
      const m = mesh([...thirds, ...thirds], { node: () => ({ layerUs: 3000 }) })
      const { got } = start(m, question())
      m.world.run(20_000, () => got.tokens.length >= 20)
      const route = m.asker.notices.find((n) => n.of === 'ask' && n.what === 'route')!
      const chain = 'chain' in route ? route.chain : []
      const host = m.hosts.find((one) => one.key === chain[1].peer)!
      m.world.step(host, { kind: command })
      const after = m.world.now
      m.world.run(100_000, () => got.receipt !== null)
      expect(got.tokens).toEqual(truth.tokens)
      expect(got.stallMs).toBeLessThan(1500)
      const state = [...host.notices].reverse().find((n) => n.of === 'host' && n.what === 'state')
      m.world.run(70_000)
      const last = [...host.notices].reverse().find((n) => n.of === 'host' && n.what === 'state')
      if (command === 'pause') expect(state).toMatchObject({ state: 'paused' })
      else expect(last).toMatchObject({ state: 'left', held: [] })
      if (command === 'drain') expect(got.repairs).toBe(0)
      expect(m.world.now).toBeGreaterThan(after)
      // Everybody knows it at once, not when the record runs out.
      expect(m.asker.peer.table.get(host.key)?.held ?? []).toEqual([])
    })

  test('resume after pause serves again', () => {
    const m = mesh([[0, 6]])
    m.world.step(m.hosts[0], { kind: 'pause' })
    m.world.run(3000)
    m.world.step(m.hosts[0], { kind: 'resume' })
    m.world.run(5000)
    expect(ask(m).tokens.length).toBe(64)
  })

  test('an engine that is lost is loaded anew, and the answer goes on elsewhere', async () => {
    const truth = await alone(question())
    const m = mesh([
      [0, 6],
      [0, 6],
    ])
    let broken: Node | null = null
    for (const host of m.hosts)
      host.bend = (action) => {
        if (action.kind !== 'compute' || broken || action.rows[0].position < 30) return [action]
        broken = host
        m.world.after(1, () => m.world.step(host, { kind: 'computeFailed', job: action.job, message: 'the device is lost', lost: true }))
        return []
      }
    const got = ask(m)
    expect(got.tokens).toEqual(truth.tokens)
    m.world.run(10_000)
    expect(m.asker.peer.table.get(broken!.key)?.held[0]?.ready).toBe(true)
  })
})

describe('bad company', () => {
  test('a host that announces layers it does not hold costs a moment', async () => {
    const truth = await alone(question())
    const m = mesh(
      [
        [0, 6],
        [0, 6],
      ],
      { node: (i) => ({ layerUs: i === 0 ? 10 : 2000 }) },
    )
    // The fast one is a liar: its engine was never there.
    m.hosts[0].bend = (action) => (action.kind === 'send' && decodeMessage(action.bytes).kind === 'opened' ? [refusal(action)] : [action])
    const got = ask(m)
    expect(got.tokens).toEqual(truth.tokens)
    expect(got.receipt!.hosts[0].peer).toBe(m.hosts[1].key)
  })

  test('a host that takes a session and then does nothing is replaced', async () => {
    const truth = await alone(question())
    const m = mesh([...thirds, ...thirds])
    const lazy = m.hosts[1]
    lazy.bend = (action) => (action.kind === 'compute' ? [] : [action])
    for (let i = 0; i < 4; i++) {
      const got = ask(m)
      expect(got.tokens).toEqual(truth.tokens)
      expect(got.receipt!.hosts.some((one) => one.peer === lazy.key)).toBe(false)
    }
  })

  test('a host that sends garbage or floods is cut off and replaced', async () => {
    const truth = await alone(question())
    for (const what of ['garbage', 'flood'] as const) {
      const m = mesh([...thirds, ...thirds])
      const bad = m.hosts[1]
      let sent = 0
      bad.bend = (action) => {
        if (action.kind !== 'send' || decodeMessage(action.bytes).kind !== 'rows') return [action]
        if (what === 'garbage') return [{ ...action, bytes: Uint8Array.of(9, 1, 2, 3) }]
        return sent++ > 3 ? [action] : Array.from({ length: 6000 }, () => action)
      }
      const got = ask(m)
      expect(got.tokens).toEqual(truth.tokens)
    }
  })

  test('rows of a wrong shape, for a wrong layer or from a stranger change nothing', async () => {
    const truth = await alone(question())
    const m = mesh(thirds)
    const stranger = m.world.add('stranger')
    m.world.run(50)
    for (const host of m.hosts) m.world.link(stranger, host)
    const bad: ((message: Extract<Message, { kind: 'rows' }>) => void)[] = [
      (r) => (r.boundary = new Int32Array(3)),
      (r) => (r.layer = 1),
      (r) => (r.position = 500),
      (r) => (r.epoch += 1),
      (r) => (r.generation += 5),
      (r) => (r.tokens = [99_999]),
    ]
    m.world.onFrame = (from, to, bytes) => {
      const message = decodeMessage(bytes)
      if (from === stranger || message.kind !== 'rows') return true
      for (const change of bad) {
        const copy = structuredClone(message)
        change(copy)
        m.world.step(to, { kind: 'frame', peer: stranger.key, bytes: encodeMessage(copy) })
      }
      m.world.step(to, { kind: 'frame', peer: stranger.key, bytes })
      return true
    }
    const got = ask(m)
    expect({ tokens: got.tokens, repairs: got.repairs }).toEqual({ tokens: truth.tokens, repairs: 0 })
  })

  test('late words of an older epoch change nothing', async () => {
    const truth = await alone(question())
    const m = mesh([...thirds, ...thirds])
    const old: (() => void)[] = []
    let frames = 0
    m.world.onFrame = (from, to, bytes) => {
      const { kind } = decodeMessage(bytes)
      if (kind === 'rows' || kind === 'tokens' || kind === 'opened' || kind === 'resume')
        old.push(() => m.world.step(to, { kind: 'frame', peer: from.key, bytes }))
      if (++frames === 80 && to !== m.asker) m.world.kill(to)
      if (frames > 100 && frames % 3 === 0) old[(frames * 7) % old.length]()
      return true
    }
    const got = ask(m)
    expect(got.tokens).toEqual(truth.tokens)
  })

  test('a question that no host can take fails with a reason', () => {
    const m = mesh([[0, 3]])
    expect(ask(m).failed).toMatchObject({ reason: 'nobody' })
    expect(ask(m, question({ prompt: [] })).failed).toMatchObject({ reason: 'input' })
    expect(ask(m, question({ prompt: [64] })).failed).toMatchObject({ reason: 'input' })
  })

  test('two hosts that disagree about a token end the answer with the reason', () => {
    const m = mesh([...thirds, [4, 6]])
    const { got } = start(m, question(), { draft: false })
    const lie = (host: Node): void => {
      const engine = toyOf(host)
      const honest = engine.compute.bind(engine)
      engine.compute = (rows, wants, boundary) => {
        const result = honest(rows, wants, boundary)
        for (const [r, row] of rows.entries()) if (row.position === 12) result.logits[r]?.fill(1 << 24, 61, 62)
        return result
      }
    }
    const route = m.asker.notices.find((n) => n.of === 'ask' && n.what === 'route')!
    const last = m.hosts.find((host) => 'chain' in route && host.key === route.chain[2].peer)!
    lie(last)
    m.world.run(20_000, () => got.tokens.length >= 20)
    m.world.kill(last)
    m.world.run(60_000, () => got.receipt !== null || got.failed !== null)
    expect(got.failed).toMatchObject({ reason: 'differs' })
  })
})

test('a private group serves its members and nobody else', () => {
  const invitation = new TextEncoder().encode('meadow in may')
  const m = mesh([[0, 6]], { node: () => ({ invitation }), wait: false })
  const member = m.world.add('member', { invitation })
  const other = m.world.add('wrong', { invitation: new TextEncoder().encode('meadow in june') })
  m.world.run(60_000, () => member.peer.table.size > 0)
  expect(m.asker.peer.table.size + other.peer.table.size).toBe(0)
  expect(ask(m, question(), { asker: member }).tokens.length).toBe(64)
  // Knowing the address is not enough: the hello is refused.
  for (const one of [m.asker, other]) {
    m.world.link(one, m.hosts[0])
    m.world.run(1000)
    expect(one.peer.connected).toEqual([])
  }
})

function refusal(action: { kind: 'send'; peer: string; bytes: Uint8Array }) {
  const message = decodeMessage(action.bytes) as Extract<Message, { kind: 'opened' }>
  const { session, epoch } = message
  return { ...action, bytes: encodeMessage({ kind: 'refused', session, epoch, why: 'notHeld', peer: null, place: 0, waitMs: 0, message: 'not here' }) }
}

test('one peer asks its own host', async () => {
  const m = mesh([[0, 6]])
  const got = ask(m, question(), { asker: m.hosts[0] })
  expect(got.tokens).toEqual((await alone(question())).tokens)
  expect(got.receipt!.hosts[0].peer).toBe(m.hosts[0].key)
})

test('facts say what a session cost', () => {
  const m = mesh(thirds)
  ask(m)
  const closed = m.hosts.map((host) => host.notices.find((n) => n.of === 'host' && n.what === 'closed'))
  expect(closed.every((n) => n && 'rows' in n && n.rows >= 72 && n.why === 'answered')).toBe(true)
  expect(facts.layers).toBe(6)
})
