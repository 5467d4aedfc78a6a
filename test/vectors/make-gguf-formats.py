#!/usr/bin/env python3
"""Makes gguf-formats.json: random blocks of every tensor format and their values by llama.cpp's own Python package.

Needs `pip install gguf numpy`; tests only read the JSON. gguf computes in float32, so scales here have few significant bits and every value is exact in float32:
the vectors hold for exact arithmetic. The importer's golden model ids are not made here (test/protocol/model/import.test.ts).
"""
import json
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

rng = np.random.default_rng(20261121)
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def half(negative_too=True):
    """A half with 5 significant bits and an exponent in a narrow range (also subnormals, for zero products)."""
    value = float(rng.integers(16, 32)) * 2.0 ** float(rng.integers(-14, -8))
    return np.float16(-value if negative_too and rng.integers(2) else value)


out = {}
for name, places in SCALES.items():
    block, size = GGML_QUANT_SIZES[T[name]]
    blocks = 512 // block
    data = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    for b in range(blocks):
        for at in places:
            data[b, at : at + 2] = np.frombuffer(half().tobytes(), dtype=np.uint8)
    values = dequantize(data.reshape(1, -1), T[name]).reshape(-1)
    assert values.shape == (512,) and np.isfinite(values).all()
    out[name] = {"bytes": data.tobytes().hex(), "values": [float(v) for v in values]}

for name, bits in (("F32", np.uint32), ("F16", np.uint16), ("BF16", np.uint16)):
    raw = rng.integers(0, np.iinfo(bits).max, 512, dtype=bits, endpoint=True)
    edge = {"F32": [0, 0x80000000, 1, 0x7F7FFFFF, 0x00800000], "F16": [0, 0x8000, 1, 0x83FF, 0x7BFF, 0x0400], "BF16": [0, 0x8000, 1, 0x7F7F, 0xFF7F]}[name]
    raw[: len(edge)] = edge
    exponent = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}[name]
    raw[(raw & exponent) == exponent] = 0x3C00 if name == "F16" else edge[-1]
    values = dequantize(raw.view(np.uint8).reshape(1, -1), T[name]) if name == "BF16" else raw.view(np.float32 if name == "F32" else np.float16)
    values = values.reshape(-1).astype(np.float64)
    assert np.isfinite(values).all()
    out[name] = {"bytes": raw.tobytes().hex(), "values": [float(v) for v in values]}

with open(sys.argv[1] if len(sys.argv) > 1 else "gguf-formats.json", "w") as f:
    json.dump(out, f, separators=(",", ":"))
    f.write("\n")
