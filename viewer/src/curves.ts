/** Curves of every polygon: efficiency, uptake by distance, and the published efficiency. */

import type { CurveUrl, Index } from './catalogue'
import { HttpStore, type NumberArray, openArray, PageError, readCoordinate } from './store'

const FILL = 9.969209968386869e36

/** What a store says about one case. */
export type CaseState = 'done' | 'absent' | 'failed'

export interface Curve {
  state: CaseState
  /** One series, or one for each distance; NaN where there is no value. */
  series: Float32Array[]
}

/** A store of curves: one chunk holds every polygon of an injection month. */
export class CurveStore {
  private readonly planes = new Map<number, Promise<Plane>>()

  private constructor(
    private readonly store: HttpStore,
    private readonly array: NumberArray,
    private readonly polygons: number[],
    private readonly months: number[],
    /** Radii of a store of uptake, m. */
    readonly distances: number[],
    readonly steps: number,
  ) {}

  static async open(where: CurveUrl, base: string): Promise<CurveStore> {
    const [store] = await HttpStore.open(new URL(where.url, base).href, 2)
    const array = await openArray(store, 2, where.variable)
    const dims = array.dimensionNames ?? []
    const expected = ['elapsed_time', 'polygon_id', 'intervention_month']
    const found = dims.slice(0, 3).join(', ')
    if (found !== expected.join(', ') || dims.length > 4) {
      throw new PageError(
        `${store.url}/${where.variable} has the dimensions (${dims.join(', ')}), expected (${expected.join(', ')}) and perhaps a distance.`,
      )
    }
    if (array.chunks[0] !== array.shape[0] || array.chunks[1] !== array.shape[1]) {
      throw new PageError(
        `${store.url}/${where.variable} has chunks of ${array.chunks.join(' x ')}; expected all ${array.shape[1]} polygons and ${array.shape[0]} months in one.`,
      )
    }
    const values = async (name: string, size: number): Promise<number[]> =>
      ((await readCoordinate(store, 2, name))?.values.map(Number) ?? [...Array(size).keys()])
    return new CurveStore(
      store,
      array,
      await values('polygon_id', array.shape[1] ?? 0),
      await values('intervention_month', array.shape[2] ?? 0),
      dims.length === 4 ? await values(dims[3] as string, array.shape[3] ?? 0) : [],
      array.shape[0] ?? 0,
    )
  }

  /** The curve of one polygon. */
  async curve(polygon: number, month: number): Promise<Curve> {
    const plane = await this.plane(month)
    const place = this.polygons.indexOf(polygon)
    if (!plane || place < 0) return { state: 'absent', series: [] }
    const rings = Math.max(1, this.distances.length)
    const stride = this.polygons.length * rings
    const series = Array.from({ length: rings }, (_, ring) =>
      Float32Array.from({ length: this.steps }, (_, step) =>
        held(plane.values[step * stride + place * rings + ring]),
      ),
    )
    return { state: plane.states[place] ?? 'done', series }
  }

  /** Values of all polygons at one step, by polygon. */
  async across(month: number, step: number): Promise<Map<number, number>> {
    const plane = await this.plane(month)
    const values = new Map<number, number>()
    if (!plane || this.distances.length || step >= this.steps) return values
    this.polygons.forEach((polygon, place) => {
      const value = held(plane.values[step * this.polygons.length + place])
      if (Number.isFinite(value) && plane.states[place] !== 'absent') values.set(polygon, value)
    })
    return values
  }

  private plane(month: number): Promise<Plane | null> {
    const place = this.months.indexOf(month)
    if (place < 0) return Promise.resolve(null)
    let found = this.planes.get(place)
    if (!found) {
      found = this.read(place)
      this.planes.set(place, found)
      found.catch(() => this.planes.delete(place))
    }
    return found
  }

  private async read(place: number): Promise<Plane> {
    const rest = this.distances.length ? [0] : []
    const [values, states] = await Promise.all([
      this.array.getChunk([0, 0, place, ...rest]),
      this.states(place),
    ])
    return { values: values.data as Float32Array, states }
  }

  private async states(place: number): Promise<CaseState[]> {
    if (!this.store.arrays()?.includes('case_status')) return []
    const status = await openArray(this.store, 2, 'case_status')
    const { data } = await status.getChunk([0, place])
    return Array.from(data as ArrayLike<number>, (value) =>
      value === 1 ? 'done' : value === 2 ? 'failed' : 'absent',
    )
  }
}

interface Plane {
  values: Float32Array
  states: CaseState[]
}

function held(value: number | undefined): number {
  return value === undefined || Math.abs(value) >= FILL ? NaN : value
}

export interface Curves {
  efficiency: CurveStore | null
  uptake: CurveStore | null
  published: CurveStore | null
  /** What could not be opened, in words. */
  problems: string[]
}

export const NO_CURVES: Curves = { efficiency: null, uptake: null, published: null, problems: [] }

/** Opens every store of curves that an index names; one that fails leaves the others. */
export async function openCurves(index: Index, base: string): Promise<Curves> {
  const problems: string[] = []
  const open = async (where: CurveUrl | null): Promise<CurveStore | null> => {
    if (!where) return null
    try {
      return await CurveStore.open(where, base)
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
      return null
    }
  }
  const { efficiency, uptake, published } = index.stores
  const [a, b, c] = await Promise.all([open(efficiency), open(uptake), open(published)])
  return { efficiency: a, uptake: b, published: c, problems }
}
