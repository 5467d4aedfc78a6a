// Removes what a card that may keep nothing had to put down while it ran (web/workers/store/space.ts).

export async function forgetAll(): Promise<void> {
  indexedDB.deleteDatabase('meadow-models-card')
  try {
    const root = await navigator.storage.getDirectory()
    await root.removeEntry('models-card', { recursive: true })
  } catch {
    // Nothing there, no such storage here, or files still open: the next start tries again.
  }
}
