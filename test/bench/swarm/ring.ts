// A ring of three Node hosts: what a hop costs on loopback, how near 50 ms a hop come to what distance allows, and what guessing ahead gains on texts that repeat.
import { atLeast, atMost, type Bar } from '../bars/bar.ts'
import { delayProxy, freePort } from './delay-proxy.ts'
import { type Answered, alone, answer, ask, type BenchModel, median, startFleet } from './fleet.ts'

type Say = (line: string) => void

const story = 'Write a long story about a fox and a crow.'
const sea =
  'The sea is wide and the sea is deep. The ships go out in the morning and the ships come home in the evening. Every ship has a captain, and every captain has a map of the sea. The map shows the islands, the rocks and the harbours. A good captain reads the map before the ship goes out.'
const items = `const items = [
  { id: 1, name: 'apple', price: 10 },
  { id: 2, name: 'banana', price: 20 },
  { id: 3, name: 'cherry', price: 30 },
  { id: 4, name: 'date', price: 40 },
]`
/** A summary, a correction, an edit of code: texts whose answers repeat their prompts. */
const repeating = [
  `Summarize this text:\n\n${sea}`,
  `Write this text again and fix the spelling:\n\n${sea}`,
  `Translate this JavaScript to Python:\n\n${items}`,
]

const thirds = (layers: number): [number, number][] => [0, 1, 2].map((i) => [Math.round((layers * i) / 3), Math.round((layers * (i + 1)) / 3)])

const computeOf = (round: Answered['rounds'][number]): number => round.hops.reduce((sum, hop) => sum + hop.computeMs, 0)

export async function ringBars(model: BenchModel, say: Say): Promise<Bar[]> {
  const fleet = await startFleet(model)
  try {
    const hosts = await Promise.all(thirds(model.facts.layers).map(([from, to]) => fleet.host(from, to)))
    const peer = await fleet.requester(3)
    const question = ask(model, story, 96)
    await answer(peer, { ...question, maxTokens: 8 }, model.facts, false)
    const result = await answer(peer, question, model.facts, false)
    const rounds = result.rounds.slice(4)
    const overhead = rounds.map((round) => (round.roundMs - computeOf(round)) / hosts.length)
    say(
      `loopback: ${rounds.length} rounds, ${median(rounds.map((round) => round.roundMs)).toFixed(1)} ms a round, ${median(rounds.map(computeOf)).toFixed(1)} ms of it compute`,
    )
    const equal = JSON.stringify(result.tokens) === JSON.stringify(await alone(model, question))
    return [
      atMost('ring overhead per hop over compute, loopback, p50', median(overhead), 'ms', 2),
      atLeast('answer of the ring equals that of one machine', equal ? 1 : 0, 'of 1', 1),
    ]
  } finally {
    await fleet.close()
  }
}

const delayMs = 50

export async function delayBars(model: BenchModel, say: Say): Promise<Bar[]> {
  const fleet = await startFleet(model)
  const proxies: { close(): void }[] = []
  try {
    const ranges = thirds(model.facts.layers)
    for (const [i, [from, to]] of ranges.entries()) {
      const port = await freePort()
      const proxy = await delayProxy(port, delayMs, 0, i + 1)
      proxies.push(proxy)
      await fleet.host(from, to, { listen: [`/ip4/127.0.0.1/tcp/${port}/ws`], announce: [`/ip4/127.0.0.1/tcp/${proxy.port}/ws`] })
    }
    const peer = await fleet.requester(3)
    const plainQuestion = ask(model, story, 40)
    await answer(peer, { ...plainQuestion, maxTokens: 4 }, model.facts, false)
    const plain = await answer(peer, plainQuestion, model.facts, false)
    const compute = median(plain.rounds.slice(2).map(computeOf))
    const limit = 1000 / (compute + ranges.length * delayMs)
    const plainRate = ((plain.tokens.length - 1) / plain.decodeMs) * 1000
    let guessedMs = 0
    let guessedTokens = 0
    let rounds = 0
    let equal = true
    for (const text of repeating) {
      const question = ask(model, text, 120)
      const guessed = await answer(peer, question, model.facts, true)
      guessedMs += guessed.decodeMs
      guessedTokens += guessed.tokens.length - 1
      rounds += guessed.rounds.length
      equal &&= JSON.stringify(guessed.tokens) === JSON.stringify(await alone(model, question))
    }
    const guessedRate = (guessedTokens / guessedMs) * 1000
    say(
      `50 ms a hop: limit ${limit.toFixed(2)} tokens/s (compute ${compute.toFixed(1)} ms), without guesses ${plainRate.toFixed(2)}, with guesses ${guessedRate.toFixed(2)} (${rounds} rounds for ${guessedTokens} tokens)`,
    )
    return [
      atLeast('3 hosts, 50 ms a hop, without speculation, share of the physical limit', plainRate / limit, 'share', 0.9),
      atLeast('3 hosts, 50 ms a hop, with speculation on repeating text, over the limit', guessedRate / limit, 'ratio', 1.6),
      atLeast('the guessed answers equal those of one machine', equal ? 1 : 0, 'of 1', 1),
    ]
  } finally {
    for (const proxy of proxies) proxy.close()
    await fleet.close()
  }
}

export async function sessionBars(model: BenchModel, say: Say): Promise<Bar[]> {
  const fleet = await startFleet(model)
  try {
    const host = await fleet.host(0, model.facts.layers, { threads: 2 })
    const peer = await fleet.requester(1)
    const questions = ['a fox', 'a crow', 'the sea', 'a clock', 'winter', 'bread', 'a train', 'the moon'].map((what) =>
      ask(model, `Write a long story about ${what}.`, 96),
    )
    await answer(peer, { ...questions[0]!, maxTokens: 8 }, model.facts, false)
    const one = await answer(peer, questions[0]!, model.facts, false)
    const single = ((one.tokens.length - 1) / one.decodeMs) * 1000
    let firstMs = Number.POSITIVE_INFINITY
    let lastMs = 0
    let tokens = 0
    const before = await host.statistics()
    const ownBefore = process.threadCpuUsage()
    // From the first token of any to the last of all: the thin ends, where few still decode, count against it.
    await Promise.all(
      questions.map((question) =>
        answer(peer, question, model.facts, false, () => {
          const nowMs = performance.now()
          firstMs = Math.min(firstMs, nowMs)
          lastMs = nowMs
          tokens++
        }),
      ),
    )
    const total = (tokens / (lastMs - firstMs)) * 1000
    const own = process.threadCpuUsage(ownBefore)
    const after = await host.statistics()
    const counts = new Map(before.batches)
    const batches = after.batches
      .map(([rows, { count, ms }]) => ({ rows, count: count - (counts.get(rows)?.count ?? 0), ms: ms - (counts.get(rows)?.ms ?? 0) }))
      .filter(({ count }) => count > 0)
      .sort((a, b) => b.count - a.count)
    say(
      `rows a batch: ${batches
        .slice(0, 6)
        .map(({ rows, count, ms }) => `${rows} (${count} times, ${(ms / count).toFixed(1)} ms)`)
        .join(', ')}`,
    )
    const perToken = (ms: number): string => (ms / tokens).toFixed(2)
    say(
      `CPU a token: host ${perToken(after.cpuMs - before.cpuMs)} ms, ${perToken(after.mainCpuMs - before.mainCpuMs)} of it beside the engine; requester ${perToken((own.user + own.system) / 1000)} ms`,
    )
    say(`one session ${single.toFixed(1)} tokens/s, eight together ${total.toFixed(1)} (${tokens} tokens in ${(lastMs - firstMs).toFixed(0)} ms)`)
    return [atLeast('8 sessions at once on one 2-thread host, total over one', total / single, 'ratio', 2)]
  } finally {
    await fleet.close()
  }
}
