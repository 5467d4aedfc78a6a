// Sampler, step 4: one pass of a threshold's search. Keys that share the prefix found so far are put in 256 bins by their next 8 bits: counted (MASS = 0), or with their masses (MASS = 1).

var<workgroup> low: array<atomic<u32>, 256>;
var<workgroup> high: array<atomic<u32>, 256>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group.y;
  let step = params.step;
  for (var i = t; i < 256u; i += WG) {
    atomicStore(&low[i], 0u);
    atomicStore(&high[i], 0u);
  }
  let start = startOf(row, t, step);
  workgroupBarrier();
  let most = atomicLoad(&state[row * STATE]);
  let shift = 24u - 8u * (step & 3u);
  // All ones above the bits of this pass; nothing in the first.
  let mask = select(0xffffffffu << ((shift + 8u) & 31u), 0u, shift == 24u);
  let to = min(params.count, (group.x + 1u) * params.chunk);
  for (var i = group.x * params.chunk + t; i < to; i += WG) {
    let key = bitcast<u32>(logits[row * params.stride + i]) ^ 0x80000000u;
    if ((key & mask) == start.prefix && key >= start.topK) {
      let bin = (key >> shift) & 255u;
      if (MASS == 0u) {
        atomicAdd(&low[bin], 1u);
      } else {
        let mass = massOf(most - key);
        if (mass > 0u) {
          atomicAdd(&low[bin], mass & 4095u);
          atomicAdd(&high[bin], mass >> 12u);
        }
      }
    }
  }
  workgroupBarrier();
  let at = binsAt(row * STATE, step);
  for (var i = t; i < 256u; i += WG) {
    let a = atomicLoad(&low[i]);
    let b = atomicLoad(&high[i]);
    if (MASS == 0u) {
      if (a > 0u) { atomicAdd(&state[at + i], a); }
    } else {
      if (a > 0u) { atomicAdd(&state[at + i * 2u], a); }
      if (b > 0u) { atomicAdd(&state[at + i * 2u + 1u], b); }
    }
  }
  if (t == 0u && group.x == 0u) {
    let slot = row * STATE + SLOTS + step * 8u;
    atomicStore(&state[slot], start.prefix);
    atomicStore(&state[slot + 1u], start.above.x);
    atomicStore(&state[slot + 2u], start.above.y);
    atomicStore(&state[slot + 3u], start.topK);
    atomicStore(&state[slot + 4u], start.need.x);
    atomicStore(&state[slot + 5u], start.need.y);
  }
}
