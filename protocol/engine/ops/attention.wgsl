// Ops score, weigh, mix: one query head of one row against the cached positions it sees, one workgroup each. STAGES says which run: all in one dispatch,
// or score by itself over several workgroups (tiles) when many positions are visible, or one by one for a trace.
// scratch // per row and head: Z, then at 4.. one word per visible position: t after score, w after weigh, p after mix.

struct Params {
  heads: u32, share: u32, words: u32, tile: u32,
  window: u32, am: u32, ae: i32, outStride: u32,
  kvHeads: u32, spare0: u32, spare1: u32, spare2: u32,
}
const SCORE = 1u; const WEIGH = 2u; const MIX = 4u;
@group(0) @binding(0) var<storage, read> batch: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> queries: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> values: array<u32>;
@group(0) @binding(5) var<storage, read_write> scratch: array<i32>;
@group(0) @binding(6) var<storage, read_write> attention: array<i32>;

var<workgroup> partLow: array<vec4<i32>, WG>;
var<workgroup> partHigh: array<vec4<i32>, WG>;

fn exponentOf(word: u32) -> i32 { return bitcast<i32>(word) >> 16u; }

// Where the values of a position's page and kv head start, in units of 64 words; for keys `groups` scale words stand beside, for values one.
fn areaOf(pages: u32, position: u32, kvHead: u32, groups: u32) -> u32 { return (batch[pages + (position >> 6u)] * params.kvHeads + kvHead) * (params.words + groups); }

fn scoreOf(q: u32, pages: u32, position: u32, kvHead: u32) -> i32 {
  let groups = params.words >> 3u;
  let area = areaOf(pages, position, kvHead, groups) * 16u;
  let cell = position & 63u;
  let k = area + cell * (params.words >> 2u);
  var exponent = 0;
  var sum = vec2<u32>();
  for (var g = 0u; g < groups; g++) {
    let a = keys[k + g * 2u];
    let b = keys[k + g * 2u + 1u];
    let x = q + g * 4u;
    let dot = dotBlock(a.x, a.y, queries[x]) + dotBlock(a.z, a.w, queries[x + 1u]) + dotBlock(b.x, b.y, queries[x + 2u]) + dotBlock(b.z, b.w, queries[x + 3u]);
    let word = keys[area + (params.words + g) * 16u + (cell >> 2u)][cell & 3u];
    exponent = exponentOf(word);
    sum = addWide(sum, mulSigned(dot, bitcast<i32>(((word & 0xffffu) * params.am + 32768u) >> 16u)));
  }
  return shiftRound(sum, params.ae + bitcast<i32>(queries[q + groups * 4u].x) + exponent - 16);
}

// Keeps the order of signed numbers in unsigned ones.
fn ordered(v: i32) -> u32 { return bitcast<u32>(v) ^ 0x80000000u; }

fn scaleWordOf(pages: u32, position: u32, kvHead: u32) -> u32 {
  return values[(areaOf(pages, position, kvHead, 1u) + params.words) * 64u + (position & 63u)];
}

// (2^16 * high + low) * c, rounded.
fn mixed(low: i32, high: i32, c: u32, s: i32) -> i32 {
  let sum = addWide(vec2<u32>(bitcast<u32>(high) << 16u, bitcast<u32>(high >> 16u)), widen(low));
  let p = mulWide(sum.x, c);
  return shiftRound(vec2<u32>(p.x, p.y + sum.y * c), s);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let head = group.x;
  let row = group.y;
  let position = batch[4u + row * 4u + 1u];
  let pages = batch[4u + row * 4u + 2u];
  let kvHead = head / params.share;
  var first = 0u;
  if (params.window > 0u && position + 1u > params.window) { first = position + 1u - params.window; }
  let count = position + 1u - first;
  let base = (row * params.heads + head) * batch[2] + 4u;

  if ((STAGES & SCORE) != 0u) {
    let q = (row * params.heads + head) * (params.words / 2u + 1u);
    let to = min(count, (group.z + 1u) * params.tile);
    for (var j = group.z * params.tile + t; j < to; j += WG) {
      scratch[base + j] = scoreOf(q, pages, first + j, kvHead);
    }
  }
  if ((STAGES & WEIGH) != 0u) {
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
  var highest = 0u;
  for (var j = t; j < count; j += WG) {
    let word = scaleWordOf(pages, first + j, kvHead);
    let p = bitcast<u32>(scratch[base + j]) * (word & 0xffffu);
    if (p > 0u) { highest = max(highest, ordered(bitcast<i32>(bitlen(p)) - exponentOf(word))); }
  }
  let B = bitcast<i32>(reduceMax(t, highest) ^ 0x80000000u);
  for (var j = t; j < count; j += WG) {
    let word = scaleWordOf(pages, first + j, kvHead);
    let p = bitcast<u32>(scratch[base + j]) * (word & 0xffffu);
    let r = exponentOf(word) + B - 15;
    var y = 0u;
    if (p > 0u && r <= 31) {
      if (r > 0) { y = (p + (1u << (u32(r) - 1u))) >> u32(r); }
      else { y = p << (u32(0 - r) & 31u); }
    }
    scratch[base + j] = bitcast<i32>(min(y, 32767u));
  }
  storageBarrier();
  workgroupBarrier();
  let Z = bitcast<u32>(scratch[base - 4u]);
  let L = bitlen(Z);
  let normal = select(Z << ((16u - L) & 31u), Z >> ((L - 16u) & 31u), L > 16u);
  let c = ((0x80000000u / normal) * 33026u) >> 17u;
  let s = 35 + bitcast<i32>(L) - B;
  // Threads: `span` words of 4 dimensions side by side, the rest of the workgroup shares the positions.
  let words = params.words;
  let span = min(words, WG);
  let splits = WG / span;
  let split = t / span;
  let inside = t - split * span;
  for (var d0 = 0u; d0 < words; d0 += span) {
    let d = d0 + inside;
    var low = vec4<i32>();
    var high = vec4<i32>();
    // Threads with nothing to do see no positions: a loop under a branch is slow on llvmpipe (rope.wgsl).
    let end = select(0u, count, split < splits && d < words);
    // 512 positions between settlements: 32767 * 127 * 512 < 2^31.
    for (var start = split; start < end; start += splits * 512u) {
      var part = vec4<i32>();
      for (var j = start; j < min(end, start + splits * 512u); j += splits) {
        let at = first + j;
        let v = bitcast<i32>(values[areaOf(pages, at, kvHead, 1u) * 64u + (at & 63u) * words + d]);
        part += scratch[base + j] * (vec4<i32>(v << 24u, v << 16u, v << 8u, v) >> vec4<u32>(24u));
      }
      low += part & vec4<i32>(0xffff);
      high += part >> vec4<u32>(16u);
    }
    partLow[t] = low;
    partHigh[t] = high;
    workgroupBarrier();
    let last = split == 0u && d < words;
    for (var i = 1u; i < select(0u, splits, last); i++) {
      low += partLow[i * span + inside];
      high += partHigh[i * span + inside];
    }
    if (last) {
      let at = row * params.outStride + (head * words + d) * 4u;
      attention[at] = mixed(low.x, high.x, c, s);
      attention[at + 1u] = mixed(low.y, high.y, c, s);
      attention[at + 2u] = mixed(low.z, high.z, c, s);
      attention[at + 3u] = mixed(low.w, high.w, c, s);
    }
    workgroupBarrier();
  }
}
