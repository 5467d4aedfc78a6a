// Op embed: one row of the embedding into the residual. One thread = 8 columns; a part of a split tensor writes only the tokens whose panel it holds.

// FORMAT: 0 w8, 1 w4, 2 g8.
struct Params { groups: u32, panelFrom: u32, panels: u32, wordAt: u32, factor: u32, outBits: i32, spare0: u32, spare1: u32 }
@group(0) @binding(0) var<storage, read> batch: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> weights: array<u32>;
@group(0) @binding(3) var<storage, read> words: array<u32>;
@group(0) @binding(4) var<storage, read_write> residual: array<i32>;

fn low16(w: u32) -> i32 { return bitcast<i32>(w << 16u) >> 16u; }
fn half(word: u32, index: u32) -> i32 { return low16(select(weights[word], weights[word] >> 16u, (index & 1u) == 1u)); }

// Column k & 3 of a word of four i8.
fn byteOf(word: u32, k: u32) -> i32 { return bitcast<i32>(word << (24u - (k & 3u) * 8u)) >> 24u; }

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let block = min(id.x, params.groups * 4u - 1u);
  let row = group.y;
  let token = batch[4u + row * 4u];
  // Below panelFrom the difference wraps to a huge number. Threads without work compute something harmless: loops under a branch are slow on llvmpipe.
  let offset = (token >> 4u) - params.panelFrom;
  let mine = offset < params.panels && id.x == block;
  let panel = select(0u, offset, mine);
  let r = token & 15u;
  let word = words[params.wordAt + token];
  let s = bitcast<i32>((word >> 16u) & 63u) + 16 - params.outBits;
  let to = row * params.groups * 32u + block * 8u;
  for (var k = 0u; k < 8u; k++) {
    var v: i32;
    if (FORMAT == 1u) {
      let at = (panel * params.groups + (block >> 2u)) * 80u;
      let q = bitcast<i32>((weights[at + (block & 3u) * 16u + r] >> ((k & 3u) * 8u + (k >> 2u) * 4u)) & 15u);
      v = half(at + 64u + (r >> 1u), r) * (q - 8) + half(at + 72u + (r >> 1u), r);
    } else if (FORMAT == 2u) {
      let at = (panel * params.groups + (block >> 2u)) * 136u;
      v = byteOf(weights[at + ((block & 3u) * 2u + (k >> 2u)) * 16u + r], k) * ((half(at + 128u + (r >> 1u), r) << 20u) >> 20u);
    } else {
      v = byteOf(weights[panel * params.groups * 128u + (block * 2u + (k >> 2u)) * 16u + r], k) * bitcast<i32>(word & 0xffffu);
    }
    // |v| < 2^23, factor < 2^24.
    let y = shiftRound(mulSigned(v, bitcast<i32>(params.factor)), s);
    if (mine) { residual[to + k] = y; }
  }
}
