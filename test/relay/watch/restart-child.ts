// An agent in a process of its own, for tests that kill it:   node test/relay/watch/restart-child.ts ADDRESS HOME NAME solve|watch|lie

import { ModelMind } from '../../../relay/watch/mind.ts'
import { runAgent } from '../../../relay/watch/start.ts'
import { smallCore, tinyModel } from '../../ledger/dispute/tiny.ts'
import { person } from '../../ledger/world.ts'
import { heldTiny } from './stage.ts'

const [relay, home, name, part] = process.argv.slice(2)
const ended = new AbortController()
process.once('SIGTERM', () => ended.abort())
const mind = new ModelMind(heldTiny(await tinyModel(smallCore('llama'))))
await runAgent({
  home,
  relay,
  secret: person(name).secret,
  mindOf: async () => mind,
  solve: part === 'solve' ? { feeMin: 0n } : false,
  share: part === 'watch' ? 1 : null,
  onNotice: (notice) => console.log(JSON.stringify(notice)),
  signal: ended.signal,
})
process.exit()
