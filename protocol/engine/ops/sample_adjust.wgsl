// Sampler, steps 1 and 2: penalty on the ids of a draw, then temperature, in place; and the largest key of the row.

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row = group.y;
  let draw = row * DRAW;
  let start = group.x * params.chunk;
  let to = min(params.count, start + params.chunk);
  let ids = draws[draw];
  for (var i = t; i < ids; i += WG) {
    let id = draws[draw + IDS + i];
    if (id >= start && id < to) {
      let v = logits[row * params.stride + id];
      logits[row * params.stride + id] = shiftRound(mulSigned(v, bitcast<i32>(draws[draw + select(PENALTY, INVERSE_PENALTY, v > 0)])), 16);
    }
  }
  storageBarrier();
  workgroupBarrier();
  let inverse = bitcast<i32>(draws[draw + INVERSE_TEMPERATURE]);
  var most = 0u;
  for (var i = start + t; i < to; i += WG) {
    let z = shiftRound(mulSigned(logits[row * params.stride + i], inverse), 16);
    logits[row * params.stride + i] = z;
    most = max(most, bitcast<u32>(z) ^ 0x80000000u);
  }
  most = reduceMax(t, most);
  if (t == 0u) { atomicMax(&state[row * STATE], most); }
}
