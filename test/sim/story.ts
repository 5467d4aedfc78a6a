// `npm run sim -- SEED`: a network lives in one terminal. First the mesh (hosts come, die, go silent and lie while questions are answered), then the ledger over the
// same seed (payments, audits, a cheat drawn, challenged and slashed). Prints one final hash, the same every time; ends with code 1 when an invariant broke.
import { hex, sha256 } from '../../protocol/hash.ts'
import { simulate } from './ledger.ts'
import { meshStory } from './mesh.ts'

const text = process.argv[2] ?? '42'
const seed = Number(text)
if (!(Number.isSafeInteger(seed) && seed >= 0)) {
  console.error(`${text} is not a seed: give an integer from 0 on.`)
  process.exit(2)
}
console.log('— the mesh')
const mesh = await meshStory(seed, Number(process.argv[3] ?? 60), (line) => console.log(line))
console.log('— the ledger')
const ledger = await simulate(seed, 60, true)
for (const line of ledger.story) console.log(line)
console.log(`hash ${hex(sha256(new TextEncoder().encode(`${mesh.hash} ${ledger.hash}`)))}`)
if (mesh.wrong + mesh.unanswered + mesh.leaked + mesh.ghosts > 0) process.exitCode = 1
