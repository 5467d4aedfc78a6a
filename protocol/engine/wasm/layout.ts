// What the host (TypeScript) and the machine (AssemblyScript) agree on: fixed addresses in linear memory and the words of an instruction. Plain integer constants, because both
// compilers read this file.

// Control words, a cache line each, so that spinning on one does not slow writes to another.
export const controlGeneration = 1024
export const controlBarrierCount = 1088
export const controlBarrierPhase = 1152
export const controlSleepers = 1216
export const controlStop = 1280

// State of one run and constants of the engine, i32 each.
export const stateRows = 2048
export const stateTailRows = 2052
export const stateProgram = 2056
export const stateThreads = 2060
export const stateSpins = 2064
export const stateProfile = 2068
/** One counter per phase, 64 bytes apart, zeroed before a run: the next piece of work nobody has taken. */
export const stateCounters = 2072
/** Row tables: i32 position, i32 token, u32 address of the sequence's page table; tail row -> row. */
export const statePositions = 2076
export const stateTokens = 2080
export const stateTables = 2084
export const stateTailOf = 2088
/** act and permuted act // rows · stateActStride bytes; e // rows i32; starts, halves // rows · their strides (see ops/quantise.as.ts). */
export const stateAct = 2092
export const statePermuted = 2096
export const stateActStride = 2100
export const stateE = 2104
export const stateStarts = 2108
export const stateStartStride = 2112
export const stateHalves = 2116
export const stateHalfStride = 2120
/** q records // rows · heads of stateRecordBytes: i16[headDim], then the exponent i32. */
export const stateRecords = 2124
export const stateRecordBytes = 2128
export const stateHeads = 2132
export const stateKvHeads = 2136
export const stateHeadDim = 2140
/** Bytes of one key-value head of one layer in a page. */
export const stateBlockBytes = 2148
export const stateAttention = 2152
export const stateAttentionStride = 2156
/** Scratch of thread t at stateScratch + t · stateScratchBytes: matrix work first, attention from stateScratchAttention on. */
export const stateScratch = 2160
export const stateScratchBytes = 2164
export const stateScratchAttention = 2168
/** Positions that t and w have room for. */
export const stateSpan = 2172
/** Trace mode: t // rows·heads·span i32, w // rows·heads·span u16, Z // rows·heads u32. */
export const stateTraceT = 2176
export const stateTraceW = 2180
export const stateTraceZ = 2184
/** cos and sin of a run // rows · half i32, per set of frequencies. */
export const stateCos = 2192
export const stateSin = 2196
export const stateCosLocal = 2200
export const stateSinLocal = 2204
/** Nanoseconds per phase, f64. */
export const stateTimes = 2208
/** 1 when every thread takes rows of its own through all phases (engine.ts says when), 0 when all threads share every phase. */
export const stateApart = 2212
/** First row of each thread, i32, then the number of rows. Only read when stateApart is 1. */
export const stateCuts = 2304
/** Threads that the cuts have room for. */
export const apartThreadsMax = 256
export const stateEnd = 4096

// A phase: [kind, op count, address of the next phase, counter index, tail 0 or 1, 0, 0, 0], then its ops. All threads meet after each phase.
export const phaseBytes = 32
export const phaseEnd = 0
/** Ops done row by row, all of them for one row before the next. */
export const phaseRows = 1
/** Matmuls over the same act: panels are handed out. */
export const phaseMatmul = 2
/** Ops done per row and head of q, k and v. */
export const phaseHeads = 3
/** score, weigh, mix per row and head. */
export const phaseAttention = 4
/** Gate and up matmul, then gate, per panel. */
export const phaseFfn = 5

/** Formats of matrices. */
export const formatW8 = 0
export const formatW4 = 1
export const formatG8 = 2

// An op: 16 words, the first its kind.
export const opBytes = 64
export const opEmbed = 1
export const opRmsnorm = 2
export const opQuantise = 3
export const opMatmul = 4
export const opBias = 5
export const opRope = 6
export const opRecord = 7
export const opScore = 8
export const opWeigh = 9
export const opMix = 10
export const opGate = 11
export const opAdd = 12
export const opAngles = 13
export const opGather = 14
