// The test time scale of demonstrations: blocks of a second, windows that leave two cores time for a model of 135 million weights, and a verdict within two minutes.
import { defaultParameters, hurried, type Parameters } from '../../ledger/genesis.ts'

const second = 1000

export const demoParameters: Parameters = {
  ...hurried(defaultParameters, 960),
  blockIntervalMs: second,
  // A day at 1:960. An audit that differs begins it anew.
  claimWindowMs: 90 * second,
  revealWindowMs: 60 * second,
  auditWindowMs: 60 * second,
  unbondMs: 1200 * second,
  channelGraceMs: 90 * second,
  // Every answer is drawn, for the one auditor there is; the levy then pays it a fifth of the fee.
  auditRate: 10_000,
  auditRateNew: 10_000,
  auditors: 1,
  auditPay: 2000,
  disputes: {
    ...defaultParameters.disputes,
    dataMs: 20 * second,
    expandMs: 10 * second,
    defendMs: 30 * second,
    refuteMs: 45 * second,
    // A side's time for a whole argument, and the least for one turn.
    budgetMs: 60 * second,
    floorMs: 12 * second,
    blocksMin: 3,
  },
}
