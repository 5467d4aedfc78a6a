// The chat card after the click: asks the swarm, keeps nothing. One conversation, in memory; gone with the frame.
import { mount } from 'svelte'
import '../../ui/base.css'
import { SwarmSide } from '../../chat/swarm-side.svelte.ts'
import { Mesh } from '../../peer/mesh.svelte.ts'
import type { CardHost, Running } from '../card.ts'
import { newStranger } from '../stranger.ts'
import ChatCard from './ChatCard.svelte'
import { CardChat } from './card-chat.svelte.ts'

export async function start({ target, modelId, tell }: CardHost): Promise<Running> {
  const swarm = new SwarmSide(null, new Mesh(newStranger), false)
  const chat = new CardChat(swarm, modelId, tell)
  addEventListener('pagehide', () => swarm.goodbye())
  target.replaceChildren()
  mount(ChatCard, { target, props: { chat } })
  chat.resume()
  return { pause: () => void chat.pause() }
}
