// Links for joining. A group's secret stands in the fragment, which browsers send to no server (mesh/group.ts says what is made of it).

/** 16 random bytes as 32 hex digits. */
export const newInvitation = (): string => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')

export const inviteLink = (origin: string, door: 'contribute' | 'chat', secret: string | null): string =>
  `${origin}/${door}/${secret === null ? '' : `#invite=${secret}`}`

/** What a site's owner pastes. */
export const embedSnippet = (origin: string, kind: 'chat' | 'contribute'): string => `<script src="${origin}/embed/v1.js" data-meadow="${kind}"></script>`
