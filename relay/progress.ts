// Progress on standard error: a bar that redraws itself on a terminal, a line every tenth of the way elsewhere.

export interface Progress {
  /** `total` 0 = not known. */
  update(done: number, total: number): void
  /** Leaves the last state visible and moves to a new line. */
  end(): void
}

interface Output {
  isTTY?: boolean
  columns?: number
  write(text: string): unknown
}

const barWidth = 24
const redrawMs = 100

/** Bytes for people, decimal units: 98.4 MB. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(value < 100 ? 1 : 0)} ${units[unit]}`
}

function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${Math.ceil(seconds)} s`
  return seconds < 3600 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`
}

/** Progress in bytes under `label`. The clock is an argument so that tests need none. */
export function createProgress(label: string, output: Output = process.stderr, nowMs: () => number = () => performance.now()): Progress {
  let startedMs = 0
  let drawnMs = Number.NEGATIVE_INFINITY
  let tenth = -1
  let first = -1
  let line = ''

  const describe = (done: number, total: number): string => {
    // From where it was taken up; and anew when another source begins.
    if (first < 0 || done < first) {
      first = done
      startedMs = nowMs()
    }
    const seconds = (nowMs() - startedMs) / 1000
    const speed = seconds > 0 ? (done - first) / seconds : 0
    const rate = speed > 0 ? ` ${formatBytes(speed)}/s` : ''
    if (total <= 0) return `${label} ${formatBytes(done)}${rate}`
    const left = speed > 0 && done < total ? `, ${formatSeconds((total - done) / speed)} left` : ''
    const share = Math.min(1, done / total)
    const filled = Math.round(share * barWidth)
    const bar = output.isTTY ? ` ${'█'.repeat(filled)}${'░'.repeat(barWidth - filled)}` : ''
    return `${label}${bar} ${Math.floor(share * 100)} % of ${formatBytes(total)}${rate}${left}`
  }

  return {
    update(done, total) {
      if (output.isTTY) {
        const now = nowMs()
        line = describe(done, total)
        if (now - drawnMs < redrawMs && done !== total) return
        drawnMs = now
        output.write(`\r\x1b[2K${line.slice(0, (output.columns ?? 80) - 1)}`)
        return
      }
      const reached = total > 0 ? Math.floor((done / total) * 10) : 0
      if (reached === tenth) return
      tenth = reached
      output.write(`${describe(done, total)}\n`)
    },
    end() {
      if (output.isTTY && line !== '') output.write(`\r\x1b[2K${line.slice(0, (output.columns ?? 80) - 1)}\n`)
    },
  }
}
