// Ten thousand single alterations at random places of tiny models, each played to its end: the cheat against an honest watcher, and as often an honest host against a
// named adversary.   node test/bench/dispute-alterations.ts --count 10000 [--first 1] [--json]
// `count` games of each side. Prints what fell, how, and every wrong verdict; leaves with 1 when there is one.
import { parseArgs } from 'node:util'
import { adversaryNames } from '../../ledger/dispute/adversaries.ts'
import { cheatOf } from '../ledger/dispute/cheats.ts'
import { againstCheat, againstHonest } from '../ledger/dispute/tournament.ts'

const { values } = parseArgs({
  options: { count: { type: 'string', default: '10000' }, first: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } },
})
const count = Number(values.count)
const began = performance.now()
const tally = (map: Record<string, number>, name: string): void => {
  map[name] = (map[name] ?? 0) + 1
}
const places: Record<string, number> = {}
const architectures: Record<string, number> = {}
const endings: Record<string, number> = {}
const foes: Record<string, number> = {}
const wrong: string[] = []
let [fallen, upheld, unseen, reveals, evidence, done, held] = [0, 0, 0, 0, 0, 0, 0]

for (let seed = Number(values.first); done < count || held < count; seed++) {
  const cheat = await cheatOf(seed)
  if (!cheat) {
    unseen++
    continue
  }
  const what = `seed ${seed}: ${cheat.architecture}, ${cheat.what}`
  try {
    if (done < count) {
      done++
      const ended = againstCheat(cheat, seed)
      if (ended.outcome === 'fallen') fallen++
      else wrong.push(`${what}: the cheat won`)
      tally(places, cheat.place)
      tally(architectures, cheat.architecture)
      tally(endings, ended.ending)
      reveals = Math.max(reveals, ended.reveals)
      evidence = Math.max(evidence, ended.evidence)
    }
    // A true claim: the answer of the same model that the cheat falsified, or the claim whose trace alone was false.
    if (held < count) {
      held++
      const name = adversaryNames[seed % adversaryNames.length]
      tally(foes, name)
      if (againstHonest(cheat, name, seed).outcome === 'upheld') upheld++
      else wrong.push(`${what}: an honest claim fell to ${name}`)
    }
  } catch (error) {
    wrong.push(`${what}: ${(error as Error).message}`)
  }
  if (!values.json && done % 250 === 0)
    console.error(`${done} alterations, ${held} honest claims, ${wrong.length} wrong, ${Math.round((performance.now() - began) / 1000)} s`)
}

const result = {
  alterations: done,
  fallen,
  honestClaims: held,
  upheld,
  unseen,
  wrong: wrong.length,
  places,
  architectures,
  endings,
  adversaries: foes,
  revealsMost: reveals,
  evidenceBytesMost: evidence,
  seconds: Math.round((performance.now() - began) / 1000),
}
console.log(JSON.stringify(result, null, values.json ? 0 : 2))
for (const line of wrong.slice(0, 20)) console.error(line)
process.exitCode = wrong.length > 0 ? 1 : 0
