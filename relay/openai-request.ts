// OpenAI's chat request as this relay takes it. Fields that would change the answer and that Meadow cannot honour are refused unless they say "off"; fields
// that only inform (user, metadata, store) are taken and not used.
import { z } from 'zod'
import { greedy, type Sampler } from '../protocol/engine/sampler.ts'
import type { Message } from '../protocol/model/tokenizer.ts'

const textPart = z.object({ type: z.literal('text', 'only text parts are understood'), text: z.string() })
const content = z.union([z.string(), z.array(textPart).min(1).max(1000)], 'must be a text, or a list of text parts')
const message = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant'], 'must be system, developer, user or assistant'),
  content,
  name: z.string().optional(),
  refusal: z.null().optional(),
})

const off = (what: string, ...values: (string | number | boolean)[]) =>
  z
    .unknown()
    .optional()
    .refine(
      (value) => value === undefined || value === null || values.includes(value as never) || (Array.isArray(value) && value.length === 0),
      `${what} is not possible here`,
    )

const number = (low: number, high: number) => z.number().min(low).max(high).nullish()
const stopText = z.string().min(1).max(256)

export const chatRequest = z.object({
  model: z.string().min(1).max(256),
  messages: z.array(message).min(1, 'must hold a message').max(2000),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().optional(), include_obfuscation: z.boolean().optional() }).nullish(),
  max_tokens: z
    .number()
    .int()
    .min(1)
    .max(1 << 20)
    .nullish(),
  max_completion_tokens: z
    .number()
    .int()
    .min(1)
    .max(1 << 20)
    .nullish(),
  temperature: number(0, 2),
  top_p: number(0, 1),
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).nullish(),
  stop: z.union([stopText, z.array(stopText).max(4)]).nullish(),
  // As other servers of open models name them.
  top_k: z.number().int().min(-1).max(262_144).nullish(),
  min_p: number(0, 1),
  repetition_penalty: number(0.1, 10),
  /** Meadow's own: what to add to the answer. */
  meadow: z.object({ receipt: z.boolean().optional() }).nullish(),
  n: off('more than one answer', 1),
  presence_penalty: off('a presence penalty (repetition_penalty is)', 0),
  frequency_penalty: off('a frequency penalty (repetition_penalty is)', 0),
  logit_bias: z
    .record(z.string(), z.unknown())
    .nullish()
    .refine((value) => !value || Object.keys(value).length === 0, 'a logit bias is not possible here'),
  logprobs: off('giving probabilities', false),
  top_logprobs: off('giving probabilities', 0),
  tools: off('calling tools'),
  tool_choice: off('calling tools', 'none', 'auto'),
  functions: off('calling functions'),
  function_call: off('calling functions', 'none', 'auto'),
  response_format: z.object({ type: z.literal('text', 'only text answers are possible here') }).nullish(),
  modalities: z.array(z.literal('text', 'only text answers are possible here')).nullish(),
  audio: off('audio'),
  web_search_options: off('searching the web'),
})
export type ChatRequest = z.infer<typeof chatRequest>

export const messagesOf = (request: ChatRequest): Message[] =>
  request.messages.map(({ role, content }) => ({
    // OpenAI's newer name; templates of open models know the older.
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : content.map((part) => part.text).join(''),
  }))

export const stopsOf = ({ stop }: ChatRequest): string[] => (stop == null ? [] : [stop].flat())

const q16 = (value: number): number => Math.round(value * 65536)
/** Tokens the repetition penalty looks back; llama.cpp's default, as in `meadow ask`. */
const repeatWindow = 64
/** The sampler's lowest temperature above greedy, 0.01: colder ones are greedy. */
const coldest = 655

export function samplerOf(request: ChatRequest): Sampler {
  const temperature = q16(request.temperature ?? 0)
  const penalty = q16(request.repetition_penalty ?? 1)
  return {
    ...greedy,
    temperature: temperature < coldest ? 0 : temperature,
    topK: Math.max(0, request.top_k ?? 0),
    topP: Math.max(1, q16(request.top_p ?? 1)),
    minP: q16(request.min_p ?? 0),
    ...(penalty === 65536 ? {} : { repeatPenalty: penalty, repeatWindow }),
  }
}
