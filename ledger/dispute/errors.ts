// Why a move was refused, for people and programs. A refused move changes nothing; clocks run on.

export type DisputeErrorCode =
  /** The bytes are no move. */
  | 'malformed'
  /** Nothing of the kind can be done now: wrong phase, wrong turn, already done. */
  | 'phase'
  /** It names something that is not there. */
  | 'unknown'
  /** Its time is over. */
  | 'late'
  /** Its time is not over, or not begun. */
  | 'early'
  /** It is another's to do. */
  | 'owner'
  /** Hashes or evidence do not fit. */
  | 'proof'

export class DisputeError extends Error {
  override name = 'DisputeError'
  readonly code: DisputeErrorCode
  constructor(code: DisputeErrorCode, message: string) {
    super(message)
    this.code = code
  }
}
