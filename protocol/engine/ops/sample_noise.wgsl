// Sampler, steps 5 and 6: noise on the kept keys, and the best of a chunk as (value, id); argmax.wgsl (STAGES = 0) finds the best of the chunks.
// The value is noise − least noise − distance from the largest, not z + noise, which needs 33 bits: what is negative loses to the largest itself and is left out.

@group(0) @binding(4) var<storage, read_write> found: array<vec2<u32>>;

var<workgroup> best: array<vec2<u32>, WG>;

fn better(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(a, b, b.x > a.x || (b.x == a.x && b.y < a.y));
}

// First output word of Philox4x32-10 for counter (position, id, 0, 0).
fn philox(key: vec2<u32>, position: u32, id: u32) -> u32 {
  var c = vec4<u32>(position, id, 0u, 0u);
  var k = key;
  for (var round = 0u; round < 10u; round++) {
    let a = mulWide(0xd2511f53u, c.x);
    let b = mulWide(0xcd9e8d57u, c.z);
    c = vec4<u32>(b.y ^ c.y ^ k.x, b.x, a.y ^ c.w ^ k.y, a.x);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c.x;
}

// The 28 bits of log2 behind the point, for a mantissa x >= 2^31.
fn log2Fraction(mantissa: u32) -> u32 {
  var x = mantissa;
  var fraction = 0u;
  for (var i = 0u; i < 28u; i++) {
    let y = mulWide(x, x).y;
    let bit = y >> 31u;
    fraction = (fraction << 1u) | bit;
    x = y << (1u - bit);
  }
  return fraction;
}

// −ln(−ln u) in Q16 for u = (2r + 1) / 2^25, r 24 bits.
fn gumbel(r: u32) -> i32 {
  let v = 2u * r + 1u;
  let length = bitlen(v);
  // −log2(u) in Q28 is (26 − length) · 2^28 − fraction: up to 33 bits.
  let whole = 26u - length;
  let fraction = log2Fraction(v << ((32u - length) & 31u));
  let low = whole << 28u;
  let minusLog = vec2<u32>(low - fraction, (whole >> 4u) - select(0u, 1u, low < fraction));
  let long = minusLog.y != 0u;
  let size = select(bitlen(minusLog.x), 33u, long);
  let mantissa = select(minusLog.x << ((32u - size) & 31u), 0x80000000u | (minusLog.x >> 1u), long);
  // 45426 = ln 2 in Q16, 141939642 = −log2(ln 2) in Q28; the whole bits of the logarithm stay outside the rounding.
  let part = mulSigned(bitcast<i32>(log2Fraction(mantissa)) - 141939642, 45426);
  let floored = bitcast<i32>((part.x >> 28u) | (part.y << 4u));
  return 0 - ((i32(size) - 29) * 45426 + floored);
}

// gumbel(0).
const GUMBEL_LEAST = -186932;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group.y;
  let draw = row * DRAW;
  let start = startOf(row, t, params.step);
  let most = atomicLoad(&state[row * STATE]);
  let distance = draws[draw + DISTANCE];
  var least = max(start.topK, start.topP);
  // sat32(largest − distance) as a key: no key is 0.
  if (distance != 0xffffffffu) { least = max(least, select(most - distance, 1u, most <= distance)); }
  let greedy = draws[draw + GREEDY] != 0u;
  let key = vec2<u32>(draws[draw + KEY], draws[draw + KEY + 1u]);
  let position = draws[draw + POSITION];
  var here = vec2<u32>(0u, 0xffffffffu);
  let to = min(params.count, (group.x + 1u) * params.chunk);
  for (var i = group.x * params.chunk + t; i < to; i += WG) {
    let z = bitcast<u32>(logits[row * params.stride + i]) ^ 0x80000000u;
    if (z >= least) {
      let d = most - z;
      if (greedy) {
        if (d == 0u) { here = better(here, vec2<u32>(0u, i)); }
      } else {
        let r = philox(key, position, i) >> 8u;
        // No noise is larger than this (gumbelSlack in ../sampler.ts), so most keys need no logarithm.
        let bound = bitcast<u32>(bitcast<i32>((25u - bitlen(16777215u - r)) * 45426u + 16u) - GUMBEL_LEAST);
        if (d <= bound && bound - d >= here.x) {
          let value = bitcast<u32>(gumbel(r) - GUMBEL_LEAST);
          if (value >= d) { here = better(here, vec2<u32>(value - d, i)); }
        }
      }
    }
  }
  best[t] = here;
  workgroupBarrier();
  for (var s = WG / 2u; s > 0u; s = s >> 1u) {
    if (t < s) { best[t] = better(best[t], best[t + s]); }
    workgroupBarrier();
  }
  if (t == 0u) { found[row * groups.x + group.x] = best[0]; }
}
