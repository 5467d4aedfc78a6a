// What strangers write (models, people, imported files) is text: it runs nothing, fetches nothing, and links tell nobody where they were followed from.
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { launch, openPage, openSite, type Site } from './site.ts'

let site: Site
let browser: Browser

beforeAll(async () => {
  site = await openSite([])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})

const attacks = [
  '<script>window.hacked = 1</script>',
  '<img src=x onerror="window.hacked = 1">',
  '<svg onload="window.hacked = 1"></svg>',
  '<iframe srcdoc="<script>parent.hacked = 1</script>"></iframe>',
  '<a href="javascript:window.hacked=1">click</a>',
  '[click](javascript:window.hacked=1)',
  '[click](JaVaScRiPt:window.hacked=1 "t")',
  '[click](data:text/html,<script>window.hacked=1</script>)',
  '![picture](https://stranger.example/x.png)',
  '![picture](javascript:window.hacked=1)',
  '<style>body { display: none }</style>',
  '<form action="https://stranger.example"><button>go</button></form>',
  '<math><mtext><table><mglyph><style><!--</style><img title="--><img src=1 onerror=window.hacked=1>">',
  '```"><img src=x onerror=window.hacked=1>\n<script>window.hacked = 1</script>\n```',
  '`<img src=x onerror=window.hacked=1>`',
  '<!-- --><div id="app" class="x" style="position:fixed;inset:0">over</div>',
  '[ref]: javascript:window.hacked=1\n[ref]',
  '<https://stranger.example/"onmouseover="window.hacked=1">',
  '| a | b |\n|---|---|\n| <img src=x onerror=window.hacked=1> | x |',
  '<button data-copy onclick="window.hacked=1">Copy</button>',
  '[ok](https://example.com/page)',
]

test('markup in questions, answers and titles is shown, not run', async () => {
  const context = await browser.newContext()
  const { page, complaints } = await openPage(context, site)
  const messages = attacks.flatMap((text) => [
    { role: 'user', text },
    { role: 'assistant', text, stats: null, stopped: true, problem: text },
  ])
  const file = JSON.stringify({
    format: 'meadow-chats',
    version: 1,
    conversations: [{ title: attacks[1], createdAt: 1, updatedAt: 1, settings: { temperature: 'hot' }, messages }],
  })
  await page.getByLabel('File to import').setInputFiles({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from(file) })
  await page.getByText('Imported 1 chat.').waitFor()
  await page.locator('nav .title').click()
  expect(await page.locator('article').count()).toBe(attacks.length * 2)

  for (const link of await page.locator('.markdown a').all()) {
    expect(await link.getAttribute('href')).toMatch(/^(https?|mailto):/)
    expect(await link.getAttribute('rel')).toMatch(/noopener noreferrer/)
  }
  const inside = await page.evaluate(() => {
    const found = new Set<string>()
    for (const element of document.querySelectorAll('article *')) {
      if (['SCRIPT', 'IMG', 'IFRAME', 'FORM', 'STYLE', 'OBJECT', 'EMBED', 'MATH', 'INPUT'].includes(element.tagName.toUpperCase())) found.add(element.tagName)
      for (const { name } of element.attributes) if (name.startsWith('on') || name === 'style') found.add(`${element.tagName} ${name}`)
    }
    return [...found]
  })
  expect(inside).toEqual([])
  // Hovering and clicking what looks like a link or a button runs nothing either.
  for (const element of await page.locator('.markdown button').all()) await element.click()
  expect(await page.evaluate(() => (window as unknown as { hacked?: number }).hacked)).toBeUndefined()
  expect(await page.locator('.markdown a[href="https://example.com/page"]').count()).toBe(1)
  expect(complaints).toEqual([])
  await context.close()
})

test('the attacks would work on a page that showed them raw, so the test above proves something', async () => {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.setContent(`<body>${attacks[1]}</body>`)
  await page.waitForFunction(() => (window as unknown as { hacked?: number }).hacked === 1)
  await context.close()
})

test('markdown keeps its meaning: code with a copy button, lists, tables, quotes', async () => {
  const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] })
  const { page } = await openPage(context, site)
  const text =
    '# Title\n\n1. one\n2. two\n   - nested\n\n> quote\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint("<hi> & bye")\n```\n\n**bold** and `code`\n\n- [x] done'
  const messages = [{ role: 'assistant', text }]
  const file = JSON.stringify({ format: 'meadow-chats', version: 1, conversations: [{ title: 'Markdown', settings: {}, messages }] })
  await page.getByLabel('File to import').setInputFiles({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from(file) })
  await page.getByRole('button', { name: 'Markdown', exact: true }).click()
  const markdown = page.locator('.markdown')
  expect(await markdown.locator('h3, ol, ul, blockquote, table, .code, strong').count()).toBe(8)
  expect(await markdown.textContent()).toContain('☑ done')
  await markdown.getByRole('button', { name: 'Copy' }).click()
  await markdown.getByRole('button', { name: 'Copied' }).waitFor()
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('print("<hi> & bye")')
  await context.close()
})
