// What a conversation is, and how one travels as JSON. Pure: ids and times come as arguments.
import { type SwarmAnswer, swarmAnswerOf } from '../peer/swarm-answer.ts'
import type { AnswerStats, Turn } from '../workers/messages.ts'
import { parseSettings, type Settings } from './settings.ts'

export interface Message {
  id: string
  role: 'user' | 'assistant'
  text: string
  /** Of a finished answer. */
  stats: AnswerStats | null
  /** Who computed it, of an answer that the swarm gave; null (or missing, in older chats) for one of this device. */
  swarm?: SwarmAnswer | null
  /** The person stopped it, or the page was closed while it streamed. */
  stopped: boolean
  /** Why there is no (whole) answer, '' when nothing went wrong. */
  problem: string
}

export interface Conversation {
  id: string
  title: string
  createdAt: number
  updatedAt: number
  settings: Settings
  messages: Message[]
}

export class ImportError extends Error {
  override name = 'ImportError'
}

const titleLength = 48

/** The first words of the first question. */
export function titleOf(text: string): string {
  const line = text.trim().split('\n')[0].replace(/\s+/g, ' ')
  if (line.length <= titleLength) return line || 'New chat'
  const cut = line.slice(0, titleLength)
  return `${cut.slice(0, Math.max(24, cut.lastIndexOf(' ')))}…`
}

/**
 * What the model reads: the system prompt, then the messages before `end`; broken-off answers stay, empty ones do not.
 * What one side said in a row becomes one turn: many chat templates refuse roles that do not alternate.
 */
export function turnsOf(conversation: Conversation, end: number): Turn[] {
  const { systemPrompt } = conversation.settings
  const turns: Turn[] = systemPrompt.trim() ? [{ role: 'system', content: systemPrompt }] : []
  for (const { role, text } of conversation.messages.slice(0, end)) {
    if (!text) continue
    const last = turns.at(-1)
    if (last?.role === role) last.content += `\n\n${text}`
    else turns.push({ role, content: text })
  }
  return turns
}

const format = 'meadow-chats'
const version = 1

export function exportText(conversations: Conversation[]): string {
  return JSON.stringify({ format, version, conversations }, null, 2)
}

const textMax = 1_000_000

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new ImportError(`This file is damaged: ${what} is not a text.`)
  if (value.length > textMax) throw new ImportError(`This file has a text of ${value.length} characters in ${what}; at most ${textMax} are accepted.`)
  return value
}

function statsOf(value: unknown): AnswerStats | null {
  if (typeof value !== 'object' || value === null) return null
  const { backend, threads, promptTokens, tokens, prefillTokensPerSecond, decodeTokensPerSecond, firstTokenMs, stop, seed, modelId, inputHash, outputHash } =
    value as Record<string, unknown>
  const number = (v: unknown): number => (typeof v === 'number' && Number.isFinite(v) ? v : 0)
  const maybe = (v: unknown): number | null => (typeof v === 'number' && Number.isFinite(v) ? v : null)
  const word = (v: unknown): string => (typeof v === 'string' ? v.slice(0, 64) : '')
  return {
    backend: word(backend),
    threads: number(threads),
    promptTokens: number(promptTokens),
    tokens: number(tokens),
    prefillTokensPerSecond: maybe(prefillTokensPerSecond),
    decodeTokensPerSecond: maybe(decodeTokensPerSecond),
    firstTokenMs: number(firstTokenMs),
    stop: stop === 'length' || stop === 'context' ? stop : 'eos',
    seed: number(seed),
    modelId: word(modelId),
    inputHash: word(inputHash),
    outputHash: word(outputHash),
  }
}

/** Reads an exported file. Throws ImportError in one sentence; nothing is taken from a file that is damaged anywhere. New ids come from `newId`, so nothing is overwritten. */
export function importText(json: string, newId: () => string, now: number): Conversation[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch {
    throw new ImportError('This file is not JSON, so it is no Meadow export.')
  }
  const file = (parsed ?? {}) as { format?: unknown; version?: unknown; conversations?: unknown }
  if (file.format !== format || !Array.isArray(file.conversations)) throw new ImportError('This file is no Meadow export: it has no list of conversations.')
  if (file.version !== version) throw new ImportError(`This file has version ${String(file.version)}, but this page reads version ${version}.`)
  return file.conversations.map((item, index) => {
    const where = `conversation ${index + 1}`
    const { title, createdAt, updatedAt, settings, messages } = (item ?? {}) as Record<string, unknown>
    if (!Array.isArray(messages)) throw new ImportError(`This file is damaged: ${where} has no messages.`)
    const time = (value: unknown): number => (typeof value === 'number' && value > 0 && value <= now ? value : now)
    return {
      id: newId(),
      title: text(title, `the title of ${where}`).slice(0, 200),
      createdAt: time(createdAt),
      updatedAt: time(updatedAt),
      settings: parseSettings(settings),
      messages: messages.map((message): Message => {
        const { role, text: words, stats, swarm, stopped, problem } = (message ?? {}) as Record<string, unknown>
        if (role !== 'user' && role !== 'assistant') throw new ImportError(`This file is damaged: ${where} has a message from nobody.`)
        return {
          id: newId(),
          role,
          text: text(words, where),
          stats: statsOf(stats),
          ...(swarm ? { swarm: swarmAnswerOf(swarm) } : {}),
          stopped: stopped === true,
          problem: typeof problem === 'string' ? problem.slice(0, 1000) : '',
        }
      }),
    }
  })
}
