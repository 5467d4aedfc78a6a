// Colours of code in answers: they come late, change no character, obey the content security policy, and can be read in both themes.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Language, languageOf, languages } from '../../web/workers/languages.ts'
import { launch, openPage, openSite, type Site } from './site.ts'

let site: Site
let browser: Browser
let context: BrowserContext

beforeAll(async () => {
  site = await openSite([])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => context?.close())

/** A page that shows one answer, imported. */
async function showing(text: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<{ page: Page; complaints: string[]; scripts: string[] }> {
  // Without a service worker, which fetches everything for later: what is requested is what the page needed.
  context = await browser.newContext({ serviceWorkers: 'block', ...options })
  const scripts: string[] = []
  context.on('request', (request) => scripts.push(new URL(request.url()).pathname))
  const { page, complaints } = await openPage(context, site)
  const file = JSON.stringify({ format: 'meadow-chats', version: 1, conversations: [{ title: 'Code', settings: {}, messages: [{ role: 'assistant', text }] }] })
  await page.getByLabel('File to import').setInputFiles({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from(file) })
  await page.getByRole('button', { name: 'Code', exact: true }).click()
  await page.locator('.markdown').waitFor()
  return { page, complaints, scripts }
}

const fence = (language: string, code: string): string => `\`\`\`${language}\n${code}\n\`\`\`\n`

/** A line of every language that holds a keyword, a string or a comment. */
const samples: Record<Language, string> = {
  bash: 'if [ -f "$HOME/x" ]; then echo "yes"; fi',
  c: 'int main(void) { return 0; } /* end */',
  csharp: 'public class A { string s = "x"; }',
  css: 'a { color: red; } /* note */',
  diff: '- old\n+ new',
  docker: 'FROM node:24\nRUN npm install',
  go: 'func main() { fmt.Println("x") }',
  html: '<!-- note --><p class="x">text</p>',
  java: 'public class A { String s = "x"; }',
  javascript: 'const x = "a" + b // note',
  json: '{ "a": [1, true, "x"] }',
  kotlin: 'fun main() { println("x") }',
  lua: 'local x = "y" -- note',
  markdown: '# Title\n\n**bold** and `code`',
  php: '<?php echo "x"; // note',
  python: 'def f(x):\n    return "<&>" # note',
  r: 'f <- function(x) x + 1 # note',
  rust: 'fn main() { let x = "y"; }',
  sql: "SELECT a FROM b WHERE c = 'x' -- note",
  swift: 'let x = "y" // note',
  toml: '[a]\nb = "c" # note',
  tsx: 'const x = <p className="a">{b as string}</p>',
  typescript: 'type A = { b: string } // note',
  xml: '<a b="c"><!-- note --></a>',
  yaml: 'a: "b" # note',
}

test('every language of the list is coloured, and no character changes', async () => {
  const { page, complaints, scripts } = await showing(languages.map((language) => fence(language, samples[language])).join('\n'))
  for (const [i, language] of languages.entries()) {
    const code = page.locator('.code code').nth(i)
    await code.locator('[class^=token-]').first().waitFor()
    expect([language, await code.textContent()]).toEqual([language, samples[language]])
  }
  expect(await page.locator('.markdown [style]').count()).toBe(0)
  expect(scripts.filter((path) => path.includes('highlight.worker')).length).toBe(1)
  expect(complaints).toEqual([])
})

test('without code of a known language nothing is loaded for colours, and what is unknown, too long or unfinished stays plain', async () => {
  const text = [
    fence('', 'plain = "x"'),
    fence('klingon', 'qapla = "x"'),
    fence('constructor', 'x = "y"'),
    fence('python', 'x = "y"\n'.repeat(3000)),
    '```python\nstill = "open"',
  ].join('\n')
  const { page, complaints, scripts } = await showing(text)
  expect(await page.locator('.code').count()).toBe(5)
  await page.evaluate(() => new Promise<void>((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve()))))
  expect(await page.locator('.code [class^=token-]').count()).toBe(0)
  expect(scripts.filter((path) => path.includes('highlight'))).toEqual([])
  expect(complaints).toEqual([])
})

test('code inside lists is coloured, is copied as it was, and markup in it stays text', async () => {
  const attack = 'x = "<img src=x onerror=window.hacked=1>" # </code><script>window.hacked=1</script>'
  const { page, complaints } = await showing(`1. First:\n\n   ${fence('py', attack).replaceAll('\n', '\n   ')}\n2. Second`, {
    permissions: ['clipboard-read', 'clipboard-write'],
  })
  await page.locator('li [class^=token-string]').first().waitFor()
  await page.getByRole('button', { name: 'Copy', exact: true }).first().click()
  await page.getByRole('button', { name: 'Copied' }).waitFor()
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(attack)
  expect(await page.locator('.code img, .code script').count()).toBe(0)
  expect(await page.evaluate(() => (window as unknown as { hacked?: number }).hacked)).toBeUndefined()
  expect(complaints).toEqual([])
})

test('a worker that falls silent leaves the code plain and the page alive', async () => {
  context = await browser.newContext({ serviceWorkers: 'block' })
  await context.route(/\/assets\/highlight\.worker-.*\.js$/, async (route) =>
    route.fulfill({ response: await route.fetch(), body: 'self.onmessage = () => {}' }),
  )
  const page = await context.newPage()
  await page.clock.install()
  await page.goto(`${site.url}/chat/`)
  const messages = [{ role: 'assistant', text: fence('python', samples.python) }]
  const file = JSON.stringify({ format: 'meadow-chats', version: 1, conversations: [{ title: 'Code', settings: {}, messages }] })
  await page.getByLabel('File to import').setInputFiles({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from(file) })
  const started = page.waitForEvent('worker', (worker) => worker.url().includes('highlight'))
  await page.getByRole('button', { name: 'Code', exact: true }).click()
  const ended = (await started).waitForEvent('close')
  await page.clock.runFor(11_000)
  await ended
  expect(await page.locator('.code code').textContent()).toBe(samples.python)
})

test.each(['light', 'dark'] as const)('colours differ from the text and are readable in the %s theme', async (colorScheme) => {
  const code = [fence('typescript', 'const f = (x: number) => "a" + 1 // note'), fence('diff', '- old\n+ new'), fence('markdown', '[a](https://b.example)')]
  const { page } = await showing(code.join('\n'), { colorScheme })
  await page.locator('.code .token-inserted').waitFor()
  await page.locator('.code .token-keyword').first().waitFor()
  const found = await page.evaluate(() => {
    const luminance = (colour: string): number => {
      const [r, g, b] = colour.match(/[\d.]+/g)!.map((part) => Number(part) / 255)
      const linear = (v: number): number => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }
    const names = 'comment keyword string string-expression constant function parameter punctuation link inserted deleted changed'.split(' ')
    const box = document.querySelector('.code')!
    const paper = luminance(getComputedStyle(box).backgroundColor)
    const plain = getComputedStyle(box.querySelector('code')!).color
    return names.map((name) => {
      const span = document.createElement('span')
      span.className = `token-${name}`
      box.querySelector('code')!.append(span)
      const { color } = getComputedStyle(span)
      const [high, low] = [luminance(color), paper].sort((a, b) => b - a)
      return { name, contrast: (high + 0.05) / (low + 0.05), differs: color !== plain }
    })
  })
  for (const { name, contrast, differs } of found) expect([name, contrast >= 4.5, differs]).toEqual([name, true, true])
})

test('names of languages are found as people write them', () => {
  expect(['py', 'JS', 'c++', 'TypeScript', 'yml', 'toString', '', 'klingon'].map(languageOf)).toEqual([
    'python',
    'javascript',
    'c',
    'typescript',
    'yaml',
    null,
    null,
    null,
  ])
})
