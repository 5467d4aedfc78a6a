import { describe, expect, test } from 'vitest'
import { sha256 } from '../../../protocol/hash.ts'
import { Context } from '../../../protocol/peer/context.ts'
import { Health, trusts } from '../../../protocol/peer/health.ts'
import { Links } from '../../../protocol/peer/links.ts'
import { encodeMessage } from '../../../protocol/peer/messages.ts'
import { ask, lending, mesh, presence, question } from './mesh.ts'

const bytesOf = (name: string): Uint8Array => sha256(new TextEncoder().encode(name)).slice()

function fresh() {
  const ctx = new Context({ secret: bytesOf('secret'), seed: bytesOf('seed'), boot: 1 })
  const links = new Links(ctx)
  const health = new Health(ctx, links)
  const host = presence(1, 0, 8).peer
  const out = (): boolean[] => trusts.map((trust) => health.isOut(host, trust))
  return { ctx, links, health, host, out }
}

describe('a host that failed', () => {
  test('is left alone for 15 s, twice as long each time, and beyond that until it has said something, unless nobody else is left', () => {
    const { ctx, health, host, out } = fresh()
    ctx.now = 1000
    health.failed(host)
    expect(out()).toEqual([true, true, true])
    ctx.now = 1000 + 15_000
    expect(out()).toEqual([true, true, false])
    health.failed(host)
    ctx.now += 29_999
    expect(out()).toEqual([true, true, true])
    ctx.now += 1
    expect(out()).toEqual([true, true, false])
    for (let i = 0; i < 20; i++) health.failed(host)
    ctx.now += 600_000
    expect(out()).toEqual([true, true, false])
  })

  test('and is heard again is used at once where nobody else is there, and by all once its time is over', () => {
    const { ctx, links, health, host, out } = fresh()
    ctx.now = 1000
    links.connected(host, true)
    links.frame(host, encodeMessage({ kind: 'hello', version: 1, group: null, tells: false }))
    health.failed(host)
    // It was asked at once whether it is there.
    expect(ctx.takeActions().filter((action) => action.kind === 'send').length).toBe(3)
    ctx.now = 1500
    links.frame(host, encodeMessage({ kind: 'pong', nonce: 0 }))
    expect(out()).toEqual([true, true, true])
    ctx.now = 2000
    expect(out()).toEqual([true, false, true])
    ctx.now = 16_000
    expect(out()).toEqual([false, false, false])
    // Every failure more makes that pause longer too.
    for (let i = 0; i < 4; i++) health.failed(host)
    links.frame(host, encodeMessage({ kind: 'pong', nonce: 0 }))
    ctx.now += 8000
    links.frame(host, encodeMessage({ kind: 'pong', nonce: 0 }))
    expect(out()[1]).toBe(true)
    ctx.now += 8001
    expect(out()[1]).toBe(false)
  })

  test('is forgiven when it has served a round', () => {
    const { ctx, health, host, out } = fresh()
    health.failed(host)
    health.worked(host, 'm', 5)
    ctx.now = 1
    expect(out()).toEqual([false, false, false])
    expect(health.failures(host)).toBeGreaterThan(0)
  })

  test('and one that is only full or resting is not the same: that ends by itself', () => {
    const { ctx, health, host, out } = fresh()
    health.rest(host, 500)
    expect(out()).toEqual([true, true, true])
    ctx.now = 500
    expect(out()).toEqual([false, false, false])
  })
})

describe('a tab that crashed', () => {
  /** Opens of a host after it died: how often it was chosen again. */
  function crash(ranges: [number, number][], back: number | null) {
    const m = mesh(ranges)
    let victim: string | null = null
    let chosen = 0
    m.world.onNotice = (node, notice) => {
      if (node !== m.asker || notice.of !== 'ask') return
      if (notice.what === 'route' && victim !== null && notice.chain.some((one) => one.peer === victim)) chosen++
      if (notice.what !== 'token' || notice.position < 20 || victim !== null) return
      const route = m.asker.notices.findLast((one) => one.of === 'ask' && one.what === 'route')
      victim = route && 'chain' in route ? route.chain.at(-1)!.peer : null
      const host = m.hosts.find((one) => one.key === victim)!
      // Nobody's connection breaks: that takes WebRTC many seconds to notice.
      m.world.kill(host, true)
      if (back === null) return
      m.world.after(back, () => {
        const again = m.world.add(host.name, {}, 2)
        m.world.step(again, { kind: 'lend', lending: lending(4, 6) })
      })
    }
    return { got: ask(m, question()), chosen: () => chosen }
  }

  test('is not chosen again while another one holds its layers', () => {
    const { got, chosen } = crash(
      [
        [0, 2],
        [2, 4],
        [4, 6],
        [4, 6],
      ],
      null,
    )
    expect(got.tokens.length).toBe(64)
    // Once: it is woken before it is replaced.
    expect(chosen()).toBeLessThanOrEqual(1)
    expect(got.stallMs).toBeLessThan(3000)
  })

  test('and comes back is used at once when it is the only one', () => {
    const { got, chosen } = crash(
      [
        [0, 2],
        [2, 4],
        [4, 6],
      ],
      6000,
    )
    expect(got.tokens.length).toBe(64)
    expect(chosen()).toBeLessThanOrEqual(6)
    // Six seconds away, one to load, three until its neighbour has noticed, and no cooldown on top.
    expect(got.stallMs).toBeLessThan(13_000)
  })
})
