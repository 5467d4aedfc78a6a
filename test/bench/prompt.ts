// The question every engine answers in the contest: plain prose, so that greedy text runs on without an end-of-text token.

/** 180 tokens in SmolLM2's vocabulary; `engine.ts` says how many they are in the model at hand. */
export const prompt = `A river that rises in the hills carries more than water. In spring it brings down gravel and sand, and where the valley widens the current slows and lets them fall. \
After many years the bed has risen above the fields on either side, and the farmers build banks to hold the stream in its place. One wet autumn the banks give way, the water finds the lowest ground, \
and by the next morning the river has a new course and the old one is a line of pools among the willows. People who live in such a valley learn to read the signs. They watch the colour of the water, \
the height of the foam under the bridge, and the hour at which the herons leave. When a stranger asks them why nobody drains the marsh below the mill, they answer that the marsh is the reason why the mill still stands. It is the place where the flood water goes to rest, and`

/** Tokens made after the prompt. The first one ends the prefill, the others are timed as decoding. */
export const decodeTokens = 64

/** A question of 20 tokens or so, for the time from opening a page to its first word. */
export const shortQuestion = 'What is the capital of France?'
