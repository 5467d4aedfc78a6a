// Colours of code blocks, when they come: the page shows a block plain at once, and again with colours when the worker has found them. The worker starts with the first block that needs it.
import { codeLengthMax, languageOf, type PaintReply, type PaintRequest } from '../workers/languages.ts'

/** A grammar that runs away is ended, and blocks stay plain for the rest of the visit. */
const hungMs = 10_000
const knownMax = 500

type Lines = PaintReply['lines']

export class Highlighter {
  /** Grows when colours came: what reads it is drawn again. */
  private version = $state(0)
  private readonly known = new Map<string, Lines>()
  private readonly asked = new Map<number, { key: string; timer: ReturnType<typeof setTimeout> }>()
  private worker: Worker | null = null
  private broken = false
  private frame = 0
  private nextId = 1
  private readonly makeWorker: () => Worker

  constructor(makeWorker: () => Worker) {
    this.makeWorker = makeWorker
  }

  /** Lines of [class, text]; null for code that stays plain, undefined while colours are awaited. */
  lines(code: string, name: string): Lines | undefined {
    const language = languageOf(name)
    if (!language || code.length > codeLengthMax || this.broken) return null
    // Read even where the answer is known already: a block is drawn again by whoever asked while it was not.
    void this.version
    const key = `${language}\n${code}`
    const known = this.known.get(key)
    if (known !== undefined) return known
    if (![...this.asked.values()].some((one) => one.key === key)) this.ask({ id: this.nextId++, code, language }, key)
    return undefined
  }

  private ask(request: PaintRequest, key: string): void {
    if (!this.worker) {
      this.worker = this.makeWorker()
      this.worker.onmessage = ({ data }: MessageEvent<PaintReply>) => this.answer(data)
      this.worker.onerror = () => this.end()
    }
    this.asked.set(request.id, { key, timer: setTimeout(() => this.end(), hungMs) })
    this.worker.postMessage(request)
  }

  private answer({ id, lines }: PaintReply): void {
    const asked = this.asked.get(id)
    if (!asked) return
    clearTimeout(asked.timer)
    this.asked.delete(id)
    if (this.known.size >= knownMax) this.known.clear()
    this.known.set(asked.key, lines)
    this.redraw()
  }

  private end(): void {
    this.broken = true
    this.worker?.terminate()
    for (const { timer } of this.asked.values()) clearTimeout(timer)
    this.asked.clear()
    this.redraw()
  }

  /** Once a frame, however many blocks came. */
  private redraw(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0
      this.version++
    })
  }
}

export const highlighter = new Highlighter(
  () => new Worker(new URL('../workers/highlight.worker.ts', import.meta.url), { type: 'module', name: 'meadow-highlight' }),
)
