// Writes tiny models as GGUF files, for trying commands and pages without a real model:
//   node test/tiny/make.ts <folder> [architecture…]      every architecture in every format; llama also with Llama 3's rotary factors, and split in three
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Architecture, architectures } from '../../protocol/model/manifest.ts'
import { formatNames } from './formats.ts'
import { splitGguf, writeGguf } from './gguf-writer.ts'
import { tinyContents } from './models.ts'

const [folder, ...wanted] = process.argv.slice(2)
if (!folder) throw new Error('usage: node test/tiny/make.ts <folder> [architecture…]')
mkdirSync(folder, { recursive: true })
for (const architecture of wanted.length > 0 ? (wanted as Architecture[]) : architectures) {
  for (const format of formatNames) writeFileSync(join(folder, `tiny-${architecture}.${format}.gguf`), writeGguf(tinyContents({ architecture, format })))
  if (architecture !== 'llama') continue
  writeFileSync(join(folder, 'tiny-llama3.Q4_0.gguf'), writeGguf(tinyContents({ architecture, format: 'Q4_0', llama3: true })))
  for (const part of splitGguf(tinyContents({ architecture, format: 'Q8_0' }), 3, 'tiny-llama-split')) writeFileSync(join(folder, part.name), part.bytes)
}
