// Makes the golden hashes of protocol/engine/selftest.ts with the reference engine: node test/vectors/make-selftest.ts
// Run it only when the specification changes; say so in the CHANGELOG, since every device's self-test changes with it.
import { createReferenceEngine } from '../../protocol/engine/reference.ts'
import { selfTestHash, selfTestSource } from '../../protocol/engine/selftest.ts'
import { architectures } from '../../protocol/model/manifest.ts'

for (const architecture of architectures) {
  console.log(`  ${architecture}: '${await selfTestHash(await createReferenceEngine(selfTestSource(architecture)))}',`)
}
