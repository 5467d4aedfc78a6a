// The scale of op rmsnorm from a sum of squares (specification, section 4, rmsnorm steps 2 to 6). Used by rmsnorm.wgsl and, for head norms, by rope.wgsl.

// c and h.
struct Scale { c: u32, h: u32 }

fn scaleOf(sum: vec3<u32>, epsilon: u32, rootN: u32) -> Scale {
  let t = add96(sum, vec3<u32>(epsilon, 0u, 0u));
  let bits = select(select(bitlen(t.x), 32u + bitlen(t.y), t.y != 0u), 64u + bitlen(t.z), t.z != 0u);
  let h = (bits + 1u) >> 1u;
  // v = T * 2^(32 - 2h), truncated.
  var v: u32;
  if (h <= 16u) { v = t.x << ((32u - 2u * h) & 31u); }
  else {
    let s = 2u * h - 32u;
    let k = s & 31u;
    let low = select(t.x, t.y, s >= 32u);
    let high = select(t.y, t.z, s >= 32u);
    v = select((low >> k) | (high << ((32u - k) & 31u)), low, k == 0u);
  }
  let inverse = 0x80000000u / isqrt32(v);
  let p = addWide(mulWide(inverse, rootN), vec2<u32>(1u << 19u, 0u));
  return Scale((p.x >> 20u) | (p.y << 12u), h);
}

// One element: x in, weight in, y out; `s` = 20 + weightBits - outBits.
fn scaled(x: i32, w: i32, scale: Scale, s: i32) -> i32 {
  let y1 = shiftRound(mulSigned(x, bitcast<i32>(scale.c)), bitcast<i32>(scale.h) - 9);
  return shiftRound(mulSigned(y1, w), s);
}
