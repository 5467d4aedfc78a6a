// Numbers for people. Sizes are decimal, as downloads and disks are sold.
export { sizeText } from '../workers/store/errors.ts'

export function timeText(seconds: number): string {
  if (!Number.isFinite(seconds)) return ''
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s left`
  if (seconds < 3600) return `${Math.round(seconds / 60)} min left`
  return `${(seconds / 3600).toFixed(1)} h left`
}
