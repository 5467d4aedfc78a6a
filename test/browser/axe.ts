// Serious and critical findings of axe on a page, each with its elements.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { Frame, Page } from 'playwright-core'

const path = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

export async function axe(page: Page | Frame): Promise<string[]> {
  // As text through the debugger: the page's policy lets no inline script in, which is the point of it.
  await page.evaluate(await readFile(path, 'utf8'))
  return page.evaluate(async () => {
    // A theme that was just switched fades in: colours on the way are nobody's contrast.
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
    await Promise.allSettled(document.getAnimations().map((one) => one instanceof CSSTransition && one.finished))
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> } }
    const { violations } = await axe.run()
    return violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' ')}`)
  })
}
