// Which 4 rows of a panel a thread of the matrix kernels has: thread r of 4 has rows 4r..4r+3, one vec4 load. What GPUs want; the other way is rows_strided.wgsl.
// weights // a run of 16-row panels in canonical layout; words // row words of all matrices; y // i32, row-major per token. All indices count 16 bytes.

@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> words: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<i32>>;

fn weightsAt(at: u32, r: u32) -> vec4<u32> { return weights[at + r]; }

// 16 i16, one per row of the panel, from `at` on.
fn scalesAt(at: u32, r: u32) -> vec4<i32> {
  let v = weights[at + (r >> 1u)];
  let w = select(v.xy, v.zw, (r & 1u) == 1u);
  return vec4<i32>(bitcast<i32>(w.x << 16u), bitcast<i32>(w.x), bitcast<i32>(w.y << 16u), bitcast<i32>(w.y)) >> vec4<u32>(16u);
}

// `lane` = 4 * panel + r.
fn wordsAt(lane: u32) -> vec4<u32> { return words[lane]; }
fn store(lane: u32, r: u32, v: vec4<i32>) { y[lane] = v; }
