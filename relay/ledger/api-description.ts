// The OpenAPI 3.1 description of the ledger's routes.

const text = { type: 'string' }
const hexText = { type: 'string', pattern: '^[0-9a-f]*$' }
const money = { type: 'string', pattern: '^[0-9]+$', description: 'µ: 1,000,000 are one credit' }
const object = { type: 'object' }

const json = (description: string, schema: object = object) => ({ description, content: { 'application/json': { schema } } })
const refused = json('Refused; the state is as it was', {
  type: 'object',
  properties: { error: { type: 'object', properties: { code: text, message: text } } },
})
const id = { name: 'id', in: 'path', required: true, schema: { type: 'string', pattern: '^[0-9a-f]{64}$' } }
const page = [
  { name: 'before', in: 'query', schema: { type: 'integer' }, description: 'the `next` of the page before' },
  { name: 'limit', in: 'query', schema: { type: 'integer', minimum: 1, maximum: 200 } },
]
const get = (summary: string, parameters: object[] = [], schema?: object) => ({
  get: { summary, parameters, responses: { 200: json('Found', schema), 400: refused, 404: refused, 429: refused } },
})

export const openApi = {
  openapi: '3.1.0',
  info: { title: 'Meadow ledger', version: '1', description: 'Bytes are specified in ledger/README.md. Amounts are decimal strings of µ, bytes are hex.' },
  paths: {
    '/transactions': {
      post: {
        summary: 'Submit one signed transaction; answered when it is applied and on the disk',
        requestBody: { required: true, content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } },
        responses: {
          201: json('Durable', { type: 'object', properties: { id: hexText, height: { type: 'integer' }, seq: { type: 'integer' } } }),
          413: { description: 'Too large' },
          422: refused,
          429: refused,
          503: refused,
        },
      },
    },
    '/faucet': {
      post: {
        summary: 'The grant of a newcomer, once an account',
        requestBody: {
          required: true,
          content: { 'application/json': { schema: { type: 'object', properties: { account: hexText }, required: ['account'] } } },
        },
        responses: { 201: json('Granted', { type: 'object', properties: { id: hexText, amount: money } }), 403: refused, 422: refused, 429: refused },
      },
    },
    '/status': get('Height, root, supply, parameters'),
    '/genesis': {
      get: {
        summary: 'Genesis bytes; their hash names the chain',
        responses: { 200: { description: 'dag-cbor', content: { 'application/octet-stream': {} } } },
      },
    },
    '/invariants': get('Sums over every record, checked'),
    '/state/{key}': get(
      'A record of the last block with its Merkle proof and the signed header (both hex); value null and a proof of absence when there is none',
      [{ name: 'key', in: 'path', required: true, schema: text, description: 'such as account/<64 hex>, channel/<owner>/<number>, money' }],
      { type: 'object', properties: { key: text, value: hexText, proof: hexText, header: hexText, now: object } },
    ),
    '/accounts/{id}': get('An account as of now, with what is pending', [id]),
    '/accounts/{id}/events': get('What happened to an account, newest first', [id, ...page]),
    '/events': get('What happened, newest first', page),
    '/records/{kind}': get('Records of a kind, by key', [
      { name: 'kind', in: 'path', required: true, schema: text, description: 'account, model, job, claim, channel, session, dispute, …' },
      { name: 'after', in: 'query', schema: text, description: 'the `next` of the page before' },
      page[1],
    ]),
    '/blocks': get('Headers, newest first', page),
    '/blocks/{height}': get('A block with its signed header and its transactions, bytes and all: enough to run it again', [
      { name: 'height', in: 'path', required: true, schema: { type: 'integer' } },
    ]),
    '/transactions/{id}': get('A transaction by its id', [id]),
    '/follow': {
      get: {
        summary: 'Server-sent events: status, transaction, block',
        parameters: [{ name: 'account', in: 'query', schema: hexText, description: 'only what touches this account' }],
        responses: { 200: { description: 'A stream', content: { 'text/event-stream': { schema: text } } } },
      },
    },
  },
} as const
