// 64-bit integers as vec2<u32>(low, high), two's complement, made of 32-bit operations; and the small functions of specification section 1.
// Part of every kernel that needs it (see webgpu/pipelines.ts). Shift amounts are masked below 32 everywhere: a shift by the width differs between devices.

fn mulWide(a: u32, b: u32) -> vec2<u32> {
  let a0 = a & 0xffffu; let a1 = a >> 16u;
  let b0 = b & 0xffffu; let b1 = b >> 16u;
  let low = a0 * b0; let left = a0 * b1; let right = a1 * b0;
  let mid = (low >> 16u) + (left & 0xffffu) + (right & 0xffffu);
  return vec2<u32>((low & 0xffffu) | (mid << 16u), a1 * b1 + (left >> 16u) + (right >> 16u) + (mid >> 16u));
}

fn mulSigned(a: i32, b: i32) -> vec2<u32> {
  let ua = bitcast<u32>(a); let ub = bitcast<u32>(b);
  let p = mulWide(ua, ub);
  return vec2<u32>(p.x, p.y - select(0u, ub, a < 0) - select(0u, ua, b < 0));
}

fn addWide(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn negWide(a: vec2<u32>) -> vec2<u32> {
  return addWide(vec2<u32>(~a.x, ~a.y), vec2<u32>(1u, 0u));
}

// An i32 as 64 bits.
fn widen(a: i32) -> vec2<u32> {
  return vec2<u32>(bitcast<u32>(a), bitcast<u32>(a >> 31u));
}

// sat32(rshift(v, s)) of the specification; |v| <= 2^62, any s.
fn shiftRound(v: vec2<u32>, s: i32) -> i32 {
  let sign = bitcast<u32>(bitcast<i32>(v.y) >> 31u);
  let most = bitcast<i32>(0x7fffffffu ^ sign) + select(0, 1, sign != 0u);
  if (s > 0) {
    let t = u32(min(s, 62));
    let bit = 1u << ((t - 1u) & 31u);
    let sum = addWide(v, select(vec2<u32>(0u, bit), vec2<u32>(bit, 0u), t <= 32u));
    let high = bitcast<i32>(sum.y);
    let k = t & 31u;
    var y = vec2<u32>(bitcast<u32>(high >> k), bitcast<u32>(high >> 31u));
    if (t < 32u) {
      y = vec2<u32>((sum.x >> k) | (sum.y << ((32u - k) & 31u)), bitcast<u32>(high >> k));
    }
    let fits = y.y == bitcast<u32>(bitcast<i32>(y.x) >> 31u) && y.x != 0x80000000u;
    return select(most, bitcast<i32>(y.x), fits);
  }
  let n = u32(min(0 - s, 31));
  let m = select(v, negWide(v), sign != 0u);
  if (m.y != 0u || m.x > (0x7fffffffu >> n)) { return most; }
  let y = bitcast<i32>(m.x << n);
  return select(y, 0 - y, sign != 0u);
}

fn sat32Add(a: i32, b: i32) -> i32 {
  let y = a + b;
  // Overflow iff both have one sign and the sum the other; saturation is symmetric.
  let over = ((a ^ y) & (b ^ y)) < 0;
  return select(max(y, -0x7fffffff), select(0x7fffffff, -0x7fffffff, a < 0), over);
}

// |x| of a vector element: no vector holds -2^31.
fn magnitude(x: i32) -> u32 { return bitcast<u32>(abs(x)); }

fn bitlen(x: u32) -> u32 { return 32u - countLeadingZeros(x); }

fn isqrt32(v: u32) -> u32 {
  var x = v; var root = 0u; var bit = 1u << 30u;
  for (var i = 0u; i < 16u; i++) {
    let t = root + bit;
    root = root >> 1u;
    if (x >= t) { x -= t; root += bit; }
    bit = bit >> 2u;
  }
  return root;
}

fn qmul(a: i32, b: i32) -> i32 { return (a * b + 16384) >> 15u; }

// 2^(-d) in Q15 for d >= 0 in Q16.
fn exp2neg(d: u32) -> u32 {
  let n = d >> 16u;
  if (n > 16u) { return 0u; }
  let f = bitcast<i32>((d & 0xffffu) >> 1u);
  var r = 224;
  r = 1744 - qmul(r, f);
  r = 7844 - qmul(r, f);
  r = 22707 - qmul(r, f);
  r = 32767 - qmul(r, f);
  let y = bitcast<u32>(r);
  if (n == 0u) { return y; }
  return (y + (1u << (n - 1u))) >> n;
}

// Op quantise, once the largest magnitude is known: how far to shift, and the shifted values.
fn quantiseShift(amax: u32) -> u32 { return max(bitlen(amax), 14u) - 14u; }

fn quantise4(y: vec4<i32>, shift: u32) -> vec4<i32> {
  if (shift == 0u) { return y; }
  // Round half up without overflow: the floor, plus the highest bit cut off.
  let q = (y >> vec4<u32>(shift)) + ((y >> vec4<u32>(shift - 1u)) & vec4<i32>(1));
  return clamp(q, vec4<i32>(-16383), vec4<i32>(16383));
}

fn largest(y: vec4<i32>) -> u32 {
  let m = max(abs(y.xy), abs(y.zw));
  return bitcast<u32>(max(m.x, m.y));
}
