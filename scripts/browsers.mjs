// The browsers tests need: Chromium and Firefox, with a software Vulkan driver so that Firefox has a WebGPU adapter without a GPU.
// From the system where there are any, from apt as root, else downloaded into .cache/browsers.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { node24, root, run } from './bootstrap.mjs'

const chromiumPaths = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]
const firefoxPaths = ['/usr/bin/firefox-esr', '/usr/bin/firefox', '/Applications/Firefox.app/Contents/MacOS/firefox']
const cache = join(root, '.cache', 'browsers')

function inCache(ending) {
  if (!existsSync(cache)) return undefined
  const found = readdirSync(cache, { recursive: true })
    .map(String)
    .find((path) => ending.test(path))
  return found && join(cache, found)
}

const chromium = () => process.env.MEADOW_CHROMIUM ?? chromiumPaths.find((path) => existsSync(path)) ?? inCache(/\/(chrome|Google Chrome for Testing)$/)
const firefox = () => process.env.MEADOW_FIREFOX ?? firefoxPaths.find((path) => existsSync(path)) ?? inCache(/\/firefox$/)
const vulkan = () => existsSync('/usr/share/vulkan/icd.d') && readdirSync('/usr/share/vulkan/icd.d').length > 0

function has(program) {
  try {
    execFileSync('which', [program], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/**
 * Installs what is missing. Returns { chromium, firefox }: paths, or undefined with a sentence on stderr that says what to do.
 * @returns {Promise<{ chromium: string | undefined, firefox: string | undefined }>}
 */
export async function ensureBrowsers() {
  const linux = process.platform === 'linux'
  const packages = [...(chromium() ? [] : ['chromium']), ...(firefox() ? [] : ['firefox-esr']), ...(!linux || vulkan() ? [] : ['mesa-vulkan-drivers'])]
  if (packages.length > 0 && linux && has('apt-get') && process.getuid?.() === 0) {
    console.log(`Installing ${packages.join(', ')} …`)
    const env = { DEBIAN_FRONTEND: 'noninteractive' }
    const update = await run('apt-get', ['update', '-qq'], { env })
    const install = await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { env, stdio: ['ignore', 'ignore', 'inherit'] })
    if (update !== 0 || install !== 0) console.error(`apt-get could not install ${packages.join(', ')}.`)
  }
  const download = async (browser) => {
    console.log(`Downloading ${browser} into .cache/browsers …`)
    const tool = join(root, 'node_modules', '.bin', 'browsers')
    await run(node24, [tool, 'install', browser, '--path', cache])
  }
  if (!chromium()) await download('chrome@stable')
  if (!firefox()) await download('firefox@stable')
  const missing = [...(chromium() ? [] : ['chromium']), ...(firefox() ? [] : ['firefox-esr']), ...(!linux || vulkan() ? [] : ['mesa-vulkan-drivers'])]
  if (missing.length > 0)
    console.error(
      `Browser tests need ${missing.join(', ')}: install them (Debian: sudo apt-get install ${missing.join(' ')}) or set MEADOW_CHROMIUM and MEADOW_FIREFOX.`,
    )
  return { chromium: chromium(), firefox: firefox() }
}
