// Op matmul, w8, one token: one thread = 4 rows, SPLIT threads share the columns and add up through workgroup memory (sums wrap-free, any split is exact).

var<workgroup> partLow: array<vec4<i32>, LANES * SPLIT>;
var<workgroup> partHigh: array<vec4<i32>, LANES * SPLIT>;

@compute @workgroup_size(LANES, SPLIT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let lane = group.x * LANES + local.x;
  let panel = lane >> 2u;
  var s = Sums(vec4<i32>(), vec4<i32>());
  let r = lane & 3u;
  let base = panel * params.groups * 32u;
  // Lanes beyond the matrix see no columns: a loop under a branch is slow on llvmpipe (rope.wgsl).
  let blocks = select(0u, params.groups * 4u, panel < params.panels);
  // 128 blocks = 1024 columns between settlements.
  for (var start = local.y; start < blocks; start += SPLIT * 128u) {
    let to = min(start + SPLIT * 128u, blocks);
    for (var k = start; k < to; k += SPLIT) { s = addBytes(s, weightsAt(base + k * 8u, r), weightsAt(base + k * 8u + 4u, r), blockOf(act[k])); }
    s = settle(s);
  }
  if (SPLIT > 1u) {
    let at = local.y * LANES + local.x;
    partLow[at] = s.low;
    partHigh[at] = s.high;
    workgroupBarrier();
    for (var i = 1u; i < select(0u, SPLIT, local.y == 0u); i++) { s = Sums(s.low + partLow[i * LANES + local.x], s.high + partHigh[i * LANES + local.x]); }
  }
  if (local.y == 0u && panel < params.panels) { store(params.outAt4 + lane, r, round8(s.low, s.high, wordsAt(params.wordAt4 + lane), sums[0].x)); }
}
