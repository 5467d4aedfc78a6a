// Op quantise of a vector by itself (the attention output; other vectors are quantised where they are made). One workgroup per row.

struct Params { blocks: u32, stride4: u32, inBits: i32, actBase: u32 }
@group(0) @binding(0) var<storage, read> batch: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> source: array<vec4<i32>>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group.y;
  let stride = batch[1];
  let start = row * params.stride4;
  var amax = 0u;
  for (var b = t; b < params.blocks; b += WG) { amax = max(amax, max(largest(source[start + b * 2u]), largest(source[start + b * 2u + 1u]))); }
  let shift = quantiseShift(reduceMax(t, amax));
  for (var b = t; b < params.blocks; b += WG) { storeBlock(b, row, stride, params.actBase, source[start + b * 2u], source[start + b * 2u + 1u], shift); }
  if (t == 0u) { sums[row] = params.inBits - bitcast<i32>(shift); }
}
