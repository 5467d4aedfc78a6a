// Four int8 products at once, for devices with the language feature packed_4x8_integer_dot_product. Its twin for the others is dot_plain.wgsl.

fn dot4(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }
