// What a person lends: choices that stay, in localStorage as one JSON value. Missing or damaged means defaults.
import type { DeviceChoice } from '../workers/messages.ts'

export interface LendingChoices {
  /** 1..100: part of the time that this device computes for others. */
  share: number
  memoryMB: number
  /** Kilobytes per second that may be sent to others; 0: no limit. */
  uploadKBps: number
  storageMB: number
  device: DeviceChoice
  /** 0 = as many as the device has cores, at most 8. */
  threads: number
  /** Pauses while the battery is in use. */
  mainsOnly: boolean
  /** Pauses on a network that counts bytes. */
  unmeteredOnly: boolean
  /** Pauses while somebody uses this device. */
  idleOnly: boolean
  /** Lends only between these hours of the day (local time); equal: always. */
  fromHour: number
  toHour: number
  /** Keeps the screen on. */
  wake: boolean
  /** Plays what nobody hears, so that a hidden tab is not slowed. */
  tone: boolean
  /** Serves people of one's own invitation only while others are refused; ids of models that are not lent. */
  without: string[]
}

export const shareMin = 10
export const memoryMB = { min: 128, max: 8192 }
export const uploadKBps = { max: 20_000 }
export const storageMB = { min: 128, max: 65_536 }

/** A quarter of the memory the browser admits to (it says at most 8 GB), 512 MB where it says nothing. */
function memoryDefault(): number {
  const gigabytes = (navigator as Navigator & { deviceMemory?: number }).deviceMemory ?? 2
  return Math.min(2048, Math.max(memoryMB.min, gigabytes * 256))
}

export const defaultChoices = (): LendingChoices => ({
  share: 100,
  memoryMB: memoryDefault(),
  uploadKBps: 0,
  storageMB: 2048,
  device: 'auto',
  threads: 0,
  mainsOnly: true,
  unmeteredOnly: true,
  idleOnly: false,
  fromHour: 0,
  toHour: 0,
  wake: false,
  tone: false,
  without: [],
})

const key = 'meadow-lending'

export function readChoices(): LendingChoices {
  const choices = defaultChoices()
  try {
    const json = JSON.parse(localStorage.getItem(key) ?? '{}') as Record<string, unknown>
    const whole = (name: keyof LendingChoices, min: number, max: number): void => {
      const value = json[name]
      if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) Object.assign(choices, { [name]: value })
    }
    whole('share', shareMin, 100)
    whole('memoryMB', 1, memoryMB.max)
    whole('uploadKBps', 0, uploadKBps.max)
    whole('storageMB', 1, storageMB.max)
    whole('threads', 0, 64)
    whole('fromHour', 0, 23)
    whole('toHour', 0, 23)
    for (const name of ['mainsOnly', 'unmeteredOnly', 'idleOnly', 'wake', 'tone'] as const)
      if (typeof json[name] === 'boolean') choices[name] = json[name] as boolean
    if (json.device === 'webgpu' || json.device === 'wasm') choices.device = json.device
    if (Array.isArray(json.without))
      choices.without = json.without.filter((id): id is string => typeof id === 'string' && /^[0-9a-f]{64}$/.test(id)).slice(0, 64)
  } catch {
    // Forbidden or damaged: defaults.
  }
  return choices
}

export function writeChoices(choices: LendingChoices): void {
  try {
    localStorage.setItem(key, JSON.stringify(choices))
  } catch {
    // Storage is forbidden: the choices hold for this page only.
  }
}

/** Whether an hour of the day lies in [from, to), over midnight too; equal ends mean always. */
export function withinHours(hour: number, from: number, to: number): boolean {
  if (from === to) return true
  return from < to ? hour >= from && hour < to : hour >= from || hour < to
}
