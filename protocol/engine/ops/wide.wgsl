// Activations as pairs of i16 and plain 32-bit products: what adapters with an emulated int8 dot product want (measured: webgpu/tuning.ts).
// A block is 8 columns of one row: 4 words of two i16. The other form of the same functions is planes.wgsl; sums agree exactly.

// Sums over columns of 4 weight rows: the value is 256 * high + low.
struct Sums { low: vec4<i32>, high: vec4<i32> }

fn packBlock(a: vec4<i32>, b: vec4<i32>) -> vec4<u32> {
  return bitcast<vec4<u32>>(vec4<i32>((a.x & 0xffff) | (a.y << 16u), (a.z & 0xffff) | (a.w << 16u), (b.x & 0xffff) | (b.y << 16u), (b.z & 0xffff) | (b.w << 16u)));
}

// Int8 weights: `a` holds columns 0-3 of 4 rows, `b` columns 4-7. At most 1024 columns between two calls of settle: 128 * 16383 * 1024 + 255 < 2^31.
fn addBytes(s: Sums, a: vec4<u32>, b: vec4<u32>, x: vec4<u32>) -> Sums {
  let u = bitcast<vec4<i32>>(a); let v = bitcast<vec4<i32>>(b); let y = bitcast<vec4<i32>>(x);
  let even = (y << vec4<u32>(16u)) >> vec4<u32>(16u); let odd = y >> vec4<u32>(16u);
  let c24 = vec4<u32>(24u);
  return Sums(s.low
    + ((u << c24) >> c24) * even.x + ((u << vec4<u32>(16u)) >> c24) * odd.x + ((u << vec4<u32>(8u)) >> c24) * even.y + (u >> c24) * odd.y
    + ((v << c24) >> c24) * even.z + ((v << vec4<u32>(16u)) >> c24) * odd.z + ((v << vec4<u32>(8u)) >> c24) * even.w + (v >> c24) * odd.w, s.high);
}

// Moves all but the lowest 8 bits to `high`.
fn settle(s: Sums) -> Sums { return Sums(s.low & vec4<i32>(255), s.high + (s.low >> vec4<u32>(8u))); }

// A group of 32 columns starts at -8 * the group's sums, so that unsigned nibbles q count as q - 8.
fn startGroup(low: i32, high: i32) -> Sums { return Sums(vec4<i32>(-8 * (low + (high << 8u))), vec4<i32>()); }

fn addNibbles(s: Sums, w: vec4<u32>, x: vec4<u32>) -> Sums {
  let y = bitcast<vec4<i32>>(x);
  let even = (y << vec4<u32>(16u)) >> vec4<u32>(16u); let odd = y >> vec4<u32>(16u);
  let f = vec4<u32>(15u);
  return Sums(s.low
    + bitcast<vec4<i32>>(w & f) * even.x + bitcast<vec4<i32>>((w >> vec4<u32>(8u)) & f) * odd.x
    + bitcast<vec4<i32>>((w >> vec4<u32>(16u)) & f) * even.y + bitcast<vec4<i32>>((w >> vec4<u32>(24u)) & f) * odd.y
    + bitcast<vec4<i32>>((w >> vec4<u32>(4u)) & f) * even.z + bitcast<vec4<i32>>((w >> vec4<u32>(12u)) & f) * odd.z
    + bitcast<vec4<i32>>((w >> vec4<u32>(20u)) & f) * even.w + bitcast<vec4<i32>>(w >> vec4<u32>(28u)) * odd.w, s.high);
}

// |sum (q - 8) * act| <= 32 * 8 * 16383 < 2^22, so low is 0..255 and |high| <= 2^14; int8 groups: 32 * 128 * 16383 < 2^26, |high| <= 2^18.
fn endGroup(s: Sums) -> Sums { return Sums(s.low & vec4<i32>(255), s.low >> vec4<u32>(8u)); }

// Dot product of 8 int8 with one block.
fn dotBlock(a: u32, b: u32, x: vec4<u32>) -> i32 {
  let y = bitcast<vec4<i32>>(x);
  let even = (y << vec4<u32>(16u)) >> vec4<u32>(16u); let odd = y >> vec4<u32>(16u);
  let p = bitcast<i32>(a); let q = bitcast<i32>(b);
  return ((p << 24u) >> 24u) * even.x + ((p << 16u) >> 24u) * odd.x + ((p << 8u) >> 24u) * even.y + (p >> 24u) * odd.y
    + ((q << 24u) >> 24u) * even.z + ((q << 16u) >> 24u) * odd.z + ((q << 8u) >> 24u) * even.w + (q >> 24u) * odd.w;
}
