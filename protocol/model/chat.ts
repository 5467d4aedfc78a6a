// Messages to one text by the model's own chat template, with the knowledge of which letters the template wrote and which came from messages:
// only letters of the template can spell a control token. The template (Jinja, by @huggingface/jinja) is a stranger's program and runs bounded.
//
// How letters keep their origin. Letters that control tokens are spelled with are replaced, in messages, by private-use letters that occur nowhere
// else; what the template makes of them (joining, trimming, splitting) keeps them apart from its own. After rendering they are put back.
// A template may look for words in messages ("</think>" in an answer) and miss them then. So the text must come out equal to that of a plain rendering;
// if it does not, the words the template itself mentions are left plain, first in answers, then in all messages, then all letters and digits.
// In the plain rendering too, one letter of each control token spelled out in a message is replaced: a template never sees one that is not real.
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { ModelError } from './manifest.ts'

export interface Message {
  /** `system`, `user`, `assistant`, `tool` or `developer`. */
  role: string
  content: string
}

/** A part of a prompt: text, or one special token that the template wrote. */
export type PromptPart = { text: string } | { special: number }

/** What a template may ask the day of; a fixed day keeps a prompt a function of its messages. */
export interface Day {
  year: number
  /** 1..12 */
  month: number
  day: number
}

export interface ChatRules {
  template: string
  /** Tokens no message may spell. */
  control: ReadonlyMap<string, number>
  /** User-defined tokens that the template writes (`<think>`): answers may spell them, since models write them; other messages may not. */
  markers: ReadonlyMap<string, number>
  /** Text of the tokens that templates name, '' when the model has none. */
  bosToken: string
  eosToken: string
  day: Day
}

/** The date Llama's own template falls back to. */
export const defaultDay: Day = { year: 2024, month: 7, day: 26 }

const roles = ['system', 'user', 'assistant', 'tool', 'developer']
/** Evaluations of a template: a prompt of 100 messages takes under 5,000. */
const stepsMax = 1_000_000
const listMax = 100_000
/** Characters a template may make; a context of 32,768 tokens is about 150,000. */
const textMax = 16 * 1024 * 1024

/** Makes the renderer of a template. Throws ModelError when the template cannot be read. */
export function chatRenderer(rules: ChatRules): (messages: readonly Message[]) => PromptPart[] {
  const program = readTemplate(rules.template)
  const all = new Spelling([...rules.control, ...rules.markers])
  const control = new Spelling([...rules.control])
  const markers = new Spelling([...rules.markers])
  const words = new Spelling(program.words.filter((word) => !all.occursIn(word)).map((word) => [word, 0]))

  return (messages) => {
    for (const { role, content } of messages) {
      if (!roles.includes(role))
        throw new ModelError(`a message has the role ${JSON.stringify(String(role).slice(0, 32))}, expected one of ${roles.join(', ')}`)
      if (typeof content !== 'string') throw new ModelError(`the content of a message by ${role} is not text`)
    }
    const veil = new Veil(all.letters, [rules.template, ...messages.map((message) => message.content)])
    const render = (mark: (message: Message) => string) =>
      runTemplate(
        program.tree,
        messages.map((message) => ({ role: message.role, content: mark(message) })),
        rules,
      )
    const forbidden = ({ role }: Message) => (role === 'assistant' ? control : all)
    const plain = veil.lift(render((message) => veil.coverStarts(message.content, forbidden(message))))
    for (const level of levels) {
      const veiled = render((message) => {
        const answer = message.role === 'assistant'
        const spared = [...(answer ? [markers] : []), ...(level.words === 'all' || (answer && level.words === 'answers') ? [words] : [])]
        return veil.cover(message.content, spared, level.letters, forbidden(message))
      })
      if (veil.lift(veiled) === plain) return cutSpecials(veiled, veil, all)
    }
    throw new ModelError('the chat template rewrites the letters of messages, so what it writes itself cannot be told from what they say')
  }
}

/** What stays plain in messages, from the strictest reading to the loosest. */
const levels: { words: 'none' | 'answers' | 'all'; letters: boolean }[] = [
  { words: 'none', letters: false },
  { words: 'answers', letters: false },
  { words: 'all', letters: false },
  { words: 'all', letters: true },
]

function cutSpecials(veiled: string, veil: Veil, specials: Spelling): PromptPart[] {
  const parts: PromptPart[] = []
  let start = 0
  const flush = (end: number) => {
    if (end > start) parts.push({ text: veil.lift(veiled.slice(start, end)) })
  }
  for (let at = 0; at < veiled.length; ) {
    const found = specials.at(veiled, at)
    if (!found) at++
    else {
      flush(at)
      parts.push({ special: found.id })
      at += found.length
      start = at
    }
  }
  flush(veiled.length)
  return parts
}

/** A set of token texts, looked up by position: longest first. */
class Spelling {
  readonly letters: ReadonlySet<string>
  private readonly ids: ReadonlyMap<string, number>
  private readonly lengths: readonly number[]
  private readonly starts: ReadonlySet<string>

  constructor(texts: [string, number][]) {
    const spelled = texts.filter(([text]) => text !== '')
    this.ids = new Map(spelled)
    this.lengths = [...new Set(spelled.map(([text]) => text.length))].sort((a, b) => b - a)
    this.starts = new Set(spelled.map(([text]) => text[0]!))
    this.letters = new Set(spelled.flatMap(([text]) => text.split('')))
  }

  at(text: string, at: number): { id: number; length: number } | null {
    if (!this.starts.has(text[at]!)) return null
    for (const length of this.lengths) {
      const id = at + length <= text.length ? this.ids.get(text.slice(at, at + length)) : undefined
      if (id !== undefined) return { id, length }
    }
    return null
  }

  occursIn(text: string): boolean {
    for (let at = 0; at < text.length; at++) if (this.at(text, at)) return true
    return false
  }
}

/** Private-use letters that stand in for the letters of special tokens, one for one, none of which occurs in any of `texts`. */
class Veil {
  private readonly covered = new Map<string, string>()
  private readonly lifted = new Map<string, string>()

  constructor(letters: ReadonlySet<string>, texts: string[]) {
    const taken = new Set(texts.flatMap((text) => text.match(/[\ue000-\uf8ff]/g) ?? []))
    let code = 0xe000
    for (const letter of letters) {
      while (taken.has(String.fromCharCode(code))) code++
      if (code > 0xf8ff) throw new ModelError('the messages hold so many different private-use characters that none is left to protect special tokens with')
      const cover = String.fromCharCode(code++)
      this.covered.set(letter, cover)
      this.lifted.set(cover, letter)
    }
  }

  /** Covers the first letter of everything in `forbidden` that the text spells. */
  coverStarts(text: string, forbidden: Spelling): string {
    let out = ''
    for (let at = 0; at < text.length; at++) out += forbidden.at(text, at) ? this.covered.get(text[at]!) : text[at]
    return out
  }

  /** Covers every letter that can be covered, but for words in `spared` (not their first letter where a forbidden text starts) and, if asked, letters and digits. */
  cover(text: string, spared: Spelling[], sparesLetters: boolean, forbidden: Spelling): string {
    let out = ''
    let plainUntil = 0
    for (let at = 0; at < text.length; at++) {
      const letter = text[at]!
      for (const words of spared) plainUntil = Math.max(plainUntil, at + (words.at(text, at)?.length ?? 0))
      const plain = (at < plainUntil || (sparesLetters && /[\p{L}\p{N}]/u.test(letter))) && !forbidden.at(text, at)
      out += plain ? letter : (this.covered.get(letter) ?? letter)
    }
    return out
  }

  lift(text: string): string {
    return text.replace(/[\ue000-\uf8ff]/g, (letter) => this.lifted.get(letter) ?? letter)
  }
}

interface TemplateProgram {
  tree: ReturnType<typeof parse>
  /** String literals of the template. */
  words: string[]
}

function readTemplate(source: string): TemplateProgram {
  try {
    const tokens = tokenize(source, { lstrip_blocks: true, trim_blocks: true })
    return { tree: parse(tokens), words: tokens.filter((token) => token.type === 'StringLiteral').map((token) => token.value) }
  } catch (error) {
    throw new ModelError(`the model's chat template cannot be read: ${(error as Error).message}`)
  }
}

class TemplateRefusal extends Error {}

function runTemplate(tree: TemplateProgram['tree'], messages: Message[], rules: ChatRules): string {
  const environment = new Environment()
  const globals = {
    messages,
    add_generation_prompt: true,
    bos_token: rules.bosToken,
    eos_token: rules.eosToken,
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range: boundedRange,
    strftime_now: (format: string) => dayText(rules.day, format),
    raise_exception: (reason: unknown) => {
      throw new TemplateRefusal(String(reason))
    },
  }
  for (const [name, value] of Object.entries(globals)) environment.set(name, value)
  try {
    const text = new BoundedInterpreter(environment).run(tree).value
    if (typeof text !== 'string') throw new Error('it makes no text')
    return text
  } catch (error) {
    if (error instanceof TemplateRefusal) throw new ModelError(`the model's chat template refuses these messages: ${error.message}`)
    if (error instanceof ModelError) throw error
    throw new ModelError(`the model's chat template fails: ${(error as Error).message}`)
  }
}

/** Stops templates that never end or that grow without bound. A list costs its length, since a loop over it with nothing inside takes no other step. */
class BoundedInterpreter extends Interpreter {
  private steps = 0

  override evaluate(...args: Parameters<Interpreter['evaluate']>): ReturnType<Interpreter['evaluate']> {
    const result = super.evaluate(...args)
    const value: unknown = result.value
    if (typeof value === 'string' && value.length > textMax) throw new ModelError(`the model's chat template makes a text of more than ${textMax} characters`)
    if (Array.isArray(value) && value.length > listMax) throw new ModelError(`the model's chat template makes a list of more than ${listMax} entries`)
    this.steps += 1 + (typeof value === 'string' ? value.length >> 10 : Array.isArray(value) ? value.length : 0)
    if (this.steps > stepsMax) throw new ModelError(`the model's chat template takes more than ${stepsMax} steps`)
    return result
  }
}

/** Python's range, within listMax. */
function boundedRange(first: number, second?: number, step = 1): number[] {
  const start = second === undefined ? 0 : first
  const stop = second ?? first
  const length = Math.max(0, Math.ceil((stop - start) / step))
  if (!(length <= listMax)) throw new Error(`range() of ${length} entries, at most ${listMax} are allowed`)
  return Array.from({ length }, (_, i) => start + i * step)
}

const months = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December']

/** The parts of Python's strftime that dates in templates use, in English everywhere; midnight, since no clock is read. */
function dayText({ year, month, day }: Day, format: string): string {
  const two = (n: number) => String(n).padStart(2, '0')
  const name = months[month - 1] ?? ''
  const parts: Record<string, string> = { Y: String(year), m: two(month), d: two(day), B: name, b: name.slice(0, 3), H: '00', M: '00', S: '00', '%': '%' }
  return String(format).replace(/%(.)/g, (whole, letter: string) => parts[letter] ?? whole)
}
