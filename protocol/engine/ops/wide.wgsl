// Activations as pairs of i16 and plain 32-bit products: what adapters with an emulated int8 dot product want (measured: webgpu/tuning.ts).
// A block is 8 columns of one row: 4 words of two i16. The other form of the same functions is planes.wgsl; sums agree exactly.

// Sums over columns of 4 weight rows: the value is 256 * high + low.
struct Sums { low: vec4<i32>, high: vec4<i32> }

fn packBlock(a: vec4<i32>, b: vec4<i32>) -> vec4<u32> {
  return bitcast<vec4<u32>>(vec4<i32>((a.x & 0xffff) | (a.y << 16u), (a.z & 0xffff) | (a.w << 16u), (b.x & 0xffff) | (b.y << 16u), (b.z & 0xffff) | (b.w << 16u)));
}

// The 8 activations of a block, each sign-extended: columns 0, 2, 4, 6 and 1, 3, 5, 7.
struct Block { even: vec4<i32>, odd: vec4<i32> }

// SwiftShader takes a shift lane by lane, six times as long as a product or a mask (measured): hence the masks here, and the products in place of left shifts below.
fn blockOf(x: vec4<u32>) -> Block {
  let y = bitcast<vec4<i32>>(x);
  return Block(((y & vec4<i32>(0xffff)) ^ vec4<i32>(0x8000)) - vec4<i32>(0x8000), y >> vec4<u32>(16u));
}

// Int8 weights: `a` holds columns 0-3 of 4 rows, `b` columns 4-7. At most 1024 columns between two calls of settle: 128 * 16383 * 1024 + 255 < 2^31.
fn addBytes(s: Sums, a: vec4<u32>, b: vec4<u32>, x: Block) -> Sums {
  let u = bitcast<vec4<i32>>(a); let v = bitcast<vec4<i32>>(b);
  let c24 = vec4<u32>(24u);
  return Sums(s.low
    + ((u * 16777216) >> c24) * x.even.x + ((u * 65536) >> c24) * x.odd.x + ((u * 256) >> c24) * x.even.y + (u >> c24) * x.odd.y
    + ((v * 16777216) >> c24) * x.even.z + ((v * 65536) >> c24) * x.odd.z + ((v * 256) >> c24) * x.even.w + (v >> c24) * x.odd.w, s.high);
}

// Moves all but the lowest 8 bits to `high`.
fn settle(s: Sums) -> Sums { return Sums(s.low & vec4<i32>(255), s.high + (s.low >> vec4<u32>(8u))); }

// Sums of a group of nibbles: a + b / 16 + c / 256, where b and c hold products of nibbles that were masked but not moved. |c| <= 8 * 15 * 256 * 16383 < 2^29.
struct Nibbles { a: vec4<i32>, b: vec4<i32>, c: vec4<i32> }

// A group of 32 columns starts at -8 * the group's sums, so that unsigned nibbles q count as q - 8.
fn startGroup(low: i32, high: i32) -> Nibbles { return Nibbles(vec4<i32>(-8 * (low + high * 256)), vec4<i32>(), vec4<i32>()); }

fn addNibbles(s: Nibbles, w: vec4<u32>, x: Block) -> Nibbles {
  let u = bitcast<vec4<i32>>(w); let v = u >> vec4<u32>(12u); let t = u >> vec4<u32>(24u);
  let first = vec4<i32>(0xf); let second = vec4<i32>(0xf0); let third = vec4<i32>(0xf00);
  return Nibbles(
    s.a + (u & first) * x.even.x + (v & first) * x.odd.z + (t & first) * x.odd.y,
    s.b + (u & second) * x.even.z + (v & second) * x.even.y + (t & second) * x.odd.w,
    s.c + (u & third) * x.odd.x + (v & third) * x.even.w);
}

fn endNibbles(s: Nibbles) -> Sums { return endGroup(Sums(s.a + (s.b >> vec4<u32>(4u)) + (s.c >> vec4<u32>(8u)), vec4<i32>())); }

// |sum (q - 8) * act| <= 32 * 8 * 16383 < 2^22, so low is 0..255 and |high| <= 2^14; int8 groups: 32 * 128 * 16383 < 2^26, |high| <= 2^18.
fn endGroup(s: Sums) -> Sums { return Sums(s.low & vec4<i32>(255), s.low >> vec4<u32>(8u)); }

// Dot product of 8 int8 with one block.
fn dotBlock(a: u32, b: u32, x: vec4<u32>) -> i32 {
  let y = blockOf(x);
  let p = bitcast<i32>(a); let q = bitcast<i32>(b);
  return ((p * 16777216) >> 24u) * y.even.x + ((p * 65536) >> 24u) * y.odd.x + ((p * 256) >> 24u) * y.even.y + (p >> 24u) * y.odd.y
    + ((q * 16777216) >> 24u) * y.even.z + ((q * 65536) >> 24u) * y.odd.z + ((q * 256) >> 24u) * y.even.w + (q >> 24u) * y.odd.w;
}
