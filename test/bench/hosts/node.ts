// Meadow in Node, in a process of its own.
import { readFile } from 'node:fs/promises'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { createNodeWasmEngine } from '../../../relay/wasm-thread.ts'
import { answerCalls } from '../child.ts'
import { folderSource } from './folder-source.ts'
import { createStation } from './station.ts'

const station = createStation(
  async (backend, threads, source, options) => {
    if (backend === 'reference') return createReferenceEngine(source, options)
    return createNodeWasmEngine(source, { ...options, threads })
  },
  (folder) => folderSource((name) => readFile(`${folder}/${name}`)),
)
await answerCalls({ ...station })
