// Sampling settings as people type them, their ranges, and the integers they become. The ranges are those the sampler accepts.
import { type Sampler, samplerOf } from '../../protocol/engine/sampler.ts'

export interface Settings {
  systemPrompt: string
  temperature: number
  topK: number
  topP: number
  minP: number
  repeatPenalty: number
  maxTokens: number
  /** Null: another one for every answer. */
  seed: number | null
}

/** Mild sampling: small models wander when it is hotter. */
export const defaultSettings: Settings = {
  systemPrompt: '',
  temperature: 0.4,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
  repeatPenalty: 1.1,
  maxTokens: 1024,
  seed: null,
}

export type NumberField = Exclude<keyof Settings, 'systemPrompt' | 'seed'>

export const fields: { name: NumberField; label: string; hint: string; min: number; max: number; step: number }[] = [
  { name: 'temperature', label: 'Temperature', hint: '0 always takes the likeliest word; higher is more varied.', min: 0, max: 2, step: 0.05 },
  { name: 'topK', label: 'Top-k', hint: 'Only this many likeliest tokens are considered; 0 is all.', min: 0, max: 1000, step: 1 },
  { name: 'topP', label: 'Top-p', hint: 'Only tokens within this share of probability.', min: 0.05, max: 1, step: 0.01 },
  { name: 'minP', label: 'Min-p', hint: 'Drops tokens less likely than this share of the likeliest; 0 is off.', min: 0, max: 1, step: 0.01 },
  { name: 'repeatPenalty', label: 'Repeat penalty', hint: 'Above 1 discourages repeating the last 64 tokens; 1 is off.', min: 1, max: 2, step: 0.01 },
  { name: 'maxTokens', label: 'Longest answer', hint: 'In tokens, about ¾ of a word each.', min: 1, max: 8192, step: 1 },
]

export const seedMax = Number.MAX_SAFE_INTEGER

/** Any JSON to settings: what is missing or out of range takes its default. */
export function parseSettings(json: unknown): Settings {
  const given = (typeof json === 'object' && json !== null ? json : {}) as Record<string, unknown>
  const settings: Settings = { ...defaultSettings }
  if (typeof given.systemPrompt === 'string') settings.systemPrompt = given.systemPrompt.slice(0, 100_000)
  if (Number.isSafeInteger(given.seed) && (given.seed as number) >= 0) settings.seed = given.seed as number
  for (const { name, min, max, step } of fields) {
    const value = given[name]
    if (typeof value === 'number' && value >= min && value <= max && (step < 1 || Number.isInteger(value))) settings[name] = value
  }
  return settings
}

/** The sampler's integers. Temperatures below what they can say (0.01) are greedy. Throws SamplerError. */
export function samplerFor(settings: Settings): Sampler {
  const temperature = settings.temperature < 0.01 ? 0 : settings.temperature
  return samplerOf({ ...settings, temperature })
}
