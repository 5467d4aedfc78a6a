// `meadow model register`: puts a model of this machine into the ledger's registry; its first registrar owns it.
import { hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { command, integerOption } from '../cli.ts'
import { registrationOf } from '../ledger/registration.ts'
import { findOrAddModel } from '../models.ts'
import { openStore } from '../store.ts'
import { act, credits, moneyOptions, secretFor } from './ledger-options.ts'
import { modelOption } from './options.ts'

export const modelRegister = command({
  meta: { name: 'register', description: "Put a model into the ledger's registry and set its price" },
  args: {
    model: modelOption,
    price: { type: 'string', valueHint: 'credits', default: '0.001', description: 'For one token of an answer' },
    owner: { type: 'string', valueHint: 'n', default: '500', description: "Owner's share of fees, parts of 10,000" },
    ...moneyOptions,
  },
  async run({ args }) {
    const { id, manifest } = await findOrAddModel(openStore(), args.model)
    const trainer = publicKeyOf(await secretFor(args))
    const split = { owner: integerOption('owner', args.owner, 0, 10_000)!, trainer: 0 }
    await act(args, registrationOf(manifest, credits(args.price), split, trainer), `Registered ${manifest.core.name}.`, { model: id, owner: hex(trainer) })
  },
})
