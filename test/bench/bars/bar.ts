// One promise of the project with the number measured for it.

export interface Bar {
  name: string
  value: number
  unit: string
  bar: number
  ok: boolean
}

const tidy = (value: number): number => Number(value.toPrecision(5))

export const atLeast = (name: string, value: number, unit: string, bar: number): Bar => ({ name, value: tidy(value), unit, bar, ok: value >= bar })
export const atMost = (name: string, value: number, unit: string, bar: number): Bar => ({ name, value: tidy(value), unit, bar, ok: value <= bar })
