// Which of this browser's stores a worker uses. Cards in other people's pages that may keep nothing have one of their own, so that removing it cannot touch what the
// person keeps at Meadow itself; browsers part the storage of other sites' frames, but not of frames of the same site. The page says which by the worker's name.
const name = String((globalThis as { name?: unknown }).name ?? '')

export const space = name.endsWith('-card') ? '-card' : ''
