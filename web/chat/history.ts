// Conversations on this device: IndexedDB, or memory where the browser forbids it (then the page says so).
import { type DBSchema, type IDBPDatabase, openDB } from 'idb'
import type { Conversation } from './conversation.ts'

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation }
}

export interface History {
  readonly kept: boolean
  /** Newest first. */
  all(): Promise<Conversation[]>
  put(conversation: Conversation): Promise<void>
  remove(id: string): Promise<void>
}

function inMemory(): History {
  const held = new Map<string, Conversation>()
  return {
    kept: false,
    all: async () => [...held.values()],
    put: async (conversation) => void held.set(conversation.id, conversation),
    remove: async (id) => void held.delete(id),
  }
}

export async function openHistory(): Promise<History> {
  let db: IDBPDatabase<Schema>
  try {
    db = await openDB<Schema>('meadow-chat', 1, {
      upgrade(db) {
        db.createObjectStore('conversations', { keyPath: 'id' })
      },
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    })
  } catch {
    return inMemory()
  }
  return {
    kept: true,
    all: async () => (await db.getAll('conversations')).sort((a, b) => b.updatedAt - a.updatedAt),
    put: async (conversation) => void (await db.put('conversations', conversation)),
    remove: (id) => db.delete('conversations', id),
  }
}
