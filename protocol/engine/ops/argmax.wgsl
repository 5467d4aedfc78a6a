// Argmax of each row of logits, the lowest id on ties, so that a greedy token is read back as one number. First over chunks of the vocabulary (STAGES = 1), then over the chunks.

struct Params { count: u32, stride: u32, chunk: u32, spare: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<i32>;
@group(0) @binding(2) var<storage, read_write> found: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> chosen: array<u32>;

var<workgroup> best: array<vec2<u32>, WG>;

// (ordered value, id): the larger value, then the lower id.
fn better(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(a, b, b.x > a.x || (b.x == a.x && b.y < a.y));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group.y;
  var most = vec2<u32>(0u, 0xffffffffu);
  if (STAGES != 0u) {
    let to = min(params.count, (group.x + 1u) * params.chunk);
    for (var i = group.x * params.chunk + t; i < to; i += WG) { most = better(most, vec2<u32>(bitcast<u32>(logits[row * params.stride + i]) ^ 0x80000000u, i)); }
  } else {
    for (var i = t; i < params.chunk; i += WG) { most = better(most, found[row * params.chunk + i]); }
  }
  best[t] = most;
  workgroupBarrier();
  for (var s = WG / 2u; s > 0u; s = s >> 1u) {
    if (t < s) { best[t] = better(best[t], best[t + s]); }
    workgroupBarrier();
  }
  if (t == 0u) {
    if (STAGES != 0u) { found[row * groups.x + group.x] = best[0]; }
    else { chosen[row] = best[0].y; }
  }
}
