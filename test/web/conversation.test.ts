import { expect, test } from 'vitest'
import { type Conversation, exportText, ImportError, importText, titleOf, turnsOf } from '../../web/chat/conversation.ts'
import { defaultSettings, fields, parseSettings, samplerFor } from '../../web/chat/settings.ts'
import { parseOffers } from '../../web/peer/offers.ts'
import { sizeText } from '../../web/workers/store/errors.ts'

const conversation: Conversation = {
  id: 'a',
  title: 'Meadows',
  createdAt: 1000,
  updatedAt: 2000,
  settings: { ...defaultSettings, systemPrompt: 'Be brief.', seed: 7 },
  messages: [
    { id: 'm1', role: 'user', text: 'What grows here?', stats: null, stopped: false, problem: '' },
    { id: 'm2', role: 'assistant', text: '', stats: null, stopped: true, problem: '' },
    { id: 'm3', role: 'user', text: 'And there?', stats: null, stopped: false, problem: '' },
    { id: 'm4', role: 'assistant', text: 'Clover.', stats: null, stopped: false, problem: '' },
  ],
}

let made = 0
const newId = () => `new-${made++}`

test('an exported conversation is imported as it was, under new ids', () => {
  made = 0
  const [back] = importText(exportText([conversation]), newId, 5000)
  const messages = conversation.messages.map((message, i) => ({ ...message, id: `new-${i + 1}` }))
  expect(back).toEqual({ ...conversation, id: 'new-0', messages })
})

test.each([
  ['not JSON', '{', 'not JSON'],
  ['another program’s JSON', '{"a":1}', 'no Meadow export'],
  ['null', 'null', 'no Meadow export'],
  ['a later version', '{"format":"meadow-chats","version":2,"conversations":[]}', 'has version 2'],
  ['a conversation without messages', '{"format":"meadow-chats","version":1,"conversations":[{"title":"x"}]}', 'conversation 1 has no messages'],
  [
    'a message from nobody',
    '{"format":"meadow-chats","version":1,"conversations":[{"title":"x","messages":[{"role":"system","text":"x"}]}]}',
    'a message from nobody',
  ],
  ['a text that is none', '{"format":"meadow-chats","version":1,"conversations":[{"title":"x","messages":[{"role":"user","text":5}]}]}', 'not a text'],
  [
    'a text without end',
    JSON.stringify({ format: 'meadow-chats', version: 1, conversations: [{ title: 'x', messages: [{ role: 'user', text: 'x'.repeat(1_000_001) }] }] }),
    'at most 1000000',
  ],
])('importing %s is refused in a sentence', (_what, json, sentence) => {
  expect(() => importText(json, newId, 1)).toThrow(ImportError)
  expect(() => importText(json, newId, 1)).toThrow(sentence)
})

test('the model reads the system prompt and what was said before, without answers that never came, in turns that alternate', () => {
  expect(turnsOf(conversation, 3)).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'What grows here?\n\nAnd there?' },
  ])
  expect(turnsOf({ ...conversation, settings: defaultSettings }, 1)).toEqual([{ role: 'user', content: 'What grows here?' }])
})

test('a title is the beginning of the first line, cut between words', () => {
  expect(titleOf('  Hello\nthere')).toBe('Hello')
  expect(titleOf('   ')).toBe('New chat')
  expect(titleOf('Please explain to me in detail why the sky appears to be blue')).toBe('Please explain to me in detail why the sky…')
  expect(titleOf('x'.repeat(100)).length).toBeLessThan(50)
})

test('settings out of range or of the wrong type become defaults, the others stay', () => {
  expect(parseSettings({ temperature: 9, topK: 1.5, topP: '1', minP: -1, maxTokens: 10, seed: -3, systemPrompt: 4, more: 1 })).toEqual({
    ...defaultSettings,
    maxTokens: 10,
  })
  expect(parseSettings(null)).toEqual(defaultSettings)
})

test('every setting at either end of its range is a sampler that engines accept', () => {
  for (const { name, min, max } of fields) for (const value of [min, max]) expect(() => samplerFor({ ...defaultSettings, [name]: value })).not.toThrow()
  expect(samplerFor({ ...defaultSettings, temperature: 0.005 }).temperature).toBe(0)
})

test('offers without an id or a size are not shown', () => {
  const id = 'ab'.repeat(32)
  expect(parseOffers([{ id, name: 'One', bytes: 5, isDefault: true }, { id: '../x', bytes: 5 }, { id, bytes: '5' }, null, 7])).toEqual([
    { id, title: 'One', isDefault: true, architecture: '', licence: '', bytes: 5 },
  ])
  expect(parseOffers('nonsense')).toEqual([])
})

test('sizes are told as downloads are sold', () => {
  expect([999, 1000, 98_362_432, 1_500_000, 4_200_000_000].map(sizeText)).toEqual(['999 B', '1 kB', '98 MB', '1.5 MB', '4.2 GB'])
})
