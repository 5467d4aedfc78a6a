// Which move an honest agent makes next. Pure: from the game, what it knows, and the time. It adds to the strategies of ledger/dispute/player.ts who serves tokens, how
// long one waits for the claimant to defend itself, and that time is told when somebody has let it pass.
import { endOf, isOver } from '../../ledger/dispute/clock.ts'
import { chunkTokens, dueMove, type Game, type Moment } from '../../ledger/dispute/game.ts'
import { sameAccount } from '../../ledger/dispute/money.ts'
import type { Move } from '../../ledger/dispute/moves.ts'
import { defence, refutation, type Seat } from '../../ledger/dispute/player.ts'
import type { Account } from '../../ledger/dispute/state.ts'
import type { Machine } from '../../protocol/engine/proof/table.ts'
import type { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { u32s } from '../../protocol/hash.ts'

/** What somebody who does not compute can show: the tokens. */
export interface Shown {
  prompt: { list: TokenList; key: Uint8Array }
  out: { list: TokenList; key: Uint8Array }
}

export type Strategy = (game: Game, now: Moment, machine: Machine) => Move | null

/** Whether `part` of a span that began at `since` is over: others go first, and there is time left when they do not. */
const waited = (since: Moment, span: number, now: Moment): boolean => now.tau >= since.tau + Math.floor(span / 3)

/** The next chunk of tokens that was demanded and not served. */
export function serveMove(game: Game, shown: Shown, now: Moment): Move | null {
  const { demand, rules } = game
  if (!demand || isOver(endOf(demand.at, rules.serveWindow, rules), now)) return null
  const slot = demand.served.indexOf(null)
  if (slot < 0) return null
  const { prompt, out } = shown
  const promptChunks = Math.ceil(prompt.list.tokens.length / chunkTokens)
  const list = slot < promptChunks ? 0 : 1
  const chunk = list === 0 ? slot : slot - promptChunks
  const { list: tokens, key } = list === 0 ? prompt : out
  const start = chunk * chunkTokens
  const end = Math.min(tokens.tokens.length, start + chunkTokens)
  return { kind: 'serve', list, chunk, tokenKey: key, tokens: u32s(tokens.tokens.slice(start, end)), proof: tokens.tree.proof(start, end) }
}

/** Whether the judge has said that an argument of this account against a root was mistaken: then its own engine is at fault, and another bond would go the same way. */
export const isDisproved = (game: Game, account: Account, root: number): boolean =>
  game.paths.some(
    (path) =>
      path.root === root &&
      path.state === 'lost' &&
      sameAccount(path.owner, account) &&
      path.forks.some(({ element, turn, done }) => element >= 0 && turn === 'defender' && !done),
  )

/** The honest strategy. `mine`: the claim is one's own; `seat` null: nothing has been computed yet, so only tokens are served and time is told. */
export function honest(seat: Seat | null, shown: Shown, mine: boolean): Strategy {
  return (game, now, machine) => {
    const right = seat !== null && seat.witness.wrong === null
    if (game.demand && (mine || (right && waited(game.demand.at, game.rules.serveWindow, now)))) {
      const move = serveMove(game, shown, now)
      if (move) return move
    }
    if (seat) {
      const move = refutation(game, seat, now)
      const again = move !== null && (move.kind === 'path' || move.kind === 'unit') && isDisproved(game, seat.account, move.root)
      if (move && !again) return move
      const answer = defenceInTurn(game, seat, now, mine)
      if (answer) return answer
    }
    return dueMove(game, { now, machine })
  }
}

/** Defends: one's own claim at once, another's when its claimant has had a third of the time. */
function defenceInTurn(game: Game, seat: Seat, now: Moment, mine: boolean): Move | null {
  const move = defence(game, seat, now)
  if (!move || mine) return move
  if (move.kind === 'defend') return waited(game.finder!.at, game.rules.defendWindow, now) ? move : null
  if (move.kind === 'expand') {
    const arrival = game.arrivals.find(({ root, layer, position }) => root === move.root && layer === move.layer && position === move.position)
    return arrival && waited(arrival.at, game.rules.expandWindow, now) ? move : null
  }
  return move
}

/** What the honest moves of a dispute may ask for at once, so that nobody begins what it cannot finish: a challenge or defence, a path, an expansion, and the fees of moves. */
export const reserveFor = (game: Game): bigint => {
  const { bonds, demandFee } = game.rules
  return (bonds.challenge > bonds.defend ? bonds.challenge : bonds.defend) + bonds.path + bonds.expand + 3n * demandFee
}
