// Op matmul, w8, several tokens: one thread = 4 rows x 4 tokens. Activations stand token-adjacent, so weights are read once per 4 tokens.

@compute @workgroup_size(LANES, TOKENS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let lane = id.x;
  let panel = lane >> 2u;
  let stride = batch[1];
  let token = id.y * 4u;
  // Threads beyond the matrix or the batch see no columns: a loop under a branch is slow on llvmpipe (rope.wgsl).
  let mine = panel < params.panels && token < stride;
  let r = lane & 3u;
  let base = panel * params.groups * 32u;
  let blocks = select(0u, params.groups * 4u, mine);
  var s0 = Sums(vec4<i32>(), vec4<i32>()); var s1 = s0; var s2 = s0; var s3 = s0;
  for (var start = 0u; start < blocks; start += 128u) {
    let to = min(start + 128u, blocks);
    for (var k = start; k < to; k++) {
      let a = weightsAt(base + k * 8u, r);
      let b = weightsAt(base + k * 8u + 4u, r);
      let x = k * stride + token;
      s0 = addBytes(s0, a, b, blockOf(act[x]));
      s1 = addBytes(s1, a, b, blockOf(act[x + 1u]));
      s2 = addBytes(s2, a, b, blockOf(act[x + 2u]));
      s3 = addBytes(s3, a, b, blockOf(act[x + 3u]));
    }
    s0 = settle(s0); s1 = settle(s1); s2 = settle(s2); s3 = settle(s3);
  }
  if (!mine) { return; }
  let word = wordsAt(params.wordAt4 + lane);
  let e = sums[token >> 2u];
  let out = params.outAt4 + lane + token * params.outStride4;
  store(out, r, round8(s0.low, s0.high, word, e.x));
  store(out + params.outStride4, r, round8(s1.low, s1.high, word, e.y));
  store(out + params.outStride4 * 2u, r, round8(s2.low, s2.high, word, e.z));
  store(out + params.outStride4 * 3u, r, round8(s3.low, s3.high, word, e.w));
}
