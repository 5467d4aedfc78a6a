// Which 4 rows of a panel a thread of the matrix kernels has: thread r of 4 has rows r, r+4, r+8, r+12, so that neighbouring threads load neighbouring words.
// SwiftShader loads these as vectors, and 16-byte strides one lane at a time (measured: webgpu/tuning.ts). The other way is rows_quad.wgsl; indices count 16 bytes here too.

@group(0) @binding(2) var<storage, read> weights: array<u32>;
@group(0) @binding(3) var<storage, read> words: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<i32>;

fn weightsAt(at: u32, r: u32) -> vec4<u32> {
  let i = at * 4u + r;
  return vec4<u32>(weights[i], weights[i + 4u], weights[i + 8u], weights[i + 12u]);
}

// 16 i16, one per row of the panel: row r + 4c stands in word 2c + r/2.
fn scalesAt(at: u32, r: u32) -> vec4<i32> {
  let i = at * 4u + (r >> 1u);
  let w = vec4<u32>(weights[i], weights[i + 2u], weights[i + 4u], weights[i + 6u]);
  return bitcast<vec4<i32>>(w * select(65536u, 1u, (r & 1u) == 1u)) >> vec4<u32>(16u);
}

fn wordsAt(lane: u32) -> vec4<u32> {
  let i = (lane & 0xfffffffcu) * 4u + (lane & 3u);
  return vec4<u32>(words[i], words[i + 4u], words[i + 8u], words[i + 12u]);
}

fn store(lane: u32, r: u32, v: vec4<i32>) {
  let i = (lane - r) * 4u + r;
  y[i] = v.x;
  y[i + 4u] = v.y;
  y[i + 8u] = v.z;
  y[i + 12u] = v.w;
}
