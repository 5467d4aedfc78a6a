// Ops bias, rmsnorm (per head), rope and record_q, record_k, record_v in one dispatch; STAGES says which run (a trace runs them one by one; KEEP writes the vector back).
// Loops run unconditionally with a bound of 0 where there is nothing to do: llvmpipe spins a loop under a branch that a lane does not take 65,535 times.
// One workgroup per head and row: heads 0.. are q, then k, then v. Query records live for the run; key and value records go into the cache pages.
// queries // per row and head: headDim/8 blocks (planes.wgsl or wide.wgsl) and one vec4 with the exponent first.
// keys, values // per page and kv head: 64 positions of headDim i8, then words mantissa | exponent << 16: for keys 64 per group of 32 elements, for values 64.

struct Params {
  heads: u32, kvHeads: u32, headDim: u32, spare: u32,
  stride: u32, kAt: u32, vAt: u32, biasAt: u32,
  qNormAt: u32, kNormAt: u32, qNormShift: i32, kNormShift: i32,
  epsilon: u32, rootN: u32, frequencyAt: u32, words: u32,
}
const BIAS = 1u; const NORM = 2u; const ROPE = 4u; const RECORD = 8u; const KEEP = 16u;
@group(0) @binding(0) var<storage, read> batch: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> qkv: array<i32>;
@group(0) @binding(3) var<storage, read> vectors: array<i32>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> queries: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> values: array<u32>;

var<workgroup> x: array<i32, 256>;
// Largest magnitude of each group of a record.
var<workgroup> peaks: array<u32, 8>;

fn table(which: u32, i: u32) -> i32 { return bitcast<i32>(tables[which * 1024u + i]); }

fn rotate(i: u32, j: u32, position: u32) {
  let hi = tables[params.frequencyAt + i * 2u];
  let lo = tables[params.frequencyAt + i * 2u + 1u];
  let theta = position * hi + ((position * lo) >> 16u);
  let a = theta >> 22u;
  let b = (theta >> 12u) & 1023u;
  let cos = (table(0u, a) * table(2u, b) - table(1u, a) * table(3u, b) + 32768) >> 16u;
  let sin = (table(1u, a) * table(2u, b) + table(0u, a) * table(3u, b) + 32768) >> 16u;
  let p = x[i];
  let q = x[j];
  x[i] = shiftRound(addWide(mulSigned(p, cos), mulSigned(q, 0 - sin)), 14);
  x[j] = shiftRound(addWide(mulSigned(q, cos), mulSigned(p, sin)), 14);
}

// n = 16 - bitlen(a), -15..15.
fn shifted(v: u32, n: i32) -> u32 { return select(v >> (u32(0 - n) & 31u), v << (u32(n) & 31u), n >= 0); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group.y;
  let slot = group.x;
  let isQ = slot < params.heads;
  let isV = slot >= params.heads + params.kvHeads;
  let head = select(select(slot - params.heads, slot - params.heads - params.kvHeads, isV), slot, isQ);
  let start = row * params.stride + select(select(params.kAt, params.vAt, isV), 0u, isQ) + head * params.headDim;
  let halfDim = params.headDim >> 1u;
  // v is neither normed nor turned.
  let turning = select(halfDim, 0u, isV);
  let position = batch[4u + row * 4u + 1u];
  for (var i = t; i < halfDim; i += WG) {
    x[i] = qkv[start + i];
    x[i + halfDim] = qkv[start + i + halfDim];
  }
  if ((STAGES & BIAS) != 0u) {
    // Biases of q, k, v stand one after the other, laid out like a row of qkv.
    let at = params.biasAt + start - row * params.stride;
    for (var i = t; i < halfDim; i += WG) {
      x[i] = sat32Add(x[i], vectors[at + i]);
      x[i + halfDim] = sat32Add(x[i + halfDim], vectors[at + i + halfDim]);
    }
  }
  if ((STAGES & NORM) != 0u) {
    var sum = vec3<u32>();
    for (var i = t; i < halfDim; i += WG) { sum = addSquare(addSquare(sum, x[i]), x[i + halfDim]); }
    let scale = scaleOf(reduceSum96(t, sum), params.epsilon, params.rootN);
    let at = select(params.kNormAt, params.qNormAt, isQ);
    let s = select(params.kNormShift, params.qNormShift, isQ);
    for (var i = t; i < turning; i += WG) {
      x[i] = scaled(x[i], vectors[at + i], scale, s);
      x[i + halfDim] = scaled(x[i + halfDim], vectors[at + i + halfDim], scale, s);
    }
  }
  if ((STAGES & ROPE) != 0u) {
    for (var i = t; i < turning; i += WG) { rotate(i, i + halfDim, position); }
  }
  if ((STAGES & KEEP) != 0u) {
    for (var i = t; i < halfDim; i += WG) {
      qkv[start + i] = x[i];
      qkv[start + i + halfDim] = x[i + halfDim];
    }
  }
  if ((STAGES & RECORD) == 0u) { return; }
  var most = 0u;
  for (var i = t; i < halfDim; i += WG) { most = max(most, max(magnitude(x[i]), magnitude(x[i + halfDim]))); }
  // The reduction's barriers also make every x visible to every thread.
  let a = reduceMax(t, most);
  let shift = quantiseShift(a);
  let query = (row * params.heads + head) * (params.headDim / 8u + 1u);
  for (var b = t; b < select(0u, params.headDim / 8u, isQ); b += WG) {
    let i = b * 8u;
    queries[query + b] = packBlock(quantise4(vec4<i32>(x[i], x[i + 1u], x[i + 2u], x[i + 3u]), shift), quantise4(vec4<i32>(x[i + 4u], x[i + 5u], x[i + 6u], x[i + 7u]), shift));
  }
  if (t == 0u && isQ) { queries[query + params.headDim / 8u] = vec4<u32>(16u - shift, 0u, 0u, 0u); }
  let groups = select(params.headDim >> 5u, 1u, isV);
  for (var g = t; g < groups; g += WG) {
    var peak = select(0u, a, isV);
    for (var i = g * 32u; i < select(g * 32u + 32u, 0u, isV); i++) { peak = max(peak, magnitude(x[i])); }
    peaks[g] = peak;
  }
  workgroupBarrier();
  let n = 16 - bitcast<i32>(bitlen(max(1u, a)));
  let page = batch[batch[4u + row * 4u + 2u] + (position >> 6u)];
  let cell = position & 63u;
  let area = (page * params.kvHeads + head) * 64u * (params.words + groups);
  for (var w = t; w < select(params.words, 0u, isQ); w += WG) {
    let r = 2130706432u / max(1u, shifted(peaks[select(w >> 3u, 0u, isV)], n));
    var packed = 0u;
    for (var k = 0u; k < 4u; k++) {
      let v = x[w * 4u + k];
      // shifted * r <= 127 * 2^24 by the choice of r, and the rounding half is added to it.
      let q = bitcast<i32>((shifted(magnitude(v), n) * r + 8388608u) >> 24u);
      packed |= (bitcast<u32>(select(q, 0 - q, v < 0)) & 0xffu) << (k * 8u);
    }
    if (isV) { values[area + cell * params.words + w] = packed; }
    else { keys[area + cell * params.words + w] = packed; }
  }
  for (var g = t; g < select(groups, 0u, isQ); g += WG) {
    let word = max(1u, shifted(peaks[g], n)) | (bitcast<u32>(n) << 16u);
    let at = area + 64u * params.words + g * 64u + cell;
    if (isV) { values[at] = word; }
    else { keys[at] = word; }
  }
}
