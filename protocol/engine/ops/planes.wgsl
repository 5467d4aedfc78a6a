// Activations as two int8 planes: act = 256 * high + low, low in -128..127, high in -64..64, since |act| <= 16383. What GPUs with an int8 dot product want.
// A block is 8 columns of one row: (low 0-3, low 4-7, high 0-3, high 4-7). The other form of the same functions is wide.wgsl; sums agree exactly.

// Sums over columns of 4 weight rows: the value is 256 * high + low.
struct Sums { low: vec4<i32>, high: vec4<i32> }

fn packBytes(v: vec4<i32>) -> u32 {
  let u = bitcast<vec4<u32>>(v) & vec4<u32>(0xffu);
  return u.x | (u.y << 8u) | (u.z << 16u) | (u.w << 24u);
}

// 8 activations as one block.
fn packBlock(a: vec4<i32>, b: vec4<i32>) -> vec4<u32> {
  let al = (a << vec4<u32>(24u)) >> vec4<u32>(24u);
  let bl = (b << vec4<u32>(24u)) >> vec4<u32>(24u);
  return vec4<u32>(packBytes(al), packBytes(bl), packBytes((a - al) >> vec4<u32>(8u)), packBytes((b - bl) >> vec4<u32>(8u)));
}

fn dots(w: vec4<u32>, x: u32) -> vec4<i32> {
  return vec4<i32>(dot4(w.x, x), dot4(w.y, x), dot4(w.z, x), dot4(w.w, x));
}

// A block as products take it: as it is.
alias Block = vec4<u32>;
fn blockOf(x: vec4<u32>) -> Block { return x; }

// Int8 weights: `a` holds columns 0-3 of 4 rows, `b` columns 4-7. Each sum is exact in i32 up to K = 28672: 128 * 128 * 28672 < 2^29.
fn addBytes(s: Sums, a: vec4<u32>, b: vec4<u32>, x: Block) -> Sums {
  return Sums(s.low + dots(a, x.x) + dots(b, x.y), s.high + dots(a, x.z) + dots(b, x.w));
}

// Keeps sums in range after at most 1024 columns; planes need it never.
fn settle(s: Sums) -> Sums { return s; }

// A group of 32 columns starts at -8 * the group's sums, so that unsigned nibbles q count as q - 8.
alias Nibbles = Sums;
fn startGroup(low: i32, high: i32) -> Nibbles { return Sums(vec4<i32>(-8 * low), vec4<i32>(-8 * high)); }

fn addNibbles(s: Nibbles, w: vec4<u32>, x: Block) -> Nibbles {
  let a = w & vec4<u32>(0x0f0f0f0fu);
  let b = (w >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
  return Sums(s.low + dots(a, x.x) + dots(b, x.y), s.high + dots(a, x.z) + dots(b, x.w));
}

// |low| <= 32*8*128 = 2^15, |high| <= 32*8*64 = 2^14.
// The same for int8 groups: 2^19 and 2^18.
fn endGroup(s: Sums) -> Sums { return s; }
fn endNibbles(s: Nibbles) -> Sums { return s; }

// Dot product of 8 int8 with one block.
fn dotBlock(a: u32, b: u32, x: vec4<u32>) -> i32 {
  return dot4(a, x.x) + dot4(b, x.y) + 256 * (dot4(a, x.z) + dot4(b, x.w));
}
