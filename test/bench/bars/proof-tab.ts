// What it costs a tab to believe an account: a ledger of 100,000 accounts, one answer of its relay, checked in headless Chromium and Firefox by the code of the explorer.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { encodeSigned, signHeader } from '../../../ledger/block.ts'
import { genesisState } from '../../../ledger/chain.ts'
import { chainNumber, encodeGenesis, genesisHash } from '../../../ledger/genesis.ts'
import { give } from '../../../ledger/purse.ts'
import { keyOf } from '../../../ledger/records.ts'
import { hashTagged, hex, u32 } from '../../../protocol/hash.ts'
import { type Browser, launchChromium, launchFirefox } from '../browsers.ts'
import { accountsOf, genesisOf } from '../ledger-load.ts'
import type { ProofQuestion } from '../ledger-page/main.ts'
import { buildFolder } from '../model.ts'
import { serve } from '../serve.ts'
import { atMost, type Bar } from './bar.ts'

const records = 100_000
const times = 200

/** The relay's answer about one of 100,000 accounts, and its size: value and proof. */
function question(): ProofQuestion & { bytes: number } {
  const [operator] = accountsOf(1)
  const genesis = genesisOf([operator])
  const name = genesisHash(genesis)
  const state = genesisState(genesis)
  const id = (i: number): Uint8Array => hashTagged('bench-holder', u32(i))
  for (let i = 0; i < records; i++) give(state, id(i), BigInt(1_000_000 + i))
  state.keep()
  state.seal()
  const key = keyOf.account(id(records >> 1))
  const { value, proof } = state.prove(key)
  const zeros = new Uint8Array(32)
  const header = signHeader(operator.secret, name, {
    version: 1,
    chain: chainNumber(name),
    height: 1,
    timeMs: genesis.timeMs,
    previous: zeros,
    stateRoot: state.root(),
    transactionRoot: zeros,
    transactions: 0,
    producer: operator.id,
  })
  const answer = JSON.stringify({ key, value: hex(value!), proof: hex(proof), header: hex(encodeSigned(header)) })
  return { genesis: hex(encodeGenesis(genesis)), key, answer, times, bytes: value!.length + proof.length }
}

/** One bar for each browser that is there, and one for the size; `details` names browsers and the first check, when nothing is compiled yet. */
export async function proofBars(details: Record<string, number | string>): Promise<Bar[]> {
  const outDir = join(buildFolder, 'ledger-page')
  const root = fileURLToPath(new URL('../ledger-page/', import.meta.url))
  await build({ root, configFile: false, logLevel: 'error', base: './', build: { outDir, emptyOutDir: true, target: 'es2024' } })
  const server = await serve({ '/page': outDir })
  const { bytes, ...asked } = question()
  const bars: Bar[] = [atMost(`proof of one of ${records.toLocaleString('en')} accounts, record included`, bytes, 'bytes', 4096)]
  try {
    for (const [name, launch] of [
      ['Chromium', launchChromium],
      ['Firefox', launchFirefox],
    ] as [string, () => Promise<Browser>][]) {
      const browser = await launch().catch((error: Error) => {
        details[`${name} was not measured`] = error.message
        return null
      })
      if (!browser) continue
      try {
        const tab = await browser.open(`${server.address}/page/index.html`)
        const { ms } = (await tab.call('proof', asked)) as { ms: number[] }
        details[`first check in ${name} ${browser.version}, ms`] = ms[0]
        const sorted = [...ms].sort((a, b) => a - b)
        bars.push(atMost(`account checked in ${name}, median of ${times}`, sorted[sorted.length >> 1], 'ms', 5))
      } finally {
        await browser.close()
      }
    }
  } finally {
    await server.close()
  }
  return bars
}
