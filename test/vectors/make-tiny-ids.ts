// Makes tiny-ids.json: the ids of the tiny models in every architecture and format. Run it after a deliberate change of the package (then every model's id changes):
//   node test/vectors/make-tiny-ids.ts
import { writeFileSync } from 'node:fs'
import { architectures } from '../../protocol/model/manifest.ts'
import { formatNames } from '../tiny/formats.ts'
import { writeGguf } from '../tiny/gguf-writer.ts'
import { importBytes } from '../tiny/memory.ts'
import { tinyContents } from '../tiny/models.ts'

const ids: Record<string, string> = {}
for (const architecture of architectures) {
  for (const format of formatNames) ids[`${architecture} ${format}`] = (await importBytes(writeGguf(tinyContents({ architecture, format })))).modelId
}
writeFileSync(new URL('tiny-ids.json', import.meta.url), `${JSON.stringify(ids, null, 2)}\n`)
