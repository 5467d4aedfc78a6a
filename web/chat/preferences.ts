// Small choices that must be there at once: localStorage, as one JSON value. Missing or damaged means defaults.
import type { DeviceChoice, Measured } from '../workers/messages.ts'
import { defaultSettings, parseSettings, type Settings } from './settings.ts'
import type { Where } from './where.ts'

export interface Preferences {
  modelId: string | null
  /** This device unless the person chose otherwise: elsewhere others can read the words. */
  where: Where
  device: DeviceChoice
  /** 0 = as many as the device has cores, at most 8. */
  threads: number
  /** What new conversations start with. */
  settings: Settings
  measured: Measured | null
}

const key = 'meadow-preferences'

export function readPreferences(): Preferences {
  const preferences: Preferences = { modelId: null, where: 'local', device: 'auto', threads: 0, settings: { ...defaultSettings }, measured: null }
  try {
    const json = JSON.parse(localStorage.getItem(key) ?? '{}') as Record<string, unknown>
    if (typeof json.modelId === 'string') preferences.modelId = json.modelId
    if (json.where === 'swarm' || json.where === 'auto') preferences.where = json.where
    if (json.device === 'webgpu' || json.device === 'wasm') preferences.device = json.device
    if (Number.isInteger(json.threads) && (json.threads as number) >= 0 && (json.threads as number) <= 64) preferences.threads = json.threads as number
    preferences.settings = parseSettings(json.settings)
    const measured = json.measured as Measured | null
    if (
      measured &&
      typeof measured.key === 'string' &&
      typeof measured.reason === 'string' &&
      typeof measured.at === 'number' &&
      (measured.backend === 'webgpu' || measured.backend === 'wasm')
    )
      preferences.measured = measured
  } catch {
    // Forbidden or damaged: defaults.
  }
  return preferences
}

export function writePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(key, JSON.stringify(preferences))
  } catch {
    // Storage is forbidden: the choices hold for this page only.
  }
}
