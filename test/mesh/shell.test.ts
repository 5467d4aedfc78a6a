import { expect, test } from 'vitest'
import type { Network, NetworkEvent } from '../../mesh/network.ts'
import { createShell, type Engines } from '../../mesh/shell.ts'
import { EngineError } from '../../protocol/engine/engine.ts'
import type { PeerAction, PeerEvent } from '../../protocol/peer/machine.ts'

/** A shell around a machine that does what the test says, a network that writes down what it is told, and a clock that stands. */
function stage(engines: Partial<Engines> = {}) {
  const events: PeerEvent[] = []
  const told: string[] = []
  let answer: (event: PeerEvent) => PeerAction[] = () => []
  let listener: (event: NetworkEvent) => void = () => {}
  let nowMs = 0
  const wakes: { at: number; work: () => void; forgotten: boolean }[] = []
  const network = {
    self: 'me',
    network: 'main',
    connect: (peer: string) => told.push(`connect ${peer}`),
    disconnect: (peer: string) => told.push(`disconnect ${peer}`),
    send: (peer: string, bytes: Uint8Array) => told.push(`send ${peer} ${bytes.length}`) > 0,
    publish: (bytes: Uint8Array) => told.push(`publish ${bytes.length}`),
    addresses: () => ['/here'],
    peers: () => ['friend'],
    subscribe(one: (event: NetworkEvent) => void) {
      listener = one
      return () => {
        listener = () => {}
      }
    },
    flush: async () => void told.push('flush'),
  } as unknown as Network
  const errors: unknown[] = []
  const shell = createShell({
    network,
    machine: {
      step(event) {
        events.push(event)
        return answer(event)
      },
    },
    engines: {
      load: async () => Promise.reject(new Error('no')),
      unload: async () => {},
      compute: async () => Promise.reject(new Error('no')),
      truncate: () => {},
      ...engines,
    },
    clock: {
      now: () => nowMs,
      at(at, work) {
        const wake = { at, work, forgotten: false }
        wakes.push(wake)
        return () => {
          wake.forgotten = true
        }
      },
    },
    onError: (error) => errors.push(error),
  })
  return {
    shell,
    events,
    told,
    errors,
    wakes,
    on(next: typeof answer) {
      answer = next
    },
    hear: (event: NetworkEvent) => listener(event),
    tick(to: number) {
      nowMs = to
    },
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve))

test('a machine that joins a running network learns its addresses and who is connected', () => {
  const { events } = stage()
  expect(events).toEqual([{ kind: 'addresses', addresses: ['/here'] }, { kind: 'connected', peer: 'friend', direct: true }, { kind: 'timer' }])
})

test('an effect that has its result at once does not step the machine inside a step', () => {
  const { shell, events, on, hear } = stage()
  let depth = 0
  let deepest = 0
  on((event) => {
    depth++
    deepest = Math.max(deepest, depth)
    if (event.kind === 'pause') hear({ kind: 'disconnected', peer: 'friend' })
    depth--
    return event.kind === 'disconnected' ? [{ kind: 'disconnect', peer: event.peer }] : []
  })
  shell.command({ kind: 'pause' })
  expect(deepest).toBe(1)
  expect(events.slice(-2)).toEqual([{ kind: 'pause' }, { kind: 'disconnected', peer: 'friend' }])
})

test('only the last wake counts', () => {
  const { shell, on, wakes, events } = stage()
  on((event) =>
    event.kind === 'pause'
      ? [
          { kind: 'wake', at: 10 },
          { kind: 'wake', at: 5 },
        ]
      : [],
  )
  shell.command({ kind: 'pause' })
  expect(wakes.map(({ at, forgotten }) => [at, forgotten])).toEqual([
    [10, true],
    [5, false],
  ])
  wakes[1]!.work()
  expect(events.at(-1)).toEqual({ kind: 'timer' })
})

test('a computation becomes one event, and a lost device says that it is lost', async () => {
  const { shell, on, events } = stage({
    compute: async (_id, rows) => {
      if (rows.length === 0) throw new EngineError('the device is gone', 'lost')
      return { boundary: null, tokens: rows.map(() => 7) }
    },
  })
  const job = (job: number, count: number): PeerAction => ({
    kind: 'compute',
    job,
    modelId: 'm',
    rows: Array.from({ length: count }, (_, position) => ({ sequence: 0, position, token: 1 })),
    wants: [],
    boundary: null,
  })
  on((event) => (event.kind === 'pause' ? [job(1, 2), job(2, 0)] : []))
  shell.command({ kind: 'pause' })
  await settle()
  expect(events.slice(-2)).toEqual([
    { kind: 'computed', job: 1, boundary: null, tokens: [7, 7] },
    { kind: 'computeFailed', job: 2, message: 'the device is gone', lost: true },
  ])
})

test('a load that was replaced says nothing any more', async () => {
  const finish: (() => void)[] = []
  const { shell, on, events } = stage({
    load: (_id, segment) => new Promise((resolve) => finish.push(() => resolve({ segment, rowsMax: 1, positionsMax: 1, stepMs: null }))),
  })
  on((event) =>
    event.kind === 'pause'
      ? [{ kind: 'load', modelId: 'm', segment: { from: 0, to: 1 } }]
      : event.kind === 'resume'
        ? [{ kind: 'load', modelId: 'm', segment: { from: 1, to: 2 } }]
        : [],
  )
  shell.command({ kind: 'pause' })
  shell.command({ kind: 'resume' })
  for (const one of finish) one()
  await settle()
  expect(events.filter((event) => event.kind === 'loaded')).toMatchObject([{ segment: { from: 1, to: 2 } }])
})

test('a mistake inside a step is told and the peer goes on', () => {
  const { shell, on, errors, events } = stage()
  on((event) => {
    if (event.kind === 'pause') throw new Error('a mistake')
    return []
  })
  shell.command({ kind: 'pause' })
  shell.command({ kind: 'resume' })
  expect(errors).toMatchObject([{ message: 'a mistake' }])
  expect(events.at(-1)).toEqual({ kind: 'resume' })
})

test('leaving sends what the machine says last, waits until it is written, and steps no more', async () => {
  const { shell, on, told, events, hear, wakes } = stage()
  on((event) =>
    event.kind === 'leave'
      ? [
          { kind: 'publish', bytes: new Uint8Array(9) },
          { kind: 'wake', at: 99 },
        ]
      : [],
  )
  await shell.leave()
  expect(told).toEqual(['publish 9', 'flush'])
  const count = events.length
  hear({ kind: 'disconnected', peer: 'friend' })
  shell.command({ kind: 'pause' })
  expect(events).toHaveLength(count)
  expect(wakes.at(-1)).toMatchObject({ at: 99, forgotten: true })
})
