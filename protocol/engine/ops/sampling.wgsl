// What the sampler's kernels share (protocol/README.md section 5, reference in ../sampler.ts): the words of a draw, the state that goes from one pass over the logits to the next, and
// the choice of a bin. A pass is one dispatch, a workgroup looks at `chunk` logits of one row. Passes 0 to 3 count keys (top-k), 4 to 7 add masses (top-p), each 8 bits further.

struct Params { count: u32, stride: u32, chunk: u32, step: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> draws: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> logits: array<i32>;

// A draw, see ../draw.ts: words by meaning.
const DRAW = 272u;
const PENALTY = 1u;
const INVERSE_PENALTY = 2u;
const INVERSE_TEMPERATURE = 3u;
const TOP_K = 4u;
const TOP_P = 5u;
const DISTANCE = 6u;
const POSITION = 7u;
const KEY = 8u;
const GREEDY = 10u;
const IDS = 16u;

// The state of a row, zero before the first pass: the largest key; then eight words for the start of each pass (prefix; weight above it, low and high; the key of top-k; the weight that is
// needed, low and high); then 256 bins for each pass: counts, or the sums of the low 12 and of the high 12 bits of masses (each < 2^12 · 2^18).
const STATE = 3144u;
const SLOTS = 8u;
const BINS = 72u;

var<workgroup> segments: array<vec2<u32>, 16>;

fn below(a: vec2<u32>, b: vec2<u32>) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }

fn binsAt(base: u32, pass_: u32) -> u32 { return base + BINS + select(pass_ * 256u, 1024u + (pass_ - 4u) * 512u, pass_ >= 4u); }

fn binOf(base: u32, pass_: u32, bin: u32) -> vec2<u32> {
  let at = binsAt(base, pass_);
  if (pass_ < 4u) { return vec2<u32>(atomicLoad(&state[at + bin]), 0u); }
  return addWide(mulWide(atomicLoad(&state[at + bin * 2u + 1u]), 4096u), vec2<u32>(atomicLoad(&state[at + bin * 2u]), 0u));
}

struct Start { prefix: u32, above: vec2<u32>, need: vec2<u32>, topK: u32, topP: u32 }

// What is known before pass `step`, from the bins of the pass before it. All threads of a workgroup call it; it holds barriers.
fn startOf(row: u32, t: u32, step: u32) -> Start {
  let base = row * STATE;
  let draw = row * DRAW;
  var start = Start(0u, vec2<u32>(0u), vec2<u32>(draws[draw + TOP_K], 0u), 0u, 0u);
  if (step == 0u) { return start; }
  let last = step - 1u;
  for (var s = t; s < 16u; s += WG) {
    var sum = vec2<u32>(0u);
    for (var k = 0u; k < 16u; k++) { sum = addWide(sum, binOf(base, last, s * 16u + k)); }
    segments[s] = sum;
  }
  workgroupBarrier();
  let slot = base + SLOTS + last * 8u;
  start.prefix = atomicLoad(&state[slot]);
  start.above = vec2<u32>(atomicLoad(&state[slot + 1u]), atomicLoad(&state[slot + 2u]));
  start.topK = atomicLoad(&state[slot + 3u]);
  start.need = vec2<u32>(atomicLoad(&state[slot + 4u]), atomicLoad(&state[slot + 5u]));
  if (last == 4u) {
    var total = vec2<u32>(0u);
    for (var s = 0u; s < 16u; s++) { total = addWide(total, segments[s]); }
    // max(1, ceil(topP · total / 2^16)), total < 2^42
    let p = draws[draw + TOP_P];
    var scaled = mulWide(total.x, p);
    scaled.y += total.y * p;
    scaled = addWide(scaled, vec2<u32>(65535u, 0u));
    start.need = vec2<u32>((scaled.x >> 16u) | (scaled.y << 16u), scaled.y >> 16u);
    if (start.need.x == 0u && start.need.y == 0u) { start.need.x = 1u; }
  }
  // The highest bin with which the weight above reaches the need: first among segments of 16 bins, then in one.
  var segment = 15u;
  var open = true;
  for (var s = 15u; s > 0u; s--) {
    let sum = addWide(start.above, segments[s]);
    open = open && below(sum, start.need);
    if (open) { start.above = sum; segment = s - 1u; }
  }
  var bin = segment * 16u + 15u;
  open = true;
  for (var k = 15u; k > 0u; k--) {
    let sum = addWide(start.above, binOf(base, last, segment * 16u + k));
    open = open && below(sum, start.need);
    if (open) { start.above = sum; bin = segment * 16u + k - 1u; }
  }
  start.prefix |= bin << (24u - 8u * (last & 3u));
  if (step == 4u) {
    start.topK = select(start.prefix, 0u, draws[draw + TOP_K] == 0u);
    start.prefix = 0u;
    start.above = vec2<u32>(0u);
  }
  if (step == 8u) { start.topP = select(start.prefix, 0u, draws[draw + TOP_P] >= 65536u); }
  return start;
}

// e^(-d) in Q24 for d in Q16.
fn massOf(d: u32) -> u32 {
  if (d >= 1090520u) { return 0u; }
  let p = mulWide(d, 3098164009u);
  let f = (p.x >> 15u) | (p.y << 17u);
  var r = 234908u;
  r = 2739580u - mulWide(r, f).y;
  r = 20573019u - mulWide(r, f).y;
  r = 119166091u - mulWide(r, f).y;
  r = 515877875u - mulWide(r, f).y;
  r = 1488521950u - mulWide(r, f).y;
  r = 2147483645u - mulWide(r, f).y;
  return (r >> min(p.y >> 15u, 31u)) >> 7u;
}
