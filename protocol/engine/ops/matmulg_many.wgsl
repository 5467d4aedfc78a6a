// Op matmul, g8, several tokens: one thread = 4 rows x 4 tokens. Activations stand token-adjacent, so weights are read once per 4 tokens.

@compute @workgroup_size(LANES, TOKENS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let lane = id.x;
  let panel = lane >> 2u;
  let r = lane & 3u;
  let stride = batch[1];
  let token = id.y * 4u;
  // Threads beyond the matrix or the batch see no columns: a loop under a branch is slow on llvmpipe (rope.wgsl).
  let mine = panel < params.panels && token < stride;
  let base = panel * params.groups * 34u;
  var t0 = Total(vec4<i32>(), vec4<i32>(), vec4<i32>()); var t1 = t0; var t2 = t0; var t3 = t0;
  for (var g = 0u; g < select(0u, params.groups, mine); g++) {
    let at = base + g * 34u;
    var s0 = Sums(vec4<i32>(), vec4<i32>()); var s1 = s0; var s2 = s0; var s3 = s0;
    for (var b = 0u; b < 4u; b++) {
      let u = weightsAt(at + b * 8u, r);
      let v = weightsAt(at + b * 8u + 4u, r);
      let x = (g * 4u + b) * stride + token;
      s0 = addBytes(s0, u, v, blockOf(act[x]));
      s1 = addBytes(s1, u, v, blockOf(act[x + 1u]));
      s2 = addBytes(s2, u, v, blockOf(act[x + 2u]));
      s3 = addBytes(s3, u, v, blockOf(act[x + 3u]));
    }
    let d = scalesAt(at + 32u, r);
    t0 = addGroup8(t0, endGroup(s0), d);
    t1 = addGroup8(t1, endGroup(s1), d);
    t2 = addGroup8(t2, endGroup(s2), d);
    t3 = addGroup8(t3, endGroup(s3), d);
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
