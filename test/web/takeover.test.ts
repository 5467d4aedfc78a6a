// The swarm finishing what this device began: whoever is ahead is shown, the tokens are the same whatever the order in which they come.
import { expect, test } from 'vitest'
import { takeOver } from '../../web/chat/takeover.ts'
import type { SwarmEvent } from '../../web/peer/swarm-answer.ts'
import type { AnswerStats, AskEvent } from '../../web/workers/messages.ts'

const answer = [5, 6, 7, 8, 9, 10, 11, 12]
const stats = (backend: string) => ({ backend }) as AnswerStats

/** A source of tokens that waits for the test before each. */
function source(backend: string, tokens: number[], failAt = -1) {
  let release: (() => void) | null = null
  let credit = 0
  let from = -1
  const turn = (signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason)
      if (credit > 0) {
        credit--
        return resolve()
      }
      release = resolve
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    })
  return {
    get startedFrom() {
      return from
    },
    let(count: number) {
      credit += count
      while (credit > 0 && release) {
        credit--
        const waiting = release
        release = null
        waiting()
      }
    },
    async *run(signal: AbortSignal, made: number[] = []): AsyncGenerator<AskEvent> {
      from = made.length
      for (let at = made.length; at < tokens.length; at++) {
        await turn(signal)
        if (at === failAt) throw new Error(`${backend} failed`)
        yield { id: 0, kind: 'token', token: tokens[at], text: `${tokens[at]} ` }
      }
      await turn(signal)
      yield { id: 0, kind: 'answered', text: tokens.join(' '), stats: stats(backend) }
    },
  }
}

/** Everything here runs on promises alone: when so many turns bring nothing new, nothing will come before the next move. */
const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 200; turn++) await null
}

async function play(
  local: ReturnType<typeof source>,
  swarm: ReturnType<typeof source>,
  moves: (() => void)[],
  options: { worth?: (tokens: number) => boolean; signal?: AbortSignal } = {},
): Promise<{ tokens: number[]; by: string; differences: number[]; error: string }> {
  const tokens: number[] = []
  const differences: number[] = []
  let by = ''
  let error = ''
  const reading = (async () => {
    const events: AsyncGenerator<SwarmEvent> = takeOver(
      { local: local.run, swarm: swarm.run, isWorthIt: options.worth ?? ((count) => count >= 2), onDifference: (at) => differences.push(at) },
      options.signal ?? new AbortController().signal,
    )
    for await (const event of events) {
      if (event.kind === 'token') tokens.push(event.token)
      if (event.kind === 'answered') by = event.stats.backend
    }
  })().catch((reason: Error) => {
    error = reason.message
  })
  for (const move of moves) {
    await settled()
    move()
  }
  await reading
  return { tokens, by, differences, error }
}

test('a swarm that overtakes this device finishes the answer, with no token twice or missing', async () => {
  const [local, swarm] = [source('wasm', answer), source('swarm', answer)]
  const result = await play(local, swarm, [() => local.let(4), () => swarm.let(3), () => swarm.let(6)])
  expect(result).toEqual({ tokens: answer, by: 'swarm', differences: [], error: '' })
})

test('a swarm that never catches up changes nothing', async () => {
  const [local, swarm] = [source('wasm', answer), source('swarm', answer)]
  const result = await play(local, swarm, [() => local.let(4), () => swarm.let(1), () => local.let(5)])
  expect(result).toEqual({ tokens: answer, by: 'wasm', differences: [], error: '' })
})

test('a swarm that is not worth it is not asked', async () => {
  const [local, swarm] = [source('wasm', answer), source('swarm', answer)]
  await play(local, swarm, [() => local.let(9)], { worth: () => false })
  expect(swarm.startedFrom).toBe(-1)
})

test('when the swarm breaks off after taking over, this device goes on from there', async () => {
  const [local, swarm] = [source('wasm', answer), source('swarm', answer, 6)]
  const result = await play(local, swarm, [() => local.let(3), () => swarm.let(7), () => local.let(3)])
  expect(result).toEqual({ tokens: answer, by: 'wasm', differences: [], error: '' })
  expect(local.startedFrom).toBe(6)
})

test('a swarm that gives another token is noticed at its position, and this device goes on alone', async () => {
  const [local, swarm] = [source('wasm', answer), source('swarm', [5, 6, 99, 8, 9, 10, 11, 12])]
  const result = await play(local, swarm, [() => local.let(4), () => swarm.let(9), () => local.let(5)])
  expect(result).toEqual({ tokens: answer, by: 'wasm', differences: [2], error: '' })
})

test('stopping stops both', async () => {
  const stop = new AbortController()
  const [local, swarm] = [source('wasm', answer), source('swarm', answer)]
  const result = await play(local, swarm, [() => local.let(3), () => swarm.let(1), () => stop.abort(new Error('stopped'))], { signal: stop.signal })
  expect(result).toEqual({ tokens: answer.slice(0, 3), by: '', differences: [], error: 'stopped' })
})
