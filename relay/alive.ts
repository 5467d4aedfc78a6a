// Whether a process that left its number behind still runs.
import { codeOf } from './errors.ts'

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Another user's process: it is there, but not ours to signal.
    return codeOf(error) === 'EPERM'
  }
}
