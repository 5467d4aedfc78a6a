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
const later = [{ name: 'after', in: 'query', schema: { type: 'integer' }, description: 'the `next` of the page before' }, page[1]]
const entries = {
  type: 'object',
  description: 'A transaction is in its block when `path` (siblings, lowest first) folds its id at `index` to the transactionRoot of `header`.',
  properties: {
    transactions: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          seq: { type: 'integer' },
          height: { type: 'integer' },
          timeMs: { type: 'integer' },
          bytes: hexText,
          index: { type: 'integer' },
          path: hexText,
          header: hexText,
        },
      },
    },
    next: { type: 'integer' },
  },
}
const bytesBody = { required: true, content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } }
const context = [
  ['job', 'the job whose prompt it is'],
  ['claim', 'the claim whose answer it is'],
  ['receipt', 'session/host of the receipt it belongs to'],
].map(([name, description]) => ({ name, in: 'query', schema: text, description }))
const pin = (what: string, parameters: object[]) => ({
  get: {
    summary: `Pinned ${what}`,
    parameters,
    responses: { 200: { description: 'The bytes', content: bytesBody.content }, 400: refused, 404: refused, 429: refused },
  },
  put: {
    summary: `Pin ${what}: checked against the chain, kept until nobody can object any more`,
    parameters: [...parameters, ...context],
    requestBody: bytesBody,
    responses: { 201: json('Pinned'), 400: refused, 413: refused, 422: refused, 429: refused },
  },
})
const rootParameter = { name: 'root', in: 'path', required: true, schema: { type: 'string', pattern: '^[0-9a-f]{64}$' } }
const get = (summary: string, parameters: object[] = [], schema?: object) => ({
  get: { summary, parameters, responses: { 200: json('Found', schema), 400: refused, 404: refused, 429: refused } },
})

export const openApi = {
  openapi: '3.1.0',
  info: { title: 'Meadow ledger', version: '1', description: 'Bytes are specified in ledger/README.md. Amounts are decimal strings of µ, bytes are hex.' },
  paths: {
    '/transactions': {
      ...get(
        'Transactions, newest first, each with its place in its block',
        [...page, { name: 'about', in: 'query', schema: hexText, description: 'only those about this account, model, job, claim, session or dispute' }],
        entries,
      ),
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
    '/prove': get('Several records, or proofs of their absence, under one header', [
      { name: 'keys', in: 'query', required: true, schema: text, description: 'up to 64 keys, with commas between' },
    ]),
    '/accounts/{id}/held': get('Sessions in which the account hosted and that are not paid yet: what is held for it', [id]),
    '/proofs/{kind}': get(
      'Records of a kind by key, as of the last block, each with its Merkle proof under the one header that comes along (hex)',
      [
        { name: 'kind', in: 'path', required: true, schema: text, description: 'as for records; `stake`: accounts with a stake, the largest first' },
        { name: 'after', in: 'query', schema: text, description: 'the `next` of the page before' },
        page[1],
      ],
      {
        type: 'object',
        properties: {
          header: hexText,
          records: { type: 'array', items: { type: 'object', properties: { key: text, value: hexText, proof: hexText } } },
          next: text,
        },
      },
    ),
    '/find/{text}': get('Where an id, or the beginning of one, is known', [
      { name: 'text', in: 'path', required: true, schema: { type: 'string', pattern: '^[0-9a-f]{4,64}$' } },
    ]),
    '/blocks': get('Headers, newest first', [...page, { name: 'from', in: 'query', schema: { type: 'integer' }, description: 'lowest height' }]),
    '/blocks/{height}': get('A block with its signed header and its transactions, bytes and all: enough to run it again', [
      { name: 'height', in: 'path', required: true, schema: { type: 'integer' } },
    ]),
    '/blocks/{height}/transactions': get('Transactions of a block in order', [
      { name: 'height', in: 'path', required: true, schema: { type: 'integer' } },
      ...later,
    ]),
    '/transactions/{id}': get('A transaction by its id, with its place in its block', [id]),
    '/disputes/{id}/rounds': get('The transactions of a dispute, oldest first', [id, ...later], entries),
    '/pins/tokens/{root}': pin('tokens: tokenKey 32, kind u8 (0 prompt, 1 answer), tokens u32 little-endian', [rootParameter]),
    '/pins/records/{root}': pin("boundary records of a receipt or of a segment job's claim, 108 bytes each", [rootParameter]),
    '/pins/rows/{root}': pin('rows that enter a segment job, by its boundary, or leave it, by the root of its records: i32 little-endian', [rootParameter]),
    '/pins/receipts/{session}/{host}': pin('a receipt of one host of a session: its signature 64, then what it signed', [
      { name: 'session', in: 'path', required: true, schema: { type: 'string', pattern: '^[0-9a-f]{64}$' } },
      { name: 'host', in: 'path', required: true, schema: { type: 'integer', minimum: 0, maximum: 31 } },
    ]),
    '/follow': {
      get: {
        summary: 'Server-sent events: status, transaction, block',
        parameters: [{ name: 'account', in: 'query', schema: hexText, description: 'only what touches this account' }],
        responses: { 200: { description: 'A stream', content: { 'text/event-stream': { schema: text } } } },
      },
    },
  },
} as const
