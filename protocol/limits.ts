// How large things may be, each with its reason and when to look at it again. A limit is checked where strangers' bytes come in, before anything is allocated.

// Shapes. The overflow bounds of protocol/README.md section 8 are computed for these; raising one means redoing that section.
/** Width of the residual: Llama 3 70B has 8,192. */
export const hiddenMax = 8192
/** Llama 3 70B has 28,672. */
export const ffnMax = 28672
/** heads · headDim: twice the widest hidden, for models whose heads are wider than hidden / heads. */
export const attentionMax = 16384
/** Gemma 3 has 262,144 tokens, 262,208 rows with padding. */
export const vocabMax = 262400
/** Positions; a u16 in op rope, and the bound on sums over positions. Longer models are cut to this. */
export const contextMax = 32768
/** Gemma 3. */
export const headDimMax = 256
/** Keys have one scale per 32 elements, and the kernels' attention takes 32 at a time: heads of 64, 96, 128 and 256 exist, those of 80 (a few older models) cannot run. */
export const headDimMultiple = 32
/** Llama 3 70B has 80, Qwen 2.5 72B 80. */
export const layersMax = 128
/** Columns come in groups of 32 (w4, and two dot-product steps of every kernel). */
export const columnsMultiple = 32

// Packages.
/** The core sits in the ledger's registry. */
export const coreBytesMax = 4096
/** 128 layers of 14 tensors at about 170 bytes are 300 KiB. */
export const manifestBytesMax = 1 << 20
/** UTF-8 bytes; with both frequency tables (1,536) and the numbers (~400) the core stays below coreBytesMax. */
export const nameBytesMax = 128
export const licenceBytesMax = 512
/** Columns of a weight tile (dispute.md 2.3): a w8 tile is 8 KiB, small enough to be evidence. */
export const tileColumnsMax = 8192

// GGUF files.
/** Metadata and tensor list of one file. Gemma 3's, the longest known, take about 14 MB. Bounds memory while parsing. */
export const ggufHeaderBytesMax = 64 << 20
/** Known files have below 60 keys. */
export const ggufKeysMax = 4096
export const ggufKeyBytesMax = 256
/** One text of the metadata; the longest chat templates are about 20 KB, licence texts 15 KB. */
export const ggufTextBytesMax = 1 << 20
/** Entries of one metadata list; merges are the longest: 280,147 in Llama 3, 514,906 in Gemma. */
export const ggufListMax = 1 << 20
/** Tensors of all parts: 128 layers of 14, and a few. */
export const ggufTensorsMax = 4096
/** GGML_MAX_NAME is 64. */
export const ggufTensorNameBytesMax = 64
/** Parts of a split file; 4 GB parts of the largest supported shape are below 40. */
export const ggufPartsMax = 256
/** Alignment of tensor data: 32 by default; powers of two up to a memory page of any machine. */
export const ggufAlignmentMax = 65536

// Messages of the mesh (protocol/peer).
/** One frame of the ring: a chunk of 64 rows of the widest residual (64 · 8,192 · 4 = 2 MiB) and its tokens. A stream carries it in pieces of 16 KiB. */
export const frameBytesMax = (2 << 20) + (1 << 16)
/** Residual bytes in one message of rows; wider models get fewer rows in a chunk. */
export const boundaryBytesMax = 2 << 20
/** Rows of one message. The design note's c* for prompts lies in 16..256. */
export const chunkRowsMax = 256
/** Hosts of one ring: more hops than this take longer than the layers they bring (swarm.md b). */
export const chainMax = 16
/** Draft tokens of one round. */
export const draftMax = 8
/** Stop ids of one question; models have fewer than ten. */
export const stopIdsMax = 64
/** One presence: eight ranges and three addresses of 200 bytes. Gossip carries it to everyone, so it must stay small. */
export const presenceBytesMax = 2560
export const presenceModelsMax = 8
export const presenceAddressesMax = 4
/** Measured round trips in a presence: likely neighbours in a ring. */
export const presenceNearMax = 8
/** A WebRTC-direct address with its certificate hash takes about 150 bytes, one through a relay about 220. */
export const addressBytesMax = 320
/** Peers that one table keeps: one cell of the swarm (swarm.md h) and room beside it. The oldest go first. */
export const presenceCountMax = 4096
/** Records in one answer to "who is there?". */
export const presenceBatchMax = 256
/** What an open says of its pay: terms of 16 hosts (1 KiB), and two Merkle proofs with their header (2 KiB with a million records). */
export const termsBytesMax = 6144
export const voucherBytesMax = 512
/** A claim holds sixteen stop ids and eight hashes: 400 bytes. */
export const claimBytesMax = 1024
/** Two hashes a row of a claim. */
export const recordBytes = 64
/** Sentences in refusals and failures. */
export const reasonBytesMax = 240
