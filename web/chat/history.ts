// Conversations on this device: IndexedDB, or memory where the browser forbids it (then the page says so).
import { type DBSchema, type IDBPDatabase, type IDBPObjectStore, openDB } from 'idb'
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
  const change = async (work: (store: IDBPObjectStore<Schema, ['conversations'], 'conversations', 'readwrite'>) => Promise<unknown>): Promise<void> => {
    const transaction = db.transaction('conversations', 'readwrite')
    const working = work(transaction.store)
    transaction.commit()
    await Promise.all([working, transaction.done])
  }
  return {
    kept: true,
    all: async () => (await db.getAll('conversations')).sort((a, b) => b.updatedAt - a.updatedAt),
    // Committed at once instead of when the page's thread is next free: a page that is closed right after an answer keeps it.
    put: (conversation) => change((store) => store.put(conversation)),
    remove: (id) => change((store) => store.delete(id)),
  }
}
