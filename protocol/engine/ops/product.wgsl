// What the matrix kernels share: parameters, group sums, and the one rounding at the end (specification, section 4, matmul).

struct Params { groups: u32, panels: u32, wordAt4: u32, outStride4: u32, outAt4: u32, outBits: i32, sumsAt: u32, spare: u32 }
@group(0) @binding(0) var<storage, read> batch: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> act: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> sums: array<vec4<i32>>;

// acc * mantissa; acc = 256 * high + low below 2^36, mantissa below 2^16.
fn value8(low: i32, high: i32, word: u32) -> vec2<u32> {
  let acc = addWide(vec2<u32>(bitcast<u32>(high) << 8u, bitcast<u32>(high >> 24u)), widen(low));
  let m = word & 0xffffu;
  let p = mulWide(acc.x, m);
  return vec2<u32>(p.x, p.y + acc.y * m);
}

fn round8(low: vec4<i32>, high: vec4<i32>, word: vec4<u32>, e: i32) -> vec4<i32> {
  let s = bitcast<vec4<i32>>((word >> vec4<u32>(16u)) & vec4<u32>(63u)) + vec4<i32>(e - params.outBits);
  return vec4<i32>(shiftRound(value8(low.x, high.x, word.x), s.x), shiftRound(value8(low.y, high.y, word.y), s.y),
    shiftRound(value8(low.z, high.z, word.z), s.z), shiftRound(value8(low.w, high.w, word.w), s.w));
}

// Sums over groups of the group value 256 * A + B (A = d * high + m * sumHigh, |A| < 2^30; B = d * low + m * sumLow, |B| < 2^31), kept without 64-bit work:
// t = A + (B >> 8), |t| < 2^31; top = sum of t >> 12 (below 896 * 2^19); a and b are the plain sums, which wrap.
// The whole sum is 2^20 * top + rest with 0 <= rest < 896 * 2^20 < 2^30, and rest is known modulo 2^32 from a and b.
struct Total { top: vec4<i32>, a: vec4<i32>, b: vec4<i32> }

fn addGroup(total: Total, s: Sums, d: vec4<i32>, m: vec4<i32>, low: i32, high: i32) -> Total {
  let a = d * s.high + m * high;
  let b = d * s.low + m * low;
  return Total(total.top + ((a + (b >> vec4<u32>(8u))) >> vec4<u32>(12u)), total.a + a, total.b + b);
}

// The same for g8: the low 12 bits of a scale are d. |d * low| <= 2^11 * 2^19 = 2^30, |d * high| <= 2^29.
fn addGroup8(total: Total, s: Sums, scales: vec4<i32>) -> Total {
  let d = (scales << vec4<u32>(20u)) >> vec4<u32>(20u);
  let a = d * s.high;
  let b = d * s.low;
  return Total(total.top + ((a + (b >> vec4<u32>(8u))) >> vec4<u32>(12u)), total.a + a, total.b + b);
}

fn value4(top: i32, a: i32, b: i32) -> vec2<u32> {
  let rest = bitcast<u32>((a << 8u) + b - (top << 20u));
  return addWide(vec2<u32>(bitcast<u32>(top) << 20u, bitcast<u32>(top >> 12u)), vec2<u32>(rest, 0u));
}

fn round4(total: Total, word: vec4<u32>, e: i32) -> vec4<i32> {
  let s = bitcast<vec4<i32>>((word >> vec4<u32>(16u)) & vec4<u32>(63u)) + vec4<i32>(e - params.outBits);
  return vec4<i32>(shiftRound(value4(total.top.x, total.a.x, total.b.x), s.x), shiftRound(value4(total.top.y, total.a.y, total.b.y), s.y),
    shiftRound(value4(total.top.z, total.a.z, total.b.z), s.z), shiftRound(value4(total.top.w, total.a.w, total.b.w), s.w));
}

// The four block words of a group as (sum of low, sum of high): |low| <= 4096, |high| <= 2048.
fn groupSums(v: vec4<i32>) -> vec2<i32> {
  let s = v.x + v.y + v.z + v.w;
  let low = (s << 16u) >> 16u;
  return vec2<i32>(low, (s - low) >> 16u);
}
