// The machine: runs an instruction list (encode.ts) over the rows of a batch with every thread, JavaScript not in the loop. Threads meet after each phase;
// which thread does which piece never shows in a result, because pieces write disjoint memory and integers do not depend on order.
import { add } from '../ops/add.as'
import { mix, score, weigh } from '../ops/attention.as'
import { bias } from '../ops/bias.as'
import { embed } from '../ops/embed.as'
import { gate } from '../ops/gate.as'
import { exact2 } from '../ops/integer.as'
import { panel4, panel8, panelBytes, panelGroups8, rowScales, storePanel } from '../ops/matmul.as'
import { panelFew } from '../ops/matmul-few.as'
import { panelRows } from '../ops/matmul-rows.as'
import { quantise } from '../ops/quantise.as'
import { recordKey, recordQuery, recordValue } from '../ops/record.as'
import { rmsnorm } from '../ops/rmsnorm.as'
import { rope, ropeAngles } from '../ops/rope.as'
import * as L from './layout'

export { add, bias, embed, gate, mix, panel4, panel8, panelGroups8, panelFew, panelRows, quantise, recordKey, recordQuery, recordValue, rmsnorm, rope, ropeAngles, rowScales, score, storePanel, weigh }
export { argmax } from '../ops/argmax.as'
export { adjust, exp31, gumbel, noisy, philox, sample, threshold } from '../ops/sample.as'

/** Milliseconds, for the profile only. */
// @ts-ignore: decorator
@external("env", "now") declare function now(): f64

/** Up to so many rows a panel is unpacked for all of them at once, beyond it is widened first: equal at about twelve rows (measured). */
// @ts-ignore: decorator
@inline const fewRowsMax: i32 = 10

let thread: i32 = 0
let scratch: usize = 0

// @ts-ignore: decorator
@inline function word(op: usize, index: i32): i32 {
  return load<i32>(op + (<usize>index << 2))
}

/** An address or a number of bytes that the state holds. */
// @ts-ignore: decorator
@inline function at(state: usize): usize {
  return load<u32>(state)
}

/** base + row · stride for an op whose words `at`, `at + 1` are address and stride in bytes. */
// @ts-ignore: decorator
@inline function rowAt(op: usize, at: i32, row: i32): usize {
  return <usize>word(op, at) + <usize>row * <usize>word(op, at + 1)
}

// @ts-ignore: decorator
@inline function arrive(address: usize): i32 {
  if (ASC_FEATURE_THREADS) return atomic.add<i32>(address, 1)
  const value = load<i32>(address)
  store<i32>(address, value + 1)
  return value
}

/** True for the thread that comes last: all others wait for its release(). False once released. */
function gather(): bool {
  if (ASC_FEATURE_THREADS) {
    const threads = load<i32>(L.stateThreads)
    if (threads == 1) return true
    const phase = atomic.load<i32>(L.controlBarrierPhase)
    if (atomic.add<i32>(L.controlBarrierCount, 1) == threads - 1) return true
    sleepWhile(L.controlBarrierPhase, phase)
    return false
  }
  return true
}

function release(): void {
  if (ASC_FEATURE_THREADS) {
    if (load<i32>(L.stateThreads) == 1) return
    atomic.store<i32>(L.controlBarrierCount, 0)
    atomic.add<i32>(L.controlBarrierPhase, 1)
    if (atomic.load<i32>(L.controlSleepers) > 0) atomic.notify(L.controlBarrierPhase, -1)
  }
}

/** Waits until all threads are here. */
function barrier(): void {
  if (gather()) release()
}

/** Returns when the word at `address` is no longer `value`: looks a while, then sleeps. A sleeper announces itself before its last look, so that the one who changes the word knows to wake it. */
function sleepWhile(address: usize, value: i32): void {
  if (ASC_FEATURE_THREADS) {
    const spins = load<i32>(L.stateSpins)
    for (let i = 0; i < spins; i++) if (atomic.load<i32>(address) != value) return
    atomic.add<i32>(L.controlSleepers, 1)
    while (atomic.load<i32>(address) == value) atomic.wait<i32>(address, value, -1)
    atomic.sub<i32>(L.controlSleepers, 1)
  }
}

/** A helper thread: runs every run until told to stop. */
export function serve(id: i32): void {
  thread = id
  scratch = at(L.stateScratch) + <usize>id * at(L.stateScratchBytes)
  if (ASC_FEATURE_THREADS) {
    // The generation a helper starts from is 0: it is told to serve before the first run.
    let seen = 0
    for (;;) {
      sleepWhile(L.controlGeneration, seen)
      seen = atomic.load<i32>(L.controlGeneration)
      if (atomic.load<i32>(L.controlStop)) return
      execute()
    }
  }
}

/** Thread 0: runs the program at stateProgram with all threads and returns when it is done. */
export function run(): void {
  thread = 0
  scratch = at(L.stateScratch)
  if (ASC_FEATURE_THREADS) {
    if (load<i32>(L.stateThreads) > 1) wake()
  }
  execute()
}

/** Starts the helpers on whatever the state says (a run, or the stop flag). */
export function wake(): void {
  if (ASC_FEATURE_THREADS) {
    atomic.add<i32>(L.controlGeneration, 1)
    if (atomic.load<i32>(L.controlSleepers) > 0) atomic.notify(L.controlGeneration, -1)
  }
}

// @ts-ignore: decorator
@inline function after(phase: usize): usize {
  return load<u32>(phase, 8)
}

/** Kind of a phase; the end when it belongs to a tail that no row wants (the tail comes last). */
// @ts-ignore: decorator
@inline function kindOf(phase: usize, tailRows: i32): i32 {
  return load<i32>(phase, 16) && tailRows == 0 ? L.phaseEnd : load<i32>(phase)
}

/** Row-by-row work on a single row is for one thread: the last to arrive does it while the others wait where they are, which saves a meeting. */
// @ts-ignore: decorator
@inline function alone(phase: usize, kind: i32, bodyRows: i32, tailRows: i32): bool {
  return kind == L.phaseRows && (load<i32>(phase, 16) ? tailRows : bodyRows) == 1
}

function execute(): void {
  if (load<i32>(L.stateApart) != 0) executeApart()
  else executeTogether()
}

/**
 * Every thread takes its own rows through all phases; no sequence has rows with two threads, so nobody needs what another computes and all meet once, at the end.
 * Eight rows with two threads on cores that do not share a cache, 300 ns from one to the other: 29 ms together, 25 apart; four rows 18 and 14; in a host that speaks with eight
 * requesters beside, on a busy machine, 36.6 and 30.2 (measured).
 */
function executeApart(): void {
  const timed = thread == 0 && load<i32>(L.stateProfile) != 0
  let before = timed ? now() : 0
  const tailRows = load<i32>(L.stateTailRows)
  const cut: usize = L.stateCuts + (thread << 2)
  const from = load<i32>(cut)
  const to = load<i32>(cut, 4)
  let phase = at(L.stateProgram)
  for (let kind = kindOf(phase, tailRows); kind != L.phaseEnd; kind = kindOf(phase, tailRows)) {
    workApart(phase, kind, from, to)
    if (timed) {
      const moment = now()
      const time = at(L.stateTimes) + (<usize>load<i32>(phase, 12) << 3)
      store<f64>(time, load<f64>(time) + moment - before)
      before = moment
    }
    phase = after(phase)
  }
  barrier()
}

/** A phase for rows `from` up to `to`, by this thread alone. */
function workApart(phase: usize, kind: i32, from: i32, to: i32): void {
  const ops = load<i32>(phase, 4)
  const first = phase + L.phaseBytes
  if (kind == L.phaseMatmul) {
    for (let i = 0; i < ops; i++) {
      const op = first + <usize>i * L.opBytes
      for (let panel = 0; panel < word(op, 6); panel++) panelOp(op, panel, from, to)
    }
  } else if (kind == L.phaseFfn) ffnPanels(first, 0, word(first, 6), from, to)
  else if (kind == L.phaseAttention) {
    const tail = load<i32>(phase, 16) != 0
    for (let row = from; row < to; row++) for (let head = 0; head < load<i32>(L.stateHeads); head++) attend(first, row, head, tail)
  } else if (kind == L.phaseHeads) {
    const each = load<i32>(L.stateHeads) + 2 * load<i32>(L.stateKvHeads)
    for (let unit = from * each; unit < to * each; unit++) headUnit(first, ops, unit)
  } else rowOps(first, ops, from, to, 1, to - from)
}

function executeTogether(): void {
  const timed = thread == 0 && load<i32>(L.stateProfile) != 0
  let before = timed ? now() : 0
  const bodyRows = load<i32>(L.stateRows)
  const tailRows = load<i32>(L.stateTailRows)
  let phase = at(L.stateProgram)
  let kind = kindOf(phase, tailRows)
  while (kind != L.phaseEnd) {
    const here = phase
    const time = at(L.stateTimes) + (<usize>load<i32>(here, 12) << 3)
    // What follows is read before a meeting: behind the last one thread 0 may already be preparing the next run.
    if (alone(here, kind, bodyRows, tailRows)) {
      do {
        phase = after(phase)
        kind = kindOf(phase, tailRows)
      } while (alone(phase, kind, bodyRows, tailRows))
      if (gather()) {
        for (let p = here; p != phase; p = after(p)) {
          rowOps(p + L.phaseBytes, load<i32>(p, 4), 0, 1, 1, 1)
        }
        release()
      }
    } else {
      phase = after(here)
      const next = kindOf(phase, tailRows)
      const meetLater = alone(phase, next, bodyRows, tailRows)
      work(here, kind, load<i32>(here, 16) ? tailRows : bodyRows)
      if (!meetLater) barrier()
      kind = next
    }
    if (timed) {
      const moment = now()
      store<f64>(time, load<f64>(time) + moment - before)
      before = moment
    }
  }
}

function work(phase: usize, kind: i32, rows: i32): void {
  const ops = load<i32>(phase, 4)
  const counter = at(L.stateCounters) + (<usize>load<i32>(phase, 12) << 6)
  const first = phase + L.phaseBytes
  if (kind == L.phaseMatmul) matmuls(first, ops, rows, counter)
  else if (kind == L.phaseFfn) ffn(first, rows, counter)
  else if (kind == L.phaseAttention) attention(first, rows, counter, load<i32>(phase, 16) != 0)
  else if (kind == L.phaseHeads) headOps(first, ops, rows)
  else rowOps(first, ops, thread, rows, load<i32>(L.stateThreads), rows)
}

/** Every `step`th row; `together`: rows that a matmul will read at once. */
function rowOps(first: usize, ops: i32, from: i32, to: i32, step: i32, together: i32): void {
  for (let row = from; row < to; row += step) {
    for (let i = 0; i < ops; i++) rowOp(first + <usize>i * L.opBytes, row, together)
  }
}

function rowOp(op: usize, row: i32, together: i32): void {
  const kind = word(op, 0)
  if (kind == L.opAdd) add(rowAt(op, 1, row), rowAt(op, 3, row), word(op, 5))
  else if (kind == L.opRmsnorm) for (let head = 0; head < word(op, 7); head++) normHead(op, row, head)
  else if (kind == L.opQuantise) {
    // Many rows stand in fours, a pair of columns of each side by side.
    const few = together <= fewRowsMax
    const stride = at(L.stateActStride)
    const e = quantise(
      rowAt(op, 1, row), word(op, 3), word(op, 4), at(L.stateAct) + <usize>row * stride,
      at(L.statePermuted) + (few ? <usize>row * stride : <usize>(row & ~3) * stride + (<usize>(row & 3) << 2)), few ? 4 : 16,
      at(L.stateStarts) + <usize>row * at(L.stateStartStride), at(L.stateHalves) + <usize>row * at(L.stateHalfStride),
    )
    store<i32>(at(L.stateE) + (<usize>row << 2), e)
  } else if (kind == L.opEmbed) {
    const token = load<i32>(at(L.stateTokens) + (<usize>row << 2))
    embed(rowAt(op, 1, row), word(op, 3), word(op, 4), word(op, 5), word(op, 6), token, word(op, 7), word(op, 8))
  } else if (kind == L.opGate) {
    const g = rowAt(op, 1, row)
    gate(g, g, rowAt(op, 3, row), word(op, 5), word(op, 6), word(op, 7))
  } else if (kind == L.opAngles) {
    const half = word(op, 5)
    const angles = <usize>(row * half) << 2
    const position = load<u32>(at(L.statePositions) + (<usize>row << 2))
    ropeAngles(<usize>word(op, 1) + angles, <usize>word(op, 2) + angles, half, position, word(op, 3), word(op, 4), word(op, 6))
  } else if (kind == L.opGather) {
    const from = load<i32>(at(L.stateTailOf) + (<usize>row << 2))
    memory.copy(rowAt(op, 3, row), rowAt(op, 1, from), <usize>word(op, 5))
  } else if (kind == L.opScore || kind == L.opWeigh || kind == L.opMix) {
    for (let head = 0; head < load<i32>(L.stateHeads); head++) attentionStep(op, kind, row, head)
  } else for (let head = 0; head < word(op, 4); head++) headOp(op, kind, row, head)
}

function headOps(first: usize, ops: i32, rows: i32): void {
  const threads = load<i32>(L.stateThreads)
  const each = load<i32>(L.stateHeads) + 2 * load<i32>(L.stateKvHeads)
  const units = rows * each
  for (let unit = units * thread / threads; unit < units * (thread + 1) / threads; unit++) headUnit(first, ops, unit)
}

/** One head of q, k or v of one row. */
function headUnit(first: usize, ops: i32, unit: i32): void {
  const heads = load<i32>(L.stateHeads)
  const kvHeads = load<i32>(L.stateKvHeads)
  const each = heads + 2 * kvHeads
  const row = unit / each
  let head = unit - row * each
  let which = 0
  if (head >= heads) {
    head -= heads
    which = 1
    if (head >= kvHeads) {
      head -= kvHeads
      which = 2
    }
  }
  for (let i = 0; i < ops; i++) {
    const op = first + <usize>i * L.opBytes
    // Word 15: whose vector the op works on (0 q, 1 k, 2 v).
    if (word(op, 15) == which) headOp(op, word(op, 0), row, head)
  }
}

function headOp(op: usize, kind: i32, row: i32, head: i32): void {
  if (kind == L.opRmsnorm) return normHead(op, row, head)
  // Words 1, 2: vector; 3: headDim; 4: heads.
  const headDim = word(op, 3)
  const offset = <usize>(head * headDim) << 2
  const x = rowAt(op, 1, row) + offset
  if (kind == L.opBias) bias(x, <usize>word(op, 5) + offset, headDim)
  else if (kind == L.opRope) {
    const angles = <usize>(row * (headDim >> 1)) << 2
    rope(x, headDim >> 1, <usize>word(op, 5) + angles, <usize>word(op, 6) + angles)
  } else {
    if (word(op, 15) == 0) {
      const to = recordOf(row, head)
      store<i32>(to + (<usize>headDim << 1), recordQuery(to, x, headDim))
      return
    }
    const position = load<i32>(at(L.statePositions) + (<usize>row << 2))
    const table: usize = load<u32>(at(L.stateTables) + (<usize>row << 2))
    const block = <usize>load<u32>(table + (<usize>(position >> 6) << 2)) + <usize>word(op, 5) + <usize>head * at(L.stateBlockBytes)
    if (word(op, 15) == 1) recordKey(block, position & 63, x, headDim, scratch)
    else recordValue(block, position & 63, x, headDim, scratch)
  }
}

function normHead(op: usize, row: i32, head: i32): void {
  const length = word(op, 8)
  const offset = <usize>(head * length) << 2
  rmsnorm(rowAt(op, 3, row) + offset, rowAt(op, 1, row) + offset, word(op, 5), word(op, 6), length, word(op, 9), word(op, 10), word(op, 11))
}

// @ts-ignore: decorator
@inline function recordOf(row: i32, head: i32): usize {
  return at(L.stateRecords) + <usize>(row * load<i32>(L.stateHeads) + head) * at(L.stateRecordBytes)
}

/** First visible position of a row under a window (0 = none). */
// @ts-ignore: decorator
@inline function firstOf(position: i32, window: i32): i32 {
  return window > 0 ? max<i32>(0, position - window + 1) : 0
}

// Attention ops: word 1 window, 2 am, 3 ae, 4 offset of the layer in a page. In a tail the result of a row goes where the tail has it.
function attention(op: usize, rows: i32, counter: usize, tail: bool): void {
  const heads = load<i32>(L.stateHeads)
  const units = rows * heads
  // Last rows first: they see the most positions, so the pieces left at the end are small.
  for (let unit = arrive(counter); unit < units; unit = arrive(counter)) attend(op, rows - 1 - unit / heads, unit % heads, tail)
}

function attend(op: usize, to: i32, head: i32, tail: bool): void {
  const sums = scratch + at(L.stateScratchAttention)
  const t = sums + (at(L.stateHeadDim) << 3)
  const w = t + (at(L.stateSpan) << 2)
  const row = tail ? load<i32>(at(L.stateTailOf) + (<usize>to << 2)) : to
  const last = load<i32>(at(L.statePositions) + (<usize>row << 2))
  const first = firstOf(last, word(op, 1))
  scoreHead(op, row, head, t, first, last)
  const z = weigh(w, t, first, last)
  mixHead(op, row, to, head, w, z, first, last, sums)
}

function scoreHead(op: usize, row: i32, head: i32, t: usize, first: i32, last: i32): void {
  const table: usize = load<u32>(at(L.stateTables) + (<usize>row << 2))
  const headDim = load<i32>(L.stateHeadDim)
  const q = recordOf(row, head)
  score(t, first, last, table, blockOf(op, head), q, load<i32>(q + (<usize>headDim << 1)), headDim, word(op, 2), word(op, 3))
}

function mixHead(op: usize, row: i32, to: i32, head: i32, w: usize, z: u32, first: i32, last: i32, sums: usize): void {
  const table: usize = load<u32>(at(L.stateTables) + (<usize>row << 2))
  const headDim = load<i32>(L.stateHeadDim)
  const out = at(L.stateAttention) + <usize>to * at(L.stateAttentionStride) + (<usize>(head * headDim) << 2)
  mix(out, w, z, first, last, table, blockOf(op, head), headDim, sums)
}

// @ts-ignore: decorator
@inline function blockOf(op: usize, head: i32): usize {
  return <usize>word(op, 4) + <usize>(head / (load<i32>(L.stateHeads) / load<i32>(L.stateKvHeads))) * at(L.stateBlockBytes)
}

/** One of the three ops by itself, for traces: t, w and Z are kept for every row and head. */
function attentionStep(op: usize, kind: i32, row: i32, head: i32): void {
  const unit = <usize>(row * load<i32>(L.stateHeads) + head)
  const span = at(L.stateSpan)
  const t = at(L.stateTraceT) + ((unit * span) << 2)
  const w = at(L.stateTraceW) + ((unit * span) << 1)
  const z = at(L.stateTraceZ) + (unit << 2)
  const last = load<i32>(at(L.statePositions) + (<usize>row << 2))
  const first = firstOf(last, word(op, 1))
  if (kind == L.opScore) scoreHead(op, row, head, t, first, last)
  else if (kind == L.opWeigh) store<u32>(z, weigh(w, t, first, last))
  else mixHead(op, row, row, head, w, load<u32>(z), first, last, scratch + at(L.stateScratchAttention))
}

// Matmul ops: word 1 destination, 2 its stride, 3 weight, 4 row words, 5 columns, 6 panels, 7 format, 8 outBits.
function matmuls(first: usize, ops: i32, rows: i32, counter: usize): void {
  let total = 0
  for (let i = 0; i < ops; i++) total += word(first + <usize>i * L.opBytes, 6)
  const threads = load<i32>(L.stateThreads)
  const piece = threads == 1 ? total : rows > fewRowsMax ? 1 : max<i32>(1, total / (threads * 8))
  for (let from = arrive(counter) * piece; from < total; from = arrive(counter) * piece) {
    const to = min<i32>(total, from + piece)
    let op = first
    let base = 0
    for (let panel = from; panel < to; panel++) {
      while (panel - base >= word(op, 6)) {
        base += word(op, 6)
        op += L.opBytes
      }
      panelOp(op, panel - base, 0, rows)
    }
  }
}

function ffn(first: usize, rows: i32, counter: usize): void {
  const total = word(first, 6)
  const threads = load<i32>(L.stateThreads)
  const share = max<i32>(1, total / (threads * 8))
  const piece = rows > fewRowsMax ? 1 : threads == 1 ? total : share
  for (let from = arrive(counter) * piece; from < total; from = arrive(counter) * piece) ffnPanels(first, from, min<i32>(total, from + piece), 0, rows)
}

function ffnPanels(first: usize, from: i32, to: i32, rowFrom: i32, rowTo: i32): void {
  const up = first + L.opBytes
  const op = up + L.opBytes
  for (let panel = from; panel < to; panel++) {
    panelOp(first, panel, rowFrom, rowTo)
    panelOp(up, panel, rowFrom, rowTo)
  }
  const offset = <usize>from << 6
  for (let row = rowFrom; row < rowTo; row++) {
    const g = rowAt(op, 1, row) + offset
    gate(g, g, rowAt(op, 3, row) + offset, (to - from) << 4, word(op, 6), word(op, 7))
  }
}

/** One panel for rows `from` up to `to`. More than fewRowsMax of them start at 0. */
function panelOp(op: usize, panel: i32, from: i32, to: i32): void {
  const rows = to - from
  const y = rowAt(op, 1, from) + (<usize>panel << 6)
  const columns = word(op, 5)
  const format = word(op, 7)
  const words = <usize>word(op, 4) + (<usize>panel << 6)
  const w = <usize>word(op, 3) + <usize>panel * panelBytes(columns, format)
  const permuted = at(L.statePermuted) + <usize>from * at(L.stateActStride)
  const starts = at(L.stateStarts) + <usize>from * at(L.stateStartStride)
  const halves = at(L.stateHalves) + <usize>from * at(L.stateHalfStride)
  const e = at(L.stateE) + (<usize>from << 2)
  if (rows == 1) {
    const act = at(L.stateAct) + <usize>from * at(L.stateActStride)
    if (format == 1) panel4(scratch, w, columns >> 5, permuted, starts, halves)
    else if (format == 2) panelGroups8(scratch, w, columns >> 5, act)
    else panel8(scratch, w, columns, act)
    rowScales(scratch + 128, words, format)
    storePanel(y, scratch, scratch + 128, exact2(word(op, 8) - load<i32>(e)))
  } else if (rows <= fewRowsMax) {
    panelFew(
      y, word(op, 2), w, words, format, columns, rows, permuted, at(L.stateActStride),
      starts, at(L.stateStartStride), halves, at(L.stateHalfStride), e, word(op, 8), scratch,
    )
  } else {
    panelRows(
      y, word(op, 2), w, words, format, columns, rows, permuted, at(L.stateActStride),
      halves, at(L.stateHalfStride), e, word(op, 8), scratch,
    )
  }
}
