// dot4I8Packed for devices without the language feature packed_4x8_integer_dot_product: four sign-extended products.

fn dot4(a: u32, b: u32) -> i32 {
  let x = bitcast<i32>(a); let y = bitcast<i32>(b);
  return ((x << 24u) >> 24u) * ((y << 24u) >> 24u) + ((x << 16u) >> 24u) * ((y << 16u) >> 24u) + ((x << 8u) >> 24u) * ((y << 8u) >> 24u) + (x >> 24u) * (y >> 24u);
}
