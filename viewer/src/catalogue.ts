/** What there is to show: `index.json` of a pyramid, or a bare store that is looked at instead. */

import { isDiverging, type ColormapName } from './colormaps'
import { type Dimension, Pyramid } from './pyramid'
import { PageError, said } from './store'

export interface Variable {
  name: string
  long_name: string
  units: string
  display_factor: number
  display_units: string
  clim: Record<string, [number, number]>
  colormap: Record<string, ColormapName>
}

export interface CurveUrl {
  url: string
  variable: string
}

export interface Index {
  title: string
  kind: 'atlas' | 'dataset'
  forcing: string | null
  stores: {
    maps: { v2: string | null; v3: string | null }
    efficiency: CurveUrl | null
    uptake: CurveUrl | null
    published: CurveUrl | null
  }
  polygons: string | null
  variables: Variable[]
  bands: string[]
  injection_dim_name: string | null
  injection_months: number[] | null
  polygon_ids: number[] | null
  months: number | null
  /** Polygons of each injection month that were whole when the index was written. */
  cases: Record<string, number[]> | null
  times: { dimension: string; values: number[]; labels: string[] } | null
}

/** The dimension a time step moves along, and what its steps are called. */
export interface Steps {
  labels: string[]
}

export interface Catalogue {
  index: Index
  pyramid: Pyramid
  /** Absolute URL that those in the index are relative to. */
  base: string
  dimensions: Dimension[]
  steps: Steps
  /** Dimensions that only a store of another make has; each gets a control of its own. */
  others: Dimension[]
}

export const BAND = 'band'
export const POLYGON = 'polygon_id'
const INJECTION_NAMES = ['intervention_date', 'injection_date']

/** An `index.json`, with everything that the page relies on in it. */
export async function readIndex(url: string): Promise<Index> {
  return checked(await fetchJson(url), url)
}

/** Opens the map store of an index and compares it with what the index says. */
export async function openIndexed(index: Index, url: string): Promise<Catalogue> {
  const { v2, v3 } = index.stores.maps
  const store = v2 ?? v3
  if (store === null) throw new PageError(`${url} names no map store: stores.maps has neither v2 nor v3.`)
  const names = index.variables.map((variable) => variable.name)
  const pyramid = await Pyramid.open(new URL(store, url).href, v2 === null ? 3 : 2, names)
  const dimensions = await pyramid.dimensions(names[0] as string)
  const expected =
    index.kind === 'atlas'
      ? [BAND, POLYGON, index.injection_dim_name ?? '', 'month', 'year']
      : [index.times?.dimension ?? 'time']
  const found = dimensions.map((dimension) => dimension.name)
  if (found.join() !== expected.join()) {
    throw new PageError(
      `${pyramid.store.url} has the dimensions (${found.join(', ')}, y, x), but ${url} announces (${expected.join(', ')}, y, x). One of them belongs to another pyramid.`,
    )
  }
  return {
    index,
    pyramid,
    base: url,
    dimensions,
    steps: { labels: index.times?.labels ?? elapsedLabels(dimensions, index.months) },
    others: [],
  }
}

/** Makes an index of a store that has none: names and values from its own metadata. */
export async function openBare(url: string): Promise<Catalogue> {
  const pyramid = await Pyramid.open(url)
  const all = await Promise.all(pyramid.variables.map((name) => pyramid.dimensions(name)))
  const dimensions = all.reduce((most, each) => (each.length > most.length ? each : most))
  const by = new Map(dimensions.map((dimension) => [dimension.name, dimension]))
  const injection = INJECTION_NAMES.find((each) => by.has(each)) ?? null
  const atlas = [BAND, POLYGON, 'month', 'year'].every((each) => by.has(each)) && injection !== null
  const time = atlas ? undefined : (by.get('time') ?? dimensions.find((each) => each.name !== BAND))
  const bands = (by.get(BAND)?.values ?? ['value']).map(String)
  const numbers = (each: string): number[] => (by.get(each)?.values ?? []).map(Number)
  const variables: Variable[] = []
  for (const [i, name] of pyramid.variables.entries()) {
    const own = all[i]?.map((each) => each.name).join()
    if (own === dimensions.map((each) => each.name).join()) {
      variables.push(await guessed(pyramid, name, dimensions, bands))
    }
  }
  return {
    index: {
      title: pyramid.title || (url.replace(/\/+$/, '').split('/').at(-1) ?? url),
      kind: atlas ? 'atlas' : 'dataset',
      forcing: null,
      stores: { maps: { v2: null, v3: null }, efficiency: null, uptake: null, published: null },
      polygons: null,
      variables,
      bands,
      injection_dim_name: injection,
      injection_months: atlas ? numbers(injection) : null,
      polygon_ids: atlas ? numbers(POLYGON) : null,
      months: atlas ? 12 * (by.get('year')?.size ?? 0) : null,
      cases: null,
      times: time ? { dimension: time.name, values: time.values.map(Number), labels: labelsOf(time) } : null,
    },
    pyramid,
    base: url,
    dimensions,
    steps: { labels: atlas ? elapsedLabels(dimensions, null) : time ? labelsOf(time) : [''] },
    others: atlas ? [] : dimensions.filter((each) => each !== time && each.name !== BAND),
  }
}

function elapsedLabels(dimensions: Dimension[], months: number | null): string[] {
  const years = dimensions.find((each) => each.name === 'year')?.size ?? 1
  return Array.from({ length: months ?? 12 * years }, (_, elapsed) => elapsedLabel(elapsed))
}

export function elapsedLabel(elapsed: number): string {
  return `year ${Math.floor(elapsed / 12) + 1}, month ${(elapsed % 12) + 1}`
}

const SECONDS: Record<string, number> = { days: 86400, hours: 3600, minutes: 60, seconds: 1 }

/** Dates where the units say since when, else the values themselves. */
function labelsOf(dimension: Dimension): string[] {
  const said = /^(\w+) since (\d{4}-\d{2}-\d{2})/.exec(dimension.units ?? '')
  const seconds = said ? SECONDS[said[1] as string] : undefined
  if (!said || seconds === undefined) return dimension.values.map(String)
  const start = Date.parse(`${said[2]}T00:00:00Z`)
  return dimension.values.map((value) =>
    new Date(start + Number(value) * seconds * 1000).toISOString().slice(0, 10),
  )
}

/** A variable of a bare store, its limits from its coarsest level's first step. */
async function guessed(
  pyramid: Pyramid,
  name: string,
  dimensions: Dimension[],
  bands: string[],
): Promise<Variable> {
  const array = await pyramid.array(name, 0)
  const text = (key: string): string => (typeof array.attrs[key] === 'string' ? (array.attrs[key] as string) : '')
  const clim: Record<string, [number, number]> = {}
  const colormap: Record<string, ColormapName> = {}
  for (const [place, band] of bands.entries()) {
    const at = dimensions.map((dimension) => (dimension.name === BAND ? place : 0))
    const { values } = await pyramid.tile(name, 0, at, 0, 0)
    clim[band] = limitsOf(values, band === 'delta') ?? [0, 1]
    colormap[band] = clim[band][0] === -clim[band][1] ? 'RdBu_r' : 'viridis'
  }
  const units = text('units')
  return {
    name,
    long_name: text('long_name') || name,
    units,
    display_factor: 1,
    display_units: units,
    clim,
    colormap,
  }
}

/**
 * The middle 96 % of what is there, symmetric about 0 for changes and where it has both signs; null
 * where there is nothing.
 */
export function limitsOf(values: Float32Array, change: boolean): [number, number] | null {
  const sorted = values.filter((value) => Number.isFinite(value)).sort()
  const low = sorted[Math.floor(0.02 * (sorted.length - 1))]
  const high = sorted[Math.ceil(0.98 * (sorted.length - 1))]
  if (low === undefined || high === undefined) return null
  if (change || (low < 0 && high > 0)) {
    const most = Math.max(-low, high) || 1
    return [-most, most]
  }
  return low < high ? [low, high] : [low - 0.5, low + 0.5]
}

export async function fetchJson(url: string): Promise<any> {
  let response: Response
  try {
    response = await fetch(url)
  } catch {
    throw new PageError(`${url} could not be asked for: the host does not answer, or does not allow this page to read it (CORS).`)
  }
  if (!response.ok) {
    throw new PageError(
      response.status === 404
        ? `There is no ${url}. Name another by ?index=URL: an index.json, or the folder of a store.`
        : `${url} was answered with ${response.status} ${response.statusText}.`,
    )
  }
  try {
    return await response.json()
  } catch (error) {
    throw new PageError(`${url} is not JSON (${said(error)}).`)
  }
}

/** The index with everything the page relies on, or an error that names what is not there. */
function checked(found: any, url: string): Index {
  const lacking = (what: string): PageError =>
    new PageError(`${url} is not the index of a pyramid: ${what}.`)
  if (found?.kind !== 'atlas' && found?.kind !== 'dataset') {
    throw lacking(`kind is ${JSON.stringify(found?.kind)}, expected "atlas" or "dataset"`)
  }
  if (!found.stores?.maps) throw lacking('it has no stores.maps')
  if (!Array.isArray(found.variables) || !found.variables.length) throw lacking('it has no variables')
  if (!Array.isArray(found.bands) || !found.bands.length) throw lacking('it has no bands')
  for (const variable of found.variables) {
    for (const band of found.bands) {
      if (!Array.isArray(variable.clim?.[band])) throw lacking(`${variable.name} has no clim for ${band}`)
      isDiverging(variable.colormap?.[band])
    }
  }
  if (found.kind === 'atlas') {
    for (const key of ['injection_dim_name', 'injection_months', 'polygon_ids', 'months']) {
      if (found[key] == null) throw lacking(`an atlas needs ${key}`)
    }
  }
  const { maps, ...curves } = found.stores
  return {
    ...found,
    forcing: found.forcing ?? null,
    polygons: found.polygons ?? null,
    cases: found.cases ?? null,
    times: found.times ?? null,
    stores: {
      maps: { v2: maps.v2 ?? null, v3: maps.v3 ?? null },
      efficiency: curves.efficiency ?? null,
      uptake: curves.uptake ?? null,
      published: curves.published ?? null,
    },
  }
}
