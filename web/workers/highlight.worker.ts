// Colours of code blocks, off the page's thread: grammars are large and some lines slow. Answers with words and classes, never with markup; styles are the page's.
// Shiki with regular expressions of the browser's own: no WASM, no eval, a chunk for each grammar.
import { createCssVariablesTheme, createHighlighterCore, type HighlighterCore, type LanguageInput } from 'shiki/core'
import { createJavaScriptRegexEngine } from 'shiki/engine/javascript'
import type { Language, PaintReply, PaintRequest } from './languages.ts'

const scope = self as unknown as DedicatedWorkerGlobalScope

const grammars: Record<Language, LanguageInput> = {
  bash: () => import('shiki/langs/bash.mjs'),
  c: () => import('shiki/langs/c.mjs'),
  csharp: () => import('shiki/langs/csharp.mjs'),
  css: () => import('shiki/langs/css.mjs'),
  diff: () => import('shiki/langs/diff.mjs'),
  docker: () => import('shiki/langs/docker.mjs'),
  go: () => import('shiki/langs/go.mjs'),
  html: () => import('shiki/langs/html.mjs'),
  java: () => import('shiki/langs/java.mjs'),
  javascript: () => import('shiki/langs/javascript.mjs'),
  json: () => import('shiki/langs/json.mjs'),
  kotlin: () => import('shiki/langs/kotlin.mjs'),
  lua: () => import('shiki/langs/lua.mjs'),
  markdown: () => import('shiki/langs/markdown.mjs'),
  php: () => import('shiki/langs/php.mjs'),
  python: () => import('shiki/langs/python.mjs'),
  r: () => import('shiki/langs/r.mjs'),
  rust: () => import('shiki/langs/rust.mjs'),
  sql: () => import('shiki/langs/sql.mjs'),
  swift: () => import('shiki/langs/swift.mjs'),
  toml: () => import('shiki/langs/toml.mjs'),
  tsx: () => import('shiki/langs/tsx.mjs'),
  typescript: () => import('shiki/langs/typescript.mjs'),
  xml: () => import('shiki/langs/xml.mjs'),
  yaml: () => import('shiki/langs/yaml.mjs'),
}

let opened: Promise<HighlighterCore> | null = null
const open = (): Promise<HighlighterCore> =>
  createHighlighterCore({
    // A theme of names instead of colours: `var(--token-keyword)` becomes the class `token-keyword`.
    themes: [createCssVariablesTheme({ name: 'names', variablePrefix: '--', fontStyle: false })],
    langs: [],
    // Some grammars hold an expression that browsers cannot have: what it would colour stays plain.
    engine: createJavaScriptRegexEngine({ forgiving: true }),
  })

async function paint({ code, language }: PaintRequest): Promise<[string, string][][]> {
  opened ??= open()
  const highlighter = await opened
  await highlighter.loadLanguage(grammars[language])
  const lines = highlighter.codeToTokensBase(code, { lang: language, theme: 'names', tokenizeMaxLineLength: 2000, tokenizeTimeLimit: 100 })
  return lines.map((line) => line.map(({ content, color }) => [/--(token-[a-z-]+)/.exec(color ?? '')?.[1] ?? '', content]))
}

/** One after the other: a block that is asked for again while it is painted costs nothing but its turn. */
let turn: Promise<void> = Promise.resolve()
scope.onmessage = ({ data }: MessageEvent<PaintRequest>) => {
  turn = turn.then(async () => {
    const lines = await paint(data).catch(() => null)
    scope.postMessage({ id: data.id, lines } satisfies PaintReply)
  })
}
