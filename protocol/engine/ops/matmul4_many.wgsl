// Op matmul, w4, several tokens: one thread = 4 rows x 4 tokens. Activations stand token-adjacent, so weights are read once per 4 tokens.

@compute @workgroup_size(LANES, TOKENS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let lane = id.x;
  let panel = lane >> 2u;
  let r = lane & 3u;
  let stride = batch[1];
  let token = id.y * 4u;
  // Threads beyond the matrix or the batch see no columns: a loop under a branch is slow on llvmpipe (rope.wgsl).
  let mine = panel < params.panels && token < stride;
  let base = panel * params.groups * 20u;
  var t0 = Total(vec4<i32>(), vec4<i32>(), vec4<i32>()); var t1 = t0; var t2 = t0; var t3 = t0;
  for (var g = 0u; g < select(0u, params.groups, mine); g++) {
    let at = base + g * 20u;
    let start = params.sumsAt + g * stride + token;
    let x0 = groupSums(sums[start]); let x1 = groupSums(sums[start + 1u]); let x2 = groupSums(sums[start + 2u]); let x3 = groupSums(sums[start + 3u]);
    var s0 = startGroup(x0.x, x0.y); var s1 = startGroup(x1.x, x1.y); var s2 = startGroup(x2.x, x2.y); var s3 = startGroup(x3.x, x3.y);
    for (var b = 0u; b < 4u; b++) {
      let w = weightsAt(at + b * 4u, r);
      let x = (g * 4u + b) * stride + token;
      s0 = addNibbles(s0, w, blockOf(act[x]));
      s1 = addNibbles(s1, w, blockOf(act[x + 1u]));
      s2 = addNibbles(s2, w, blockOf(act[x + 2u]));
      s3 = addNibbles(s3, w, blockOf(act[x + 3u]));
    }
    let d = scalesAt(at + 16u, r);
    let m = scalesAt(at + 18u, r);
    t0 = addGroup(t0, endNibbles(s0), d, m, x0.x, x0.y);
    t1 = addGroup(t1, endNibbles(s1), d, m, x1.x, x1.y);
    t2 = addGroup(t2, endNibbles(s2), d, m, x2.x, x2.y);
    t3 = addGroup(t3, endNibbles(s3), d, m, x3.x, x3.y);
  }
  if (!mine) { return; }
  let word = wordsAt(params.wordAt4 + lane);
  let e = sums[token >> 2u];
  let out = params.outAt4 + lane + token * params.outStride4;
  store(out, r, round4(t0, word, e.x));
  store(out + params.outStride4, r, round4(t1, word, e.y));
  store(out + params.outStride4 * 2u, r, round4(t2, word, e.z));
  store(out + params.outStride4 * 3u, r, round4(t3, word, e.w));
}
