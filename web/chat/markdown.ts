// A model's markdown to HTML that can do nothing: no raw HTML, no images, no scripts, links that tell nobody where one came from.
// marked writes only what the renderer below allows, and DOMPurify checks that this is so.
import DOMPurify from 'dompurify'
import { Marked, type Tokens } from 'marked'

const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => escapes[c])
const safeLink = /^(?:https?:|mailto:)/i

/** Colours of a code block as lines of [class, text]; null for plain code, undefined while they are awaited. */
export type Paint = (code: string, language: string) => [string, string][][] | null | undefined

/** Set while blocks are rendered: where colours come from, and whether some are awaited. */
let paint: Paint = () => null
let awaited = false

/** A fence that is closed: code that still streams gets its colours when it is whole. */
const closedFence = /\n[ \t>]*(?:`{3,}|~{3,})\s*$/

function codeHtml(text: string, language: string, raw: string): string {
  const lines = language && closedFence.test(raw) ? paint(text, language) : null
  if (lines === undefined) awaited = true
  if (!lines) return escapeHtml(text)
  return lines
    .map((line) => line.map(([name, words]) => (name ? `<span class="${escapeHtml(name)}">${escapeHtml(words)}</span>` : escapeHtml(words))).join(''))
    .join('\n')
}

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escapeHtml(text),
    // Pictures would be requests to strangers: their description stands in, as a link when there is somewhere to go.
    image({ href, text }: Tokens.Image) {
      const label = escapeHtml(`[image: ${text || 'no description'}]`)
      return safeLink.test(href) ? `<a href="${escapeHtml(href)}">${label}</a>` : label
    },
    link({ href, tokens }: Tokens.Link) {
      const inner = this.parser.parseInline(tokens)
      return safeLink.test(href) ? `<a href="${escapeHtml(href)}">${inner}</a>` : inner
    },
    code({ text, lang, raw }: Tokens.Code) {
      const language = escapeHtml((lang ?? '').split(/\s/)[0].slice(0, 24))
      return `<div class="code"><div class="code-head"><span>${language || 'text'}</span><button type="button" class="code-copy" data-copy="">Copy</button></div><pre tabindex="0"><code>${codeHtml(text, (lang ?? '').split(/\s/)[0], raw)}</code></pre></div>`
    },
    // Headings sit below the page's own.
    heading({ tokens, depth }: Tokens.Heading) {
      const level = Math.min(6, depth + 2)
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`
    },
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? '☑ ' : '☐ '),
  },
})

const allowed = {
  ALLOWED_TAGS: [
    'a',
    'p',
    'br',
    'hr',
    'strong',
    'em',
    'del',
    'code',
    'pre',
    'blockquote',
    'ul',
    'ol',
    'li',
    'h3',
    'h4',
    'h5',
    'h6',
    'table',
    'thead',
    'tbody',
    'tr',
    'th',
    'td',
    'div',
    'span',
    'button',
  ],
  ALLOWED_ATTR: ['href', 'class', 'type', 'data-copy', 'tabindex', 'start', 'align', 'target', 'rel'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: safeLink,
}

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return
  node.setAttribute('rel', 'noopener noreferrer nofollow')
  node.setAttribute('target', '_blank')
})

/** Rendered blocks by source: while an answer streams only its last block changes. */
const rendered = new Map<string, string>()
const renderedMax = 2000

/** The top-level blocks of a text as safe HTML, in order. */
export function blocksOf(text: string, colours: Paint = () => null): string[] {
  paint = colours
  return marked.lexer(text).flatMap((token) => {
    if (token.type === 'space' || token.type === 'def') return []
    const known = rendered.get(token.raw)
    if (known !== undefined) return [known]
    awaited = false
    const wrapped = token.type === 'table' ? `<div class="table" tabindex="0">${marked.parser([token])}</div>` : marked.parser([token])
    const html = DOMPurify.sanitize(wrapped, allowed)
    if (awaited) return [html]
    if (rendered.size >= renderedMax) rendered.clear()
    rendered.set(token.raw, html)
    return [html]
  })
}
