// Sums and maxima over a workgroup of WG threads (a power of two). Integer sums wrap, hence the order does not matter. Every thread gets the result.

var<workgroup> reduced: array<vec4<u32>, WG>;

fn reduceMax(t: u32, v: u32) -> u32 {
  reduced[t].x = v;
  workgroupBarrier();
  for (var s = WG / 2u; s > 0u; s = s >> 1u) {
    if (t < s) { reduced[t].x = max(reduced[t].x, reduced[t + s].x); }
    workgroupBarrier();
  }
  let y = reduced[0].x;
  workgroupBarrier();
  return y;
}

fn reduceSum(t: u32, v: u32) -> u32 {
  reduced[t].x = v;
  workgroupBarrier();
  for (var s = WG / 2u; s > 0u; s = s >> 1u) {
    if (t < s) { reduced[t].x += reduced[t + s].x; }
    workgroupBarrier();
  }
  let y = reduced[0].x;
  workgroupBarrier();
  return y;
}

// 96-bit numbers, low word first.
fn add96(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
  let low = a.x + b.x;
  let carry = select(0u, 1u, low < a.x);
  let part = a.y + b.y;
  let mid = part + carry;
  return vec3<u32>(low, mid, a.z + b.z + select(0u, 1u, part < a.y) + select(0u, 1u, mid < part));
}

fn reduceSum96(t: u32, v: vec3<u32>) -> vec3<u32> {
  reduced[t] = vec4<u32>(v, 0u);
  workgroupBarrier();
  for (var s = WG / 2u; s > 0u; s = s >> 1u) {
    if (t < s) { reduced[t] = vec4<u32>(add96(reduced[t].xyz, reduced[t + s].xyz), 0u); }
    workgroupBarrier();
  }
  let y = reduced[0].xyz;
  workgroupBarrier();
  return y;
}

// x^2 added to a 96-bit sum.
fn addSquare(sum: vec3<u32>, x: i32) -> vec3<u32> {
  let m = magnitude(x);
  return add96(sum, vec3<u32>(mulWide(m, m), 0u));
}
