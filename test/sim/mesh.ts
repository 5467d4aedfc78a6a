// A mesh of hundreds of peers in one thread, from one seed: `node test/sim/mesh.ts SEED [PEERS]` prints what happens and a hash that is the same every time.
// First everything may fail at once (churn, loss, doubles, reordering, silent deaths, liars, idlers, skewed clocks): an answer may be late, never wrong. Then the
// faults end, and every question must be answered, every seat given back, every table right.
import { pathToFileURL } from 'node:url'
import { noiseKey } from '../../protocol/engine/answer.ts'
import { Session } from '../../protocol/engine/generate.ts'
import { greedy, samplerOf } from '../../protocol/engine/sampler.ts'
import type { ModelFacts, Notice, Question } from '../../protocol/peer/machine.ts'
import { outlookOf } from '../../protocol/peer/runnable.ts'
import { useNative } from './native.ts'
import { ToyEngine, toyFacts } from './toy.ts'
import { type Node, type NodeOptions, World } from './world.ts'

export interface Story {
  seed: number
  hash: string
  asked: number
  answered: number
  /** Answers that were not what one device says alone: must be 0. */
  wrong: number
  /** Questions without an answer at the very end: must be 0. */
  unanswered: number
  repairs: number
  kills: number
  joins: number
  liars: number
  /** Longest wait for a token within an answer, liveness phase, milliseconds. */
  stallMs: number
  /** Sequences cached anywhere at the end: must be 0. */
  leaked: number
  /** Hosts that somebody does not know, or knows although they are gone, at the end: must be 0. */
  ghosts: number
  frames: number
  gossips: number
  simulatedMs: number
}

const big = toyFacts(8, 'big')
const small = toyFacts(4, 'small')
const layerBytes = 10_512

interface Asked {
  node: Node
  number: number
  question: Question
  facts: ModelFacts
  tokens: number[]
  state: 'running' | 'done' | 'failed'
  tries: number
  tokenAt: number
}

/** `seconds`: how long the bad times last. */
export async function meshStory(seed: number, peers: number, say: (line: string) => void = () => {}, seconds = 90): Promise<Story> {
  useNative()
  const world = new World(seed, [big, small], { delayMs: [2, 60], loss: 3000, double: 5000, reorder: 5000, dialMs: 100 })
  const story: Story = {
    seed,
    hash: '',
    asked: 0,
    answered: 0,
    wrong: 0,
    unanswered: 0,
    repairs: 0,
    kills: 0,
    joins: 0,
    liars: 0,
    stallMs: 0,
    leaked: 0,
    ghosts: 0,
    frames: 0,
    gossips: 0,
    simulatedMs: 0,
  }
  const tell = (line: string): void => {
    const whole = `${(world.now / 1000).toFixed(3).padStart(9)} ${line}`
    world.remember(whole)
    say(whole)
  }
  const askings: Asked[] = []
  let calm = false
  world.onNotice = (node, notice) => heard(node, notice)

  const relay = world.add('relay', { tells: true })
  const truths = new Map<string, number[]>()

  function join(): Node {
    const name = `peer${story.joins++}`
    const kind = world.draw(100)
    const heavyTail = 200 + Math.round(40_000 / (1 + world.draw(100)))
    const options: NodeOptions = { layerUs: heavyTail, rowUs: Math.round(heavyTail / 10), skewMs: world.draw(1_000_000), drift: world.draw(40) - 20 }
    const node = world.add(name, options)
    world.link(node, relay)
    const layers = 1 + world.draw(8)
    world.step(node, { kind: 'lend', lending: { models: [big, small], memoryBytes: layers * layerBytes + 2500 } })
    if (kind < 4) {
      // Says that it holds what it does not: opens are accepted and nothing ever comes.
      story.liars++
      node.bend = (action) => (action.kind === 'compute' && !calm ? [] : [action])
      tell(`${name} joins with ${layers} layers and will compute nothing`)
    } else if (kind < 10) {
      world.step(node, { kind: 'throttled', throttled: true })
      tell(`${name} joins with ${layers} layers, hidden`)
    } else tell(`${name} joins with ${layers} layers`)
    return node
  }

  async function truthOf(question: Question, facts: ModelFacts): Promise<number[]> {
    const name = JSON.stringify(question)
    const known = truths.get(name)
    if (known) return known
    const tokens: number[] = []
    for await (const p of new Session(new ToyEngine(facts)).generate({ ...question, key: noiseKey(question.seed) }))
      if (p.kind === 'token') tokens.push(p.token)
    truths.set(name, tokens)
    return tokens
  }

  function heard(node: Node, notice: Notice): void {
    if (notice.of !== 'ask') return
    const one = askings.find((a) => a.node === node && a.number === notice.ask)
    if (!one) return
    if (notice.what === 'token') {
      if (calm && one.tokens.length > 0) story.stallMs = Math.max(story.stallMs, world.now - one.tokenAt)
      one.tokenAt = world.now
      one.tokens.push(notice.token)
    } else if (notice.what === 'repaired') {
      story.repairs++
      tell(`question ${one.number} of ${node.name} goes on after ${notice.stallMs.toFixed(0)} ms without ${notice.lost.length} hosts: ${notice.reason}`)
    } else if (notice.what === 'stop') {
      one.state = 'done'
      tell(`question ${one.number} of ${node.name} is answered: ${one.tokens.length} tokens`)
    } else if (notice.what === 'failed') {
      one.state = 'failed'
      tell(`question ${one.number} of ${node.name} failed: ${notice.message}`)
    }
  }

  const alive = (): Node[] => [...world.nodes.values()].filter((node) => node.alive)
  const hosts = (): Node[] => alive().filter((node) => node !== relay && !node.name.startsWith('asker'))
  const askers = Array.from({ length: 10 }, (_, i) => {
    const node = world.add(`asker${i}`, { skewMs: world.draw(1_000_000), drift: world.draw(40) - 20 })
    world.link(node, relay)
    return node
  })

  function pose(node: Node, question: Question, facts: ModelFacts, tries = 0): void {
    const number = ++story.asked
    askings.push({ node, number, question, facts, tokens: [], state: 'running', tries, tokenAt: world.now })
    tell(`${node.name} asks question ${number}: ${question.prompt.length} tokens of ${facts.name}`)
    world.step(node, { kind: 'ask', ask: number, question, facts })
  }

  function newQuestion(): void {
    const facts = world.draw(3) > 0 ? big : small
    const sampler = world.draw(2) ? greedy : samplerOf({ temperature: 0.9, topK: 30, topP: 0.95, minP: 0.02, repeatPenalty: 1.1 })
    const prompt = Array.from({ length: 1 + world.draw(60) }, () => world.draw(24))
    pose(
      askers[world.draw(askers.length)],
      { modelId: facts.modelId, prompt, sampler, seed: world.draw(1000), maxTokens: 8 + world.draw(60), stopIds: world.draw(2) ? [63] : [] },
      facts,
    )
  }

  // Safety: anything may fail.
  for (let i = 0; i < peers * 0.7; i++) {
    join()
    world.run(world.draw(300))
  }
  world.run(15_000)
  for (let second = 0; second < seconds; second++) {
    if (second % 2 === 0) newQuestion()
    for (const luck = world.draw(3); hosts().length < peers && luck === 0; ) {
      join()
      break
    }
    if (world.draw(2) === 0 && hosts().length > peers / 2) {
      const all = hosts()
      const victim = all[world.draw(all.length)]
      const silently = world.draw(3) === 0
      story.kills++
      if (world.draw(4) === 0) {
        tell(`${victim.name} leaves`)
        world.step(victim, { kind: 'leave' })
        world.after(200, () => world.kill(victim))
      } else {
        tell(`${victim.name} dies${silently ? ', and nobody notices' : ''}`)
        world.kill(victim, silently)
      }
    }
    world.run(1000)
  }

  // Liveness: the faults end, those that remain must do.
  calm = true
  Object.assign(world.net, { loss: 0, double: 0, reorder: 0 })
  tell('the network is well from here on')
  for (let i = 0; i < 10; i++) {
    newQuestion()
    world.run(2000)
  }
  for (let round = 0; round < 20; round++) {
    world.run(30_000, () => askings.every((one) => one.state !== 'running'))
    // A question that found no ring while the swarm was broken is asked again, as people do.
    const again = askings.filter((one) => one.state === 'failed' && one.tries < 10)
    for (const one of again) {
      askings.splice(askings.indexOf(one), 1)
      pose(one.node, one.question, one.facts, one.tries + 1)
    }
    if (again.length === 0 && askings.every((one) => one.state === 'done')) break
  }
  for (const one of askings) {
    const truth = await truthOf(one.question, one.facts)
    if (one.state !== 'done') story.unanswered++
    else story.answered++
    // Also what came of unfinished answers must be the beginning of the right one.
    if (truth.slice(0, one.tokens.length).join() !== one.tokens.join() || (one.state === 'done' && truth.length !== one.tokens.length)) {
      story.wrong++
      tell(`question ${one.number} got other words than one device gives`)
    }
  }
  world.run(120_000)
  const there = new Set(
    hosts()
      .filter((node) => node.peer.table.get(node.key))
      .map((node) => node.key),
  )
  for (const node of alive()) {
    story.leaked += [...node.engines.values()].reduce((sum, engine) => sum + (engine as ToyEngine).sequences, 0)
    const known = new Set(node.peer.table.all().map((one) => one.peer))
    story.ghosts += [...known].filter((key) => !there.has(key)).length + [...there].filter((key) => !known.has(key)).length
  }
  story.frames = world.frames
  story.gossips = world.gossips
  story.simulatedMs = Math.round(world.now)
  const outlook = outlookOf(big, relay.peer.table.all())
  tell(
    `${there.size} hosts, ${story.answered} answers, ${story.repairs} repairs, ${story.wrong} wrong, ${story.leaked} seats left; the big model ${outlook.runnable ? 'runs' : 'does not run'}`,
  )
  story.hash = world.hash
  return story
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const seed = Number(process.argv[2] ?? 1)
  const start = performance.now()
  const story = await meshStory(seed, Number(process.argv[3] ?? 200), (line) => console.log(line))
  console.log(JSON.stringify(story))
  console.log(`hash ${story.hash}`)
  console.error(`${Math.round((performance.now() - start) / 1000)} s`)
  if (story.wrong + story.unanswered + story.leaked + story.ghosts > 0) process.exitCode = 1
}
