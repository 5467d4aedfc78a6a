// `npm test`: installs what tests need, checks types and style, runs the fast tests, then those with browsers and the real model.
// Arguments: --fast leaves out browsers and the real model; others go to vitest (`npm test -- --fast protocol/hash`).
// The last line is `N passed, N failed`, over everything.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ensureBuilt, ensureInstalled, main, node24, root, run } from './bootstrap.mjs'
import { ensureBrowsers } from './browsers.mjs'
import { runChecks } from './check.mjs'

const total = { passed: 0, failed: 0 }
const startedMs = Date.now()

function count({ passed, failed }) {
  total.passed += passed
  total.failed += failed
}

const step = (title) => console.log(`\n── ${title} (${Math.round((Date.now() - startedMs) / 1000)} s)`)

/** Passed and failed tests of vitest's JSON report; a file that could not be loaded and an error outside of any test count as one failure each. */
function readReport(path, exitCode) {
  if (!existsSync(path)) return { passed: 0, failed: 1 }
  const report = JSON.parse(readFileSync(path, 'utf8'))
  const broken = report.testResults.filter((file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')).length
  const failed = report.numFailedTests + broken
  return { passed: report.numPassedTests, failed: failed === 0 && exitCode !== 0 ? 1 : failed }
}

async function runTests(project, args, env = {}) {
  const report = join(root, '.cache', `tests-${project}.json`)
  mkdirSync(join(root, '.cache'), { recursive: true })
  rmSync(report, { force: true })
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`, '--passWithNoTests']
  const code = await run(node24, [vitest, 'run', '--project', project, ...reporters, ...args], { env })
  count(readReport(report, code))
}

await main(async () => {
  const fastOnly = process.argv.includes('--fast')
  const args = process.argv.slice(2).filter((argument) => argument !== '--fast')
  try {
    await ensureInstalled()
    step('build')
    await ensureBuilt()
    step('types and style')
    if (args.length === 0) count(await runChecks())
    step('fast tests')
    await runTests('fast', args)
    if (!fastOnly) {
      step('browsers and the default model')
      const browsers = await ensureBrowsers()
      if (!browsers.chromium || !browsers.firefox) count({ passed: 0, failed: 1 })
      const model = await run(node24, ['relay/main.ts', 'model', 'add'])
      if (model !== 0) count({ passed: 0, failed: 1 })
      step('browser and real-model tests')
      await runTests('real', args, { MEADOW_CHROMIUM: browsers.chromium, MEADOW_FIREFOX: browsers.firefox })
    }
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    count({ passed: 0, failed: 1 })
  }
  step('done')
  console.log(`${total.passed} passed, ${total.failed} failed`)
  return total.failed === 0 ? 0 : 1
})
