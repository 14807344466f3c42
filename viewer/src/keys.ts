/** The keyboard: arrows step through time, Space plays, Shift with arrows moves the map. */

import type { Map as MapLibreMap } from 'maplibre-gl'

export interface Actions {
  step: (steps: number) => void
  play: () => void
  /** Reads the value in the middle of the map. */
  pick: () => void
  /** Steps of a year, or of ten in a dataset. */
  longStep: number
}

const MOVES: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
}
const FAR_PX = 100

export function listenToKeys(actions: Actions, map: MapLibreMap | null): void {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return
    const target = event.target as HTMLElement
    // A field, a list or a button keeps the keys it answers to.
    if (target.closest('select, input, textarea, summary, a, .scroller')) return
    const move = MOVES[event.key]
    if (move && event.shiftKey) map?.panBy([move[0] * FAR_PX, move[1] * FAR_PX])
    else if (move) actions.step(move[0] - actions.longStep * move[1])
    else if (event.key === '+' || event.key === '=') map?.zoomIn()
    else if (event.key === '-') map?.zoomOut()
    else if (event.key === ' ' && !target.closest('button')) actions.play()
    else if (event.key === 'Enter' && target.closest('#map canvas')) actions.pick()
    else return
    event.preventDefault()
  })
}
