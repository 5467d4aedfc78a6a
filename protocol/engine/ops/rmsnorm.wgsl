// Ops rmsnorm, add and quantise around the residual, in one dispatch, as far as STAGES says: delta = rmsnorm(branch) [POST], residual += delta [ADD], normed = rmsnorm(residual) and its activation [NORM].
// One workgroup per row; a thread keeps to its own fours of columns until the activation is written, so only the reductions and that need barriers.

struct Params {
  blocks: u32, actBase: u32, rootN: u32, spare0: u32,
  weightAt: u32, weightShift: i32, epsilon: u32, outBits: i32,
  postAt: u32, postShift: i32, postEpsilon: u32, spare1: u32,
}
const POST = 1u; const ADD = 2u; const NORM = 4u;
@group(0) @binding(0) var<storage, read> batch: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read_write> residual: array<vec4<i32>>;
@group(0) @binding(5) var<storage, read_write> delta: array<vec4<i32>>;
@group(0) @binding(6) var<storage, read> vectors: array<vec4<i32>>;
@group(0) @binding(7) var<storage, read_write> normed: array<vec4<i32>>;

fn squares(sum: vec3<u32>, v: vec4<i32>) -> vec3<u32> { return addSquare(addSquare(addSquare(addSquare(sum, v.x), v.y), v.z), v.w); }
fn scaled4(x: vec4<i32>, w: vec4<i32>, scale: Scale, s: i32) -> vec4<i32> {
  return vec4<i32>(scaled(x.x, w.x, scale, s), scaled(x.y, w.y, scale, s), scaled(x.z, w.z, scale, s), scaled(x.w, w.w, scale, s));
}
fn sat32Add4(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> { return vec4<i32>(sat32Add(a.x, b.x), sat32Add(a.y, b.y), sat32Add(a.z, b.z), sat32Add(a.w, b.w)); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group.y;
  let stride = batch[1];
  // The tail norms only the rows that want logits: entry 3 of a row says which residual it is.
  let start = batch[4u + row * 4u + 3u] * params.blocks * 2u;
  let to = row * params.blocks * 2u;
  if ((STAGES & POST) != 0u) {
    var sum = vec3<u32>();
    for (var i = t; i < params.blocks * 2u; i += WG) { sum = squares(sum, delta[start + i]); }
    let scale = scaleOf(reduceSum96(t, sum), params.postEpsilon, params.rootN);
    for (var i = t; i < params.blocks * 2u; i += WG) { delta[start + i] = scaled4(delta[start + i], vectors[params.postAt + i], scale, params.postShift); }
  }
  if ((STAGES & ADD) != 0u) {
    for (var i = t; i < params.blocks * 2u; i += WG) { residual[start + i] = sat32Add4(residual[start + i], delta[start + i]); }
  }
  if ((STAGES & NORM) == 0u) { return; }
  var sum = vec3<u32>();
  for (var i = t; i < params.blocks * 2u; i += WG) { sum = squares(sum, residual[start + i]); }
  let scale = scaleOf(reduceSum96(t, sum), params.epsilon, params.rootN);
  var amax = 0u;
  // The blocks below read what other threads wrote.
  for (var i = t; i < params.blocks * 2u; i += WG) {
    let p = scaled4(residual[start + i], vectors[params.weightAt + i], scale, params.weightShift);
    normed[to + i] = p;
    amax = max(amax, largest(p));
  }
  storageBarrier();
  let shift = quantiseShift(reduceMax(t, amax));
  for (var b = t; b < params.blocks; b += WG) { storeBlock(b, row, stride, params.actBase, normed[to + b * 2u], normed[to + b * 2u + 1u], shift); }
  if (t == 0u) { sums[row] = params.outBits - bitcast<i32>(shift); }
}
