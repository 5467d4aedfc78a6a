// Ops score, weigh, mix: one query head of one row against the cached positions it sees, one workgroup each. STAGES says which run: all in one dispatch,
// or score by itself over several workgroups (params.tile pages each) when many positions are visible, or one by one for a trace.
// scratch // per row and head: Z, then at 4.. one word per visible position: t after score, w after weigh, p after mix.
// Pages of 64 positions are the unit of every loop over positions: one look into the page table each. Loops run unconditionally (see rope.wgsl).

struct Params {
  heads: u32, share: u32, words: u32, tile: u32,
  window: u32, am: u32, ae: i32, outStride: u32,
  kvHeads: u32, spare0: u32, spare1: u32, spare2: u32,
}
const SCORE = 1u; const WEIGH = 2u; const MIX = 4u;
// Of one head: words of 4 i8, blocks of 8, groups of 32, quads of 16 elements.
const WORDS = HEAD / 4u; const BLOCKS = HEAD / 8u; const GROUPS = HEAD / 32u; const QUADS = HEAD / 16u;
@group(0) @binding(0) var<storage, read> batch: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> queries: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> keys: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> values: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> scratch: array<i32>;
@group(0) @binding(6) var<storage, read_write> attention: array<vec4<i32>>;

// Dot products of one page: 64 positions by blocks.
var<workgroup> pageDots: array<i32, 64u * BLOCKS>;
// Sums of one thread: 16 elements, low and high parts.
var<workgroup> partLow: array<vec4<i32>, WG * 4u>;
var<workgroup> partHigh: array<vec4<i32>, WG * 4u>;
// Sums of the whole head.
var<workgroup> sumLow: array<vec4<i32>, WORDS>;
var<workgroup> sumHigh: array<vec4<i32>, WORDS>;

fn exponentOf(word: u32) -> i32 { return bitcast<i32>(word) >> 16u; }

// Keeps the order of signed numbers in unsigned ones.
fn ordered(v: i32) -> u32 { return bitcast<u32>(v) ^ 0x80000000u; }

// Where a page of keys starts, in pairs of words, and one of values, in fours.
fn keysOf(page: u32, kvHead: u32) -> u32 { return (page * params.kvHeads + kvHead) * (WORDS + GROUPS) * 32u; }
fn valuesOf(page: u32, kvHead: u32) -> u32 { return (page * params.kvHeads + kvHead) * (WORDS + 1u) * 16u; }
fn valueScale(area: u32, cell: u32) -> u32 { return values[area + WORDS * 16u + (cell >> 2u)][cell & 3u]; }

fn bytesOf(word: u32) -> vec4<i32> {
  let v = bitcast<i32>(word);
  return vec4<i32>(v << 24u, v << 16u, v << 8u, v) >> vec4<u32>(24u);
}

// (2^16 * high + low) * c, rounded.
fn mixed(low: i32, high: i32, c: u32, s: i32) -> i32 {
  let sum = addWide(vec2<u32>(bitcast<u32>(high) << 16u, bitcast<u32>(high >> 16u)), widen(low));
  let p = mulWide(sum.x, c);
  return shiftRound(vec2<u32>(p.x, p.y + sum.y * c), s);
}
fn mixed4(low: vec4<i32>, high: vec4<i32>, c: u32, s: i32) -> vec4<i32> {
  return vec4<i32>(mixed(low.x, high.x, c, s), mixed(low.y, high.y, c, s), mixed(low.z, high.z, c, s), mixed(low.w, high.w, c, s));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let head = group.x;
  let row = group.y;
  let position = batch[4u + row * 4u + 1u];
  let pages = batch[4u + row * 4u + 2u];
  let kvHead = head / params.share;
  let first = select(0u, position + 1u - params.window, params.window > 0u && position + 1u > params.window);
  let count = position + 1u - first;
  let pageFirst = first >> 6u;
  let pageEnd = (position >> 6u) + 1u;
  // Position j of the visible ones stands at base + j, so a cell of a page at origin + 64 * page + cell.
  let base = (row * params.heads + head) * batch[2] + 4u;
  let origin = base - first;

  if ((STAGES & SCORE) != 0u) {
    // Threads side by side take the blocks of one position, each keeping its part of the query, and store the block's dot product.
    let q = (row * params.heads + head) * (BLOCKS + 1u);
    let exponent = params.ae + bitcast<i32>(queries[q + BLOCKS].x) - 16;
    let span = min(BLOCKS, WG);
    let slots = WG / span;
    let slot = t / span;
    let inside = t - slot * span;
    let end = min(pageEnd, pageFirst + (group.z + 1u) * params.tile);
    for (var page = pageFirst + group.z * params.tile; page < end; page++) {
      let area = keysOf(batch[pages + page], kvHead);
      let cellEnd = min(64u, position + 1u - page * 64u);
      let cellFirst = max(first, page * 64u) - page * 64u;
      for (var b = inside; b < BLOCKS; b += span) {
        let x = queries[q + b];
        for (var cell = cellFirst + slot; cell < select(0u, cellEnd, slot < slots); cell += slots) {
          let k = keys[area + cell * BLOCKS + b];
          pageDots[cell * BLOCKS + b] = dotBlock(k.x, k.y, x);
        }
      }
      workgroupBarrier();
      for (var cell = cellFirst + t; cell < cellEnd; cell += WG) {
        var sum = vec2<u32>();
        var keyExponent = 0;
        for (var g = 0u; g < GROUPS; g++) {
          let i = cell * BLOCKS + g * 4u;
          let dot = pageDots[i] + pageDots[i + 1u] + pageDots[i + 2u] + pageDots[i + 3u];
          let word = keys[area + (WORDS + g) * 32u + (cell >> 1u)][cell & 1u];
          keyExponent = exponentOf(word);
          sum = addWide(sum, mulSigned(dot, bitcast<i32>(((word & 0xffffu) * params.am + 32768u) >> 16u)));
        }
        scratch[origin + page * 64u + cell] = shiftRound(sum, exponent + keyExponent);
      }
      workgroupBarrier();
    }
  }
  if ((STAGES & WEIGH) != 0u) {
    storageBarrier();
    workgroupBarrier();
    var most = 0u;
    for (var j = t; j < count; j += WG) { most = max(most, ordered(scratch[base + j])); }
    let mx = bitcast<i32>(reduceMax(t, most) ^ 0x80000000u);
    var z = 0u;
    for (var j = t; j < count; j += WG) {
      let w = exp2neg(bitcast<u32>(mx - scratch[base + j]));
      scratch[base + j] = bitcast<i32>(w);
      z += w;
    }
    z = reduceSum(t, z);
    if (t == 0u) { scratch[base - 4u] = bitcast<i32>(z); }
  }
  if ((STAGES & MIX) == 0u) { return; }
  storageBarrier();
  workgroupBarrier();
  var highest = 0u;
  for (var page = pageFirst; page < pageEnd; page++) {
    let area = valuesOf(batch[pages + page], kvHead);
    let cellEnd = min(64u, position + 1u - page * 64u);
    for (var cell = max(first, page * 64u) - page * 64u + t; cell < cellEnd; cell += WG) {
      let word = valueScale(area, cell);
      let p = bitcast<u32>(scratch[origin + page * 64u + cell]) * (word & 0xffffu);
      highest = max(highest, select(0u, ordered(bitcast<i32>(bitlen(p)) - exponentOf(word)), p > 0u));
    }
  }
  let B = bitcast<i32>(reduceMax(t, highest) ^ 0x80000000u);
  for (var page = pageFirst; page < pageEnd; page++) {
    let area = valuesOf(batch[pages + page], kvHead);
    let cellEnd = min(64u, position + 1u - page * 64u);
    for (var cell = max(first, page * 64u) - page * 64u + t; cell < cellEnd; cell += WG) {
      let i = origin + page * 64u + cell;
      let word = valueScale(area, cell);
      let p = bitcast<u32>(scratch[i]) * (word & 0xffffu);
      let r = exponentOf(word) + B - 15;
      let down = (p + (1u << (u32(max(r, 1) - 1) & 31u))) >> (u32(r) & 31u);
      let up = p << (u32(0 - r) & 31u);
      scratch[i] = bitcast<i32>(select(min(select(up, down, r > 0), 32767u), 0u, r > 31 || p == 0u));
    }
  }
  storageBarrier();
  workgroupBarrier();
  let Z = bitcast<u32>(scratch[base - 4u]);
  let L = bitlen(Z);
  let normal = select(Z << ((16u - L) & 31u), Z >> ((L - 16u) & 31u), L > 16u);
  let c = ((0x80000000u / normal) * 33026u) >> 17u;
  let s = 35 + bitcast<i32>(L) - B;
  // Threads side by side take 16 elements each, the rest of the workgroup shares the positions.
  let span = min(QUADS, WG);
  let slots = WG / span;
  let slot = t / span;
  let inside = t - slot * span;
  for (var quad0 = 0u; quad0 < QUADS; quad0 += span) {
    let quad = quad0 + inside;
    let live = slot < slots && quad < QUADS;
    var low0 = vec4<i32>(); var low1 = low0; var low2 = low0; var low3 = low0;
    var high0 = low0; var high1 = low0; var high2 = low0; var high3 = low0;
    for (var page = pageFirst; page < select(0u, pageEnd, live); page++) {
      let area = valuesOf(batch[pages + page], kvHead);
      let cellEnd = min(64u, position + 1u - page * 64u);
      var part0 = vec4<i32>(); var part1 = part0; var part2 = part0; var part3 = part0;
      // At most 64 positions between settlements: 32767 * 127 * 64 < 2^28.
      for (var cell = max(first, page * 64u) - page * 64u + slot; cell < cellEnd; cell += slots) {
        let p = scratch[origin + page * 64u + cell];
        let v = values[area + cell * QUADS + quad];
        part0 += p * bytesOf(v.x);
        part1 += p * bytesOf(v.y);
        part2 += p * bytesOf(v.z);
        part3 += p * bytesOf(v.w);
      }
      let m = vec4<i32>(0xffff); let h = vec4<u32>(16u);
      low0 += part0 & m; low1 += part1 & m; low2 += part2 & m; low3 += part3 & m;
      high0 += part0 >> h; high1 += part1 >> h; high2 += part2 >> h; high3 += part3 >> h;
    }
    let at = t * 4u;
    partLow[at] = low0; partLow[at + 1u] = low1; partLow[at + 2u] = low2; partLow[at + 3u] = low3;
    partHigh[at] = high0; partHigh[at + 1u] = high1; partHigh[at + 2u] = high2; partHigh[at + 3u] = high3;
    workgroupBarrier();
    for (var i = 1u; i < select(0u, slots, live && slot == 0u); i++) {
      let other = (i * span + inside) * 4u;
      low0 += partLow[other]; low1 += partLow[other + 1u]; low2 += partLow[other + 2u]; low3 += partLow[other + 3u];
      high0 += partHigh[other]; high1 += partHigh[other + 1u]; high2 += partHigh[other + 2u]; high3 += partHigh[other + 3u];
    }
    if (live && slot == 0u) {
      let w = quad * 4u;
      sumLow[w] = low0; sumLow[w + 1u] = low1; sumLow[w + 2u] = low2; sumLow[w + 3u] = low3;
      sumHigh[w] = high0; sumHigh[w + 1u] = high1; sumHigh[w + 2u] = high2; sumHigh[w + 3u] = high3;
    }
    workgroupBarrier();
  }
  // Rounded by all threads, and written once in the text: compilers inline every call.
  for (var w = t; w < WORDS; w += WG) { attention[row * params.outStride + head * WORDS + w] = mixed4(sumLow[w], sumHigh[w], c, s); }
}
