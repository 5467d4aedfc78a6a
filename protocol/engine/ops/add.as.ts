// Op add: the residual connection, saturating. Mirror of add.ts.

/** residual, delta // count i32, count a multiple of 4. */
export function add(residual: usize, delta: usize, count: i32): void {
  const least = i32x4.splat(-0x7fffffff)
  const sign = i32x4.splat(0x7fffffff)
  for (let i = 0; i < count; i += 4) {
    const at = i << 2
    const a = v128.load(residual + at)
    const b = v128.load(delta + at)
    const sum = i32x4.add(a, b)
    // Overflow: both operands differ in sign from the wrapped sum; then the result is the bound with the operands' sign.
    const overflow = i32x4.shr_s(v128.and(v128.xor(a, sum), v128.xor(b, sum)), 31)
    const bound = v128.xor(i32x4.shr_s(a, 31), sign)
    v128.store(residual + at, i32x4.max_s(v128.bitselect(bound, sum, overflow), least))
  }
}
