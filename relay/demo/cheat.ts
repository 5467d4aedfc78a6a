// A host that cheats in one place: it flips one bit of one activation that leaves one layer at one position, answers with what comes out, and stands by its own trace.
import { dueMove, type Game, type Moment } from '../../ledger/dispute/game.ts'
import type { Move } from '../../ledger/dispute/moves.ts'
import { defence, type Seat } from '../../ledger/dispute/player.ts'
import type { Row, RunResult, SegmentEngine, Want } from '../../protocol/engine/engine.ts'
import { traceFromEngine } from '../../protocol/engine/proof/engine-trace.ts'
import type { Machine } from '../../protocol/engine/proof/table.ts'
import type { Case } from '../watch/cases.ts'
import { type Answer, type Asked, type Evaluated, type Evaluation, type Found, generateAnswer, type HeldModel, type Mind, ModelMind } from '../watch/mind.ts'

export interface Alteration {
  /** What leaves this layer … */
  layer: number
  /** … at this position of the sequence … */
  position: number
  /** … in this element … */
  index: number
  /** … has this bit flipped. */
  bit: number
}

/** The whole model in two parts, with the alteration between them. The last layer has nothing after it to be altered before. */
class AlteredEngine {
  readonly backend = 'wasm' as const
  readonly threads = 1
  readonly segment: SegmentEngine['segment']
  readonly description = 'altered'
  readonly rowsMax: number
  readonly manifest: SegmentEngine['manifest']
  private readonly lower: SegmentEngine
  private readonly upper: SegmentEngine
  private readonly alteration: Alteration

  constructor(lower: SegmentEngine, upper: SegmentEngine, alteration: Alteration) {
    this.lower = lower
    this.upper = upper
    this.alteration = alteration
    this.manifest = lower.manifest
    this.segment = { from: 0, to: lower.manifest.core.layers }
    this.rowsMax = Math.min(lower.rowsMax, upper.rowsMax)
  }

  async run(rows: Row[], wants: Want[]): Promise<RunResult> {
    const nothing = rows.map(() => 'nothing' as const)
    const { boundary } = await this.lower.run(rows, nothing)
    const { position, index, bit } = this.alteration
    rows.forEach((row, i) => {
      if (row.position === position) boundary![i * this.manifest.core.hidden + index] ^= 1 << bit
    })
    return this.upper.run(rows, wants, boundary!)
  }

  truncate(sequence: number, length: number): void {
    this.lower.truncate(sequence, length)
    this.upper.truncate(sequence, length)
  }

  memoryBytes(): { weights: number; other: number } {
    const [a, b] = [this.lower.memoryBytes(), this.upper.memoryBytes()]
    return { weights: a.weights + b.weights, other: a.other + b.other }
  }

  async close(): Promise<void> {
    await this.lower.close()
    await this.upper.close()
  }
}

/** Bits that are tried until the answer is another: the smallest that does leaves the rest most believable. */
const bitsTried = [13, 15, 17, 19, 21, 24, 27]

export class CheatMind implements Mind {
  private readonly held: HeldModel
  private readonly honest: ModelMind
  private readonly threads: number
  private readonly onAltered: (alteration: Alteration, right: readonly number[]) => void
  private alteration: Alteration

  /** `alteration.layer` is below the model's last. `onAltered` is told which bit changed the answer, and what would have been right. */
  constructor(held: HeldModel, alteration: Alteration, threads: number, onAltered: (alteration: Alteration, right: readonly number[]) => void = () => {}) {
    this.held = held
    this.honest = new ModelMind(held, threads)
    this.alteration = alteration
    this.threads = threads
    this.onAltered = onAltered
  }

  async answer(question: Asked, signal: AbortSignal): Promise<Answer> {
    const right = await this.honest.answer(question, signal)
    for (const bit of bitsTried) {
      this.alteration = { ...this.alteration, bit }
      const wrong = await this.altered(question, signal)
      if (wrong.tokens.join() === right.tokens.join()) continue
      this.onAltered(this.alteration, right.tokens)
      return wrong
    }
    throw new Error(
      `no bit of element ${this.alteration.index} that leaves layer ${this.alteration.layer} at position ${this.alteration.position} changes the answer`,
    )
  }

  evaluate(question: Evaluated, signal: AbortSignal): Promise<Evaluation> {
    return this.honest.evaluate(question, signal)
  }

  private async altered(question: Asked, signal: AbortSignal): Promise<Answer> {
    const { layers } = this.held.manifest.core
    const cut = this.alteration.layer + 1
    const lower = await this.held.open(0, cut, this.threads)
    const upper = await this.held.open(cut, layers, this.threads)
    const engine: SegmentEngine = new AlteredEngine(lower, upper, this.alteration)
    try {
      return await generateAnswer(engine, question, signal)
    } finally {
      await engine.close()
    }
  }

  /** The trace of its own computation: it believes that nothing is wrong. */
  async witness({ machine, prompt, out }: Case, signal: AbortSignal): Promise<Found> {
    const { layer, position, index, bit } = this.alteration
    const trace = await traceFromEngine(
      { machine, weights: this.held.weights, prompt, out },
      {
        open: (at) => this.held.open(at, at + 1, 1),
        alter: (at, values) => {
          if (at === layer && values.residual[position]) values.residual[position][index] ^= 1 << bit
        },
        signal,
      },
    )
    return { trace, wrong: null, clean: true }
  }
}

/** Defends whatever its trace says. */
export const stubborn =
  (seat: Seat) =>
  (game: Game, now: Moment, machine: Machine): Move | null =>
    defence(game, seat, now, true) ?? dueMove(game, { now, machine })

/** Says of every claim, unseen, that its first token is wrong, and believes it: whoever acts on this challenges true claims and argues to the judge. */
export const blind = (honest: Mind): Mind => ({
  answer: (question, signal) => honest.answer(question, signal),
  evaluate: (question, signal) => honest.evaluate(question, signal),
  witness: async (one, signal) => {
    const { machine } = one
    return { ...(await honest.witness(one, signal)), wrong: { layer: machine.to, position: machine.tailFrom }, clean: false }
  },
})
