// Small repairs to installed libraries that have no release with the repair yet. Idempotent; run after every install (scripts/bootstrap.mjs) and loud when a
// library's text is neither the broken nor the repaired one: then its new version must be looked at, and the repair dropped or made anew.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const modules = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules')

export const repairs = [
  {
    // The remote may close the `init` channel before the dialer waits for `open`: about one first dial in four timed out. With this 75 of 75 succeeded (measured).
    why: '@libp2p/webrtc: dialing waits for an event that has passed',
    file: '@libp2p/webrtc/dist/src/private-to-private/initiate-connection.js',
    broken: `        if (channel.readyState !== 'open') {
            log.trace('wait for init channel to open');
            await pEvent(channel, 'open', {
                signal
            });
        }`,
    repaired: `        if (channel.readyState === 'connecting') {
            log.trace('wait for init channel to open');
            await pEvent(channel, ['open', 'close'], {
                signal
            });
        }`,
  },
  {
    why: '@libp2p/webrtc: dialing waits for a close that has happened',
    file: '@libp2p/webrtc/dist/src/private-to-private/initiate-connection.js',
    broken: `        await pEvent(channel, 'close', {
            signal
        });`,
    repaired: `        if (channel.readyState !== 'closed') {
            await pEvent(channel, 'close', {
                signal
            });
        }`,
  },
  {
    // With 5 s the Node seeder did not connect to Chromium at all (measured): the tracker's offer goes stale first.
    why: 'simple-peer: an offer waits 5 s for the last ICE candidate',
    file: '@thaunknown/simple-peer/lite.js',
    broken: 'const ICECOMPLETE_TIMEOUT = 5 * 1000',
    repaired: 'const ICECOMPLETE_TIMEOUT = 100',
  },
  {
    why: 'simple-peer inside the browser bundle of webtorrent: the same',
    file: 'webtorrent/dist/webtorrent.min.js',
    broken: '.iceCompleteTimeout||5e3,',
    repaired: '.iceCompleteTimeout||100,',
  },
]

/** `text` with the repair made. Throws when it is neither broken nor repaired in the way we know, or broken in several places. */
export function repair(text, { why, file, broken, repaired }) {
  if (text.includes(repaired)) return text
  const parts = text.split(broken)
  if (parts.length !== 2) throw new Error(`node_modules/${file} is not the text that scripts/patch.mjs repairs (${why}): look at this version of the library.`)
  return parts.join(repaired)
}

/** Repairs what is installed. Libraries that are not installed are left out: a test installs less. */
export function patchLibraries() {
  for (const one of repairs) {
    const path = join(modules, one.file)
    if (!existsSync(path)) continue
    const text = readFileSync(path, 'utf8')
    const better = repair(text, one)
    if (better === text) continue
    // Renamed into place: another process may be loading the file.
    writeFileSync(`${path}.${process.pid}`, better)
    renameSync(`${path}.${process.pid}`, path)
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) patchLibraries()
