// `meadow bench <name>`: measurements. Each is a program of its own under test/bench, which may import what the relay must not.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineCommand } from 'citty'
import { interrupted } from '../cli.ts'
import { RelayError } from '../errors.ts'

const folder = fileURLToPath(new URL('../../test/bench/', import.meta.url))

/** Options after the name are the bench's own: they are passed on as they are. */
function benchOf(name: string, description: string) {
  return defineCommand({
    meta: { name, description },
    args: { json: { type: 'boolean', description: 'Print one JSON object as the last line: rows and bars' } },
    async run({ rawArgs }) {
      const program = `${folder}${name}.ts`
      if (!existsSync(program)) throw new RelayError(`This copy of Meadow has no ${program}.`)
      process.exitCode = await runProgram(program, rawArgs)
    },
  })
}

function runProgram(program: string, args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: 'inherit' })
    const stop = () => child.kill('SIGTERM')
    interrupted.addEventListener('abort', stop, { once: true })
    child.on('error', reject)
    child.on('exit', (code) => {
      interrupted.removeEventListener('abort', stop)
      if (interrupted.aborted) reject(interrupted.reason)
      else resolve(code ?? 1)
    })
  })
}

export const bench = defineCommand({
  meta: { name: 'bench', description: 'Measure' },
  subCommands: {
    engine: benchOf('engine', 'Speed and exactness of the engine, side by side with others on this machine'),
    ledger: benchOf('ledger', 'Transfers, settlements, time to acknowledgement, proofs, bytes, replay'),
    'ledger-kill': benchOf('ledger-kill', 'SIGKILL under load: nothing acknowledged is lost'),
    dispute: benchOf('dispute', 'Evidence, judge and whole games; --real plays one over the default model'),
    swarm: benchOf('swarm', 'What the mesh promises: ring, distance, kills, crowds, corrupt seeders, altered bits'),
  },
})
