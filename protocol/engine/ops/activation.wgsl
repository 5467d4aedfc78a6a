// Writing activations: op quantise (specification, section 4) once the largest magnitude of the vector is known.
// act // [K/8 blocks][stride tokens] of the form planes.wgsl or wide.wgsl. sums // the exponents e of all rows (actBase words), then [K/32][stride][4 blocks]
// words (sum of high << 16) + (sum of low) over 8 columns, where act = 256 * high + low: what 4-bit groups need besides.

@group(0) @binding(2) var<storage, read_write> act: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> sums: array<i32>;

fn storeBlock(block: u32, row: u32, stride: u32, base: u32, a: vec4<i32>, b: vec4<i32>, shift: u32) {
  let p = quantise4(a, shift);
  let q = quantise4(b, shift);
  act[block * stride + row] = packBlock(p, q);
  let pl = (p << vec4<u32>(24u)) >> vec4<u32>(24u);
  let ql = (q << vec4<u32>(24u)) >> vec4<u32>(24u);
  let low = pl + ql;
  let high = ((p - pl) >> vec4<u32>(8u)) + ((q - ql) >> vec4<u32>(8u));
  sums[base + ((block >> 2u) * stride + row) * 4u + (block & 3u)] = ((high.x + high.y + high.z + high.w) << 16u) + low.x + low.y + low.z + low.w;
}
