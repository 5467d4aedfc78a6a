import { expect, test } from 'vitest'
import { bare, filesOf, read } from './sources.ts'

interface Ban {
  why: string
  files: string[]
  pattern: RegExp
  /** A line that the pattern must catch. */
  example: string
}

const pure = filesOf('{protocol,ledger}/**/*.ts').filter((path) => !path.endsWith('.as.ts') && !path.endsWith('.d.ts'))
/** Where numbers are made that every device must agree on. The hosts of the WebGPU and WASM engines talk to their devices and are held by comparison with the reference. */
const exact = pure.filter((path) => /^(protocol\/engine\/|ledger\/)/.test(path) && !/^protocol\/engine\/(webgpu|wasm)\//.test(path))

const bans: Ban[] = [
  { why: 'the clock enters as an argument', files: pure, pattern: /\bDate\.now\b|\bnew Date\b|\bperformance\.now\b/, example: 'const t = Date.now()' },
  { why: 'randomness enters as an argument', files: pure, pattern: /\bMath\.random\b|\bgetRandomValues\b|\brandomUUID\b/, example: 'Math.random()' },
  {
    why: 'results of these differ between engines (ECMA-262 leaves their precision open)',
    files: pure,
    pattern: /\bMath\.(?!floor\b|ceil\b|trunc\b|round\b|abs\b|sign\b|min\b|max\b|imul\b|clz32\b|fround\b)\w+/,
    example: 'Math.exp(x)',
  },
  { why: 'x ** y is Math.pow', files: exact, pattern: /\*\*/, example: 'const y = x ** 2' },
  // A Float64Array may hold whole numbers up to 2^53, as every number of this language does.
  {
    why: 'exact code has no fractions',
    files: exact,
    pattern: /\bparseFloat\b|\btoFixed\b|(?<![\w.])\d[\d_]*\.\d|\bFloat(16|32)Array\b|\b[gs]etFloat(16|32|64)\b|\bMath\.fround\b/,
    example: 'x * 0.5',
  },
  { why: 'shaders compute in integers', files: filesOf('protocol/**/*.wgsl'), pattern: /\bf32\b|\bf16\b|\bvec[234][fh]\b/, example: 'let x: f32 = 1;' },
  { why: 'signed % is wrong on some drivers', files: filesOf('protocol/**/*.wgsl'), pattern: /%/, example: 'let r = a % b;' },
  {
    why: 'relaxed SIMD differs between machines',
    files: filesOf('protocol/**/*.as.ts'),
    pattern: /relaxed|\bMath\.|\bNativeMath/,
    example: 'i16x8.relaxed_dot_i8x16_i7x16_s(a, b)',
  },
]

for (const { why, files, pattern, example } of bans) {
  test(`${why}: no ${pattern.source.slice(0, 60)}`, () => {
    expect(bare(example)).toMatch(pattern)
    const found = files.flatMap((path) =>
      bare(read(path))
        .split('\n')
        .flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
    )
    expect(found).toEqual([])
  })
}

test('the bans are applied to real files', () => {
  expect(exact.length).toBeGreaterThan(10)
  expect(filesOf('protocol/**/*.wgsl').length).toBeGreaterThan(0)
  expect(filesOf('protocol/**/*.as.ts').length).toBeGreaterThan(0)
})
