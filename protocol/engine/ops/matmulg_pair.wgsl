// Op matmul, g8, one token: one thread = 4 rows in each of two panels, as matmul4_pair.wgsl.

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let r = id.x & 3u;
  let panel = (id.x >> 2u) * 2u;
  let mine = panel < params.panels;
  // The odd last panel is its own neighbour.
  let next = min(panel + 1u, params.panels - 1u);
  var t0 = Total(vec4<i32>(), vec4<i32>(), vec4<i32>()); var t1 = t0;
  // Lanes beyond the matrix see no columns: a loop under a branch is slow on llvmpipe (rope.wgsl).
  for (var g = 0u; g < select(0u, params.groups, mine); g++) {
    let p = (panel * params.groups + g) * 34u;
    let q = (next * params.groups + g) * 34u;
    var s0 = Sums(vec4<i32>(), vec4<i32>()); var s1 = s0;
    for (var b = 0u; b < 4u; b++) {
      let a = blockOf(act[g * 4u + b]);
      s0 = addBytes(s0, weightsAt(p + b * 8u, r), weightsAt(p + b * 8u + 4u, r), a);
      s1 = addBytes(s1, weightsAt(q + b * 8u, r), weightsAt(q + b * 8u + 4u, r), a);
    }
    t0 = addGroup8(t0, endGroup(s0), scalesAt(p + 32u, r));
    t1 = addGroup8(t1, endGroup(s1), scalesAt(q + 32u, r));
  }
  if (!mine) { return; }
  let lane = panel * 4u + r;
  store(params.outAt4 + lane, r, round4(t0, wordsAt(params.wordAt4 + lane), sums[0].x));
  if (next > panel) { store(params.outAt4 + lane + 4u, r, round4(t1, wordsAt(params.wordAt4 + lane + 4u), sums[0].x)); }
}
