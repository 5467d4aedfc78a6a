// What a relay offers, read as a stranger's JSON.

/** One row of the relay's GET /models. */
export interface Offer {
  id: string
  title: string
  isDefault: boolean
  architecture: string
  licence: string
  bytes: number
}

/** Strangers' JSON: rows without an id or a size are dropped. */
export function parseOffers(json: unknown): Offer[] {
  const rows = Array.isArray(json) ? json : ((json as { models?: unknown[] } | null)?.models ?? [])
  return rows.flatMap((row) => {
    const { id, name, title, isDefault, architecture, licence, bytes } = (row ?? {}) as Record<string, unknown>
    if (typeof id !== 'string' || !/^[0-9a-f]{64}$/.test(id) || typeof bytes !== 'number') return []
    const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 200) : '')
    return [
      {
        id,
        title: text(title) || text(name) || id.slice(0, 12),
        isDefault: isDefault === true,
        architecture: text(architecture),
        licence: text(licence),
        bytes,
      },
    ]
  })
}
