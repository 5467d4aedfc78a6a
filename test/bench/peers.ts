// The engines Meadow is measured against. They are no dependencies of Meadow: the first bench installs them, prebuilt, beside this file.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const peersFolder = fileURLToPath(new URL('./peers/', import.meta.url))

/**
 * 136 MB. Install scripts are off (peers/.npmrc), so nothing is compiled and no binary is downloaded from elsewhere; llama.cpp's GPU builds, half a gigabyte more, are
 * overridden by an empty package. `install`, not `ci`: some platforms' packages are missing from some registries, which `ci` does not forgive. Throws when npm fails.
 */
export async function installPeers(): Promise<void> {
  if (existsSync(`${peersFolder}node_modules/node-llama-cpp/package.json`) && existsSync(`${peersFolder}node_modules/@wllama/wllama/package.json`)) return
  await promisify(execFile)('npm', ['install', '--no-save'], { cwd: peersFolder })
}
