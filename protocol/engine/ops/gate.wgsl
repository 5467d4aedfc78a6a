// Ops gate and quantise: hidden = silu(gate) * up or gelu(gate) * up, then its activation. One workgroup per row (specification, section 4, gate).

struct Params { blocks: u32, gateStride4: u32, upAt4: u32, outBits: i32, actBase: u32, spare0: u32, spare1: u32, spare2: u32 }
@group(0) @binding(0) var<storage, read> batch: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> gateUp: array<vec4<i32>>;
@group(0) @binding(5) var<storage, read_write> hidden: array<vec4<i32>>;

fn sigmoid(t: u32, negative: bool) -> i32 {
  let den = 32768u + exp2neg(t);
  let s = bitcast<i32>((0x40000000u + (den >> 1u)) / den);
  return select(s, 32768 - s, negative);
}

fn sigmoidOf(x: i32) -> i32 {
  if (GELU == 0u) {
    let a4 = (min(magnitude(x), 1048575u) + 8u) >> 4u;
    return sigmoid((a4 * 47274u) >> 11u, x < 0);
  }
  let a4 = (min(magnitude(x), 524287u) + 8u) >> 4u;
  let squared = (a4 * a4) >> 12u;
  let c = 65536u + ((squared * 11722u) >> 14u);
  let y = (a4 * (c >> 2u)) >> 11u;
  return sigmoid((min(y, 524288u) * 4715u) >> 10u, x < 0);
}

fn gated(g: i32, u: i32) -> i32 {
  let s1 = shiftRound(mulSigned(g, sigmoidOf(g)), 15);
  return shiftRound(mulSigned(s1, u), 32 - params.outBits);
}

fn gated4(g: vec4<i32>, u: vec4<i32>) -> vec4<i32> { return vec4<i32>(gated(g.x, u.x), gated(g.y, u.y), gated(g.z, u.z), gated(g.w, u.w)); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group.y;
  let stride = batch[1];
  let start = row * params.gateStride4;
  let to = row * params.blocks * 2u;
  var amax = 0u;
  // By fours, not by blocks: compilers inline every call. The blocks below read what other threads wrote.
  for (var i = t; i < params.blocks * 2u; i += WG) {
    let p = gated4(gateUp[start + i], gateUp[start + params.upAt4 + i]);
    hidden[to + i] = p;
    amax = max(amax, largest(p));
  }
  storageBarrier();
  let shift = quantiseShift(reduceMax(t, amax));
  for (var b = t; b < params.blocks; b += WG) { storeBlock(b, row, stride, params.actBase, hidden[to + b * 2u], hidden[to + b * 2u + 1u], shift); }
  if (t == 0u) { sums[row] = params.outBits - bitcast<i32>(shift); }
}
