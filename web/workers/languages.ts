// Which languages of code blocks get colours: what answers hold most. C++ is coloured as C, whose grammar is a seventh of the size.

export const languages = [
  'bash',
  'c',
  'csharp',
  'css',
  'diff',
  'docker',
  'go',
  'html',
  'java',
  'javascript',
  'json',
  'kotlin',
  'lua',
  'markdown',
  'php',
  'python',
  'r',
  'rust',
  'sql',
  'swift',
  'toml',
  'tsx',
  'typescript',
  'xml',
  'yaml',
] as const
export type Language = (typeof languages)[number]

const aliases: Record<string, Language> = {
  sh: 'bash',
  shell: 'bash',
  zsh: 'bash',
  console: 'bash',
  h: 'c',
  cpp: 'c',
  'c++': 'c',
  cc: 'c',
  hpp: 'c',
  'c#': 'csharp',
  cs: 'csharp',
  patch: 'diff',
  dockerfile: 'docker',
  golang: 'go',
  htm: 'html',
  js: 'javascript',
  mjs: 'javascript',
  node: 'javascript',
  kt: 'kotlin',
  md: 'markdown',
  py: 'python',
  python3: 'python',
  rs: 'rust',
  jsx: 'tsx',
  ts: 'typescript',
  svg: 'xml',
  yml: 'yaml',
}

/** The language that a fence names, null for one without colours. */
export function languageOf(name: string): Language | null {
  const lower = name.toLowerCase()
  return languages.find((language) => language === lower) ?? (Object.hasOwn(aliases, lower) ? aliases[lower] : null)
}

/** Longer code stays plain: nobody reads its colours, and they would be slow. */
export const codeLengthMax = 20_000

export interface PaintRequest {
  id: number
  code: string
  language: Language
}

/** `spans`: lines of [class, text]; a class is '' or one of the names in web/chat/highlight.css. */
export interface PaintReply {
  id: number
  lines: [string, string][][] | null
}
