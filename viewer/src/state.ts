/** What is chosen, kept in the address so that a link shows the same. */

export interface State {
  variable: string
  band: string
  polygon: number | null
  injection: number | null
  /** Month since the injection, or step of a dataset, from 0. */
  step: number
  choropleth: boolean
  /** Whose efficiencies the choropleth shows. */
  source: 'atlas' | 'published'
  /** Colours from the values in view rather than from the index. */
  fit: boolean
  click: 'polygon' | 'point'
  point: [number, number] | null
  /** Positions along dimensions that only this store has. */
  others: Record<string, number>
}

const RESERVED = new Set(['variable', 'band', 'polygon', 'injection', 'year', 'month', 'time', 'show', 'source', 'fit', 'click', 'point', 'view'])

/** The state as the part of an address after `#`. */
export function toHash(state: State, atlas: boolean, view: string | null): string {
  const parts = new URLSearchParams()
  parts.set('variable', state.variable)
  if (state.band !== 'value') parts.set('band', state.band)
  if (state.polygon !== null) parts.set('polygon', String(state.polygon))
  if (state.injection !== null) parts.set('injection', String(state.injection))
  if (atlas) {
    parts.set('year', String(Math.floor(state.step / 12) + 1))
    parts.set('month', String((state.step % 12) + 1))
  } else parts.set('time', String(state.step))
  for (const [name, place] of Object.entries(state.others)) parts.set(name, String(place))
  if (state.choropleth) {
    parts.set('show', 'efficiency')
    parts.set('source', state.source)
  }
  if (state.fit) parts.set('fit', '1')
  if (state.click === 'point') parts.set('click', 'point')
  if (state.point) parts.set('point', state.point.map((each) => each.toFixed(3)).join(','))
  if (view) parts.set('view', view)
  return `#${parts.toString().replaceAll('%2C', ',').replaceAll('%2F', '/')}`
}

/** What an address asks for; what it does not say, or says wrongly, is left out. */
export function fromHash(hash: string): { state: Partial<State>; view: string | null } {
  const parts = new URLSearchParams(hash.replace(/^#/, ''))
  const state: Partial<State> = {}
  const number = (name: string): number | undefined => {
    const text = parts.get(name)
    return text !== null && /^-?\d+$/.test(text) ? Number(text) : undefined
  }
  const variable = parts.get('variable')
  const band = parts.get('band')
  if (variable !== null) state.variable = variable
  if (band !== null) state.band = band
  const polygon = number('polygon')
  const injection = number('injection')
  if (polygon !== undefined) state.polygon = polygon
  if (injection !== undefined) state.injection = injection
  const year = number('year')
  const month = number('month')
  const time = number('time')
  if (year !== undefined || month !== undefined) state.step = 12 * ((year ?? 1) - 1) + (month ?? 1) - 1
  else if (time !== undefined) state.step = time
  state.choropleth = parts.get('show') === 'efficiency'
  const source = parts.get('source')
  if (source === 'atlas' || source === 'published') state.source = source
  state.fit = parts.get('fit') === '1'
  state.click = parts.get('click') === 'point' ? 'point' : 'polygon'
  const point = parts.get('point')?.split(',').map(Number)
  state.point =
    point?.length === 2 && point.every(Number.isFinite) ? (point as [number, number]) : null
  state.others = {}
  for (const name of parts.keys()) {
    const place = number(name)
    if (!RESERVED.has(name) && place !== undefined) state.others[name] = place
  }
  return { state, view: parts.get('view') }
}
