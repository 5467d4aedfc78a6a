// Op matmul, g8, one token: one thread = 4 rows, SPLIT threads share the groups and add up through workgroup memory (sums wrap, any split is exact).

var<workgroup> partTop: array<vec4<i32>, LANES * SPLIT>;
var<workgroup> partA: array<vec4<i32>, LANES * SPLIT>;
var<workgroup> partB: array<vec4<i32>, LANES * SPLIT>;

@compute @workgroup_size(LANES, SPLIT)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let lane = group.x * LANES + local.x;
  let panel = lane >> 2u;
  let r = lane & 3u;
  var total = Total(vec4<i32>(), vec4<i32>(), vec4<i32>());
  // Lanes beyond the matrix see no columns: a loop under a branch is slow on llvmpipe (rope.wgsl).
  let groups = select(0u, params.groups, panel < params.panels);
  let base = panel * params.groups * 34u;
  for (var g = local.y; g < groups; g += SPLIT) {
    let at = base + g * 34u;
    var s = Sums(vec4<i32>(), vec4<i32>());
    s = addBytes(s, weightsAt(at, r), weightsAt(at + 4u, r), blockOf(act[g * 4u]));
    s = addBytes(s, weightsAt(at + 8u, r), weightsAt(at + 12u, r), blockOf(act[g * 4u + 1u]));
    s = addBytes(s, weightsAt(at + 16u, r), weightsAt(at + 20u, r), blockOf(act[g * 4u + 2u]));
    s = addBytes(s, weightsAt(at + 24u, r), weightsAt(at + 28u, r), blockOf(act[g * 4u + 3u]));
    total = addGroup8(total, endGroup(s), scalesAt(at + 32u, r));
  }
  if (SPLIT > 1u) {
    let at = local.y * LANES + local.x;
    partTop[at] = total.top;
    partA[at] = total.a;
    partB[at] = total.b;
    workgroupBarrier();
    for (var i = 1u; i < select(0u, SPLIT, local.y == 0u); i++) {
      let start = i * LANES + local.x;
      total = Total(total.top + partTop[start], total.a + partA[start], total.b + partB[start]);
    }
  }
  if (local.y == 0u && panel < params.panels) { store(params.outAt4 + lane, r, round4(total, wordsAt(params.wordAt4 + lane), sums[0].x)); }
}
