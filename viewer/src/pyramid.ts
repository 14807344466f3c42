/** A web map pyramid: its levels, dimensions and tiles, whoever wrote it. */

import { HttpStore, type NumberArray, openArray, PageError, readCoordinate } from './store'

/** Half the width of the web-mercator square, m. */
const EDGE_M = 20037508.342789244

/** From values of this size on, a stored value is the fill of float32 fields. */
const FILL = 9.969209968386869e36

/** Decoded chunks kept: those of a view at the year steps of its month, 1 MB each. */
const DECODED_CHUNKS = 16

export type Crs = 'EPSG:3857' | 'EPSG:4326'

export interface Dimension {
  name: string
  size: number
  /** Values of the coordinate, or positions where there is none. */
  values: (number | string)[]
  units: string | null
}

/** Pixels of one tile at one selection. */
export interface Tile {
  level: number
  tx: number
  ty: number
  values: Float32Array
}

const ROWS = ['y', 'lat', 'latitude']
const COLUMNS = ['x', 'lon', 'longitude']

export class Pyramid {
  private readonly opened = new Map<string, Promise<NumberArray>>()
  private readonly decoded = new Map<string, ReturnType<NumberArray['getChunk']>>()

  private constructor(
    readonly store: HttpStore,
    readonly version: 2 | 3,
    /** Paths of the levels, coarsest first. */
    readonly levels: string[],
    readonly tileSize: number,
    readonly crs: Crs,
    /** True for the layout without fixed tiles, which zarr-layer needs told where it lies. */
    readonly untiled: boolean,
    readonly variables: string[],
    readonly title: string,
  ) {}

  static async open(url: string, version?: 2 | 3, names?: string[]): Promise<Pyramid> {
    const [store, found] = await HttpStore.open(url, version)
    const attrs = await rootAttributes(store, found)
    const described = levelsOf(attrs, store.url)
    const first = described.levels[0] ?? ''
    const variables = names ?? (await mapVariables(store, found, first))
    const name = variables[0]
    if (name === undefined) {
      throw new PageError(
        `${store.url} has no array with rows and columns in level ${first}, or its metadata are not consolidated; expected variables whose last dimensions are y and x.`,
      )
    }
    const pyramid = new Pyramid(
      store,
      found,
      described.levels,
      described.tileSize || (await openArray(store, found, `${first}/${name}`)).chunks.at(-1) || 0,
      described.crs,
      described.untiled,
      variables,
      typeof attrs.title === 'string' ? attrs.title : '',
    )
    await pyramid.requireShapes(name)
    return pyramid
  }

  array(variable: string, level: number): Promise<NumberArray> {
    const path = `${this.levels[level] ?? ''}/${variable}`
    let opened = this.opened.get(path)
    if (!opened) {
      opened = openArray(this.store, this.version, path)
      this.opened.set(path, opened)
      opened.catch(() => this.opened.delete(path))
    }
    return opened
  }

  /** The dimensions before rows and columns. */
  async dimensions(variable: string): Promise<Dimension[]> {
    const array = await this.array(variable, 0)
    const names = array.dimensionNames ?? []
    return Promise.all(
      names.slice(0, -2).map(async (name, i) => {
        const found = await readCoordinate(this.store, this.version, `${this.levels[0]}/${name}`)
        const size = array.shape[i] ?? 0
        const units = found?.attrs.units
        return {
          name,
          size,
          values: found?.values ?? Array.from({ length: size }, (_, place) => place),
          units: typeof units === 'string' ? units : null,
        }
      }),
    )
  }

  /** One tile at a position along every dimension; fills are NaN. */
  async tile(variable: string, level: number, place: number[], ty: number, tx: number): Promise<Tile> {
    const array = await this.array(variable, level)
    const { data, start, pixels } = await this.plane(array, place, ty, tx)
    const values = Float32Array.from(data.subarray(start, start + pixels), held(array))
    return { level, tx, ty, values }
  }

  /** The values of one pixel at many positions; a chunk that holds several is read once. */
  async series(variable: string, pixel: Pixel, places: number[][]): Promise<Float32Array> {
    const array = await this.array(variable, pixel.level)
    const of = held(array)
    const values = new Float32Array(places.length).fill(NaN)
    const work = places.entries()
    const worker = async (): Promise<void> => {
      for (const [i, place] of work) {
        const { data, start } = await this.plane(array, place, pixel.ty, pixel.tx)
        values[i] = of(data[start + pixel.offset] ?? NaN)
      }
    }
    await Promise.all(Array.from({ length: 6 }, worker))
    return values
  }

  /** The chunk that holds a tile, and where in it the tile's pixels begin. */
  private async plane(
    array: NumberArray,
    place: number[],
    ty: number,
    tx: number,
  ): Promise<{ data: Float32Array; start: number; pixels: number }> {
    const chunk = [...place.map((index, i) => Math.floor(index / (array.chunks[i] ?? 1))), ty, tx]
    const name = `${array.path} ${chunk.join()}`
    let asked = this.decoded.get(name)
    if (!asked) {
      asked = array.getChunk(chunk)
      this.decoded.set(name, asked)
      asked.catch(() => this.decoded.delete(name))
      for (const oldest of this.decoded.keys()) {
        if (this.decoded.size <= DECODED_CHUNKS) break
        this.decoded.delete(oldest)
      }
    }
    const { data, shape } = await asked
    let start = 0
    place.forEach((index, i) => {
      start = start * (shape[i] ?? 1) + (index % (array.chunks[i] ?? 1))
    })
    const pixels = (shape.at(-1) ?? 0) * (shape.at(-2) ?? 0)
    return { data: data as Float32Array, start: start * pixels, pixels }
  }

  /** Which pixel of a level holds a point, and where that pixel's centre is. */
  pixelAt(level: number, lon: number, lat: number): Pixel | null {
    const n = this.tileSize * 2 ** level
    const x = ((((lon + 180) / 360) % 1) + 1) % 1
    const y = this.crs === 'EPSG:4326' ? (90 - lat) / 180 : mercatorRow(lat)
    if (!(y >= 0 && y < 1)) return null
    const column = Math.min(n - 1, Math.floor(x * n))
    const row = Math.min(n - 1, Math.floor(y * n))
    return {
      level,
      tx: Math.floor(column / this.tileSize),
      ty: Math.floor(row / this.tileSize),
      offset: (row % this.tileSize) * this.tileSize + (column % this.tileSize),
    }
  }

  /** Longitude and latitude of a pixel's centre. */
  centre(level: number, column: number, row: number): [number, number] {
    const n = this.tileSize * 2 ** level
    const lon = ((column + 0.5) / n) * 360 - 180
    const y = (row + 0.5) / n
    return [lon, this.crs === 'EPSG:4326' ? 90 - 180 * y : latitudeOf(y)]
  }

  /** Where zarr-layer must be told that a layout without fixed tiles lies. */
  get placement(): { bounds?: [number, number, number, number]; crs?: Crs; latIsAscending?: boolean } {
    if (!this.untiled) return {}
    const bounds: [number, number, number, number] =
      this.crs === 'EPSG:4326' ? [-180, -90, 180, 90] : [-EDGE_M, -EDGE_M, EDGE_M, EDGE_M]
    return { bounds, crs: this.crs, latIsAscending: false }
  }

  /**
   * Whether a case or step is whole: true, false, or null where the store keeps no status.
   *
   * Asked anew every time, because a writer may be at work.
   */
  async isWhole(status: string, place: number[]): Promise<boolean | null> {
    const known = this.store.arrays()
    if (known && !known.includes(status)) return null
    let array: NumberArray
    try {
      array = await openArray(this.store, this.version, status)
    } catch (error) {
      if (known) throw error
      return null
    }
    const chunk = place.map((index, i) => Math.floor(index / (array.chunks[i] ?? 1)))
    const { data, shape } = await array.getChunk(chunk)
    let at = 0
    place.forEach((index, i) => {
      at = at * (shape[i] ?? 1) + (index % (array.chunks[i] ?? 1))
    })
    return Number((data as ArrayLike<number>)[at]) === 1
  }

  private async requireShapes(variable: string): Promise<void> {
    for (let level = 0; level < this.levels.length; level++) {
      const { shape, chunks } = await this.array(variable, level)
      const wanted = this.tileSize * 2 ** level
      const last = shape.slice(-2)
      if (last.some((size) => size !== wanted) || chunks.slice(-2).some((size) => size !== this.tileSize)) {
        throw new PageError(
          `${this.store.url}/${this.levels[level]}/${variable} is ${last.join(' x ')} pixels in chunks of ${chunks.slice(-2).join(' x ')}; expected a square of ${wanted} in tiles of ${this.tileSize}. It is not a web map pyramid this page can show.`,
        )
      }
    }
  }
}

/** From stored to true values; the fill becomes NaN. */
function held(array: NumberArray): (value: number) => number {
  const fill = Number(array.fillValue ?? NaN)
  const factor = numberOr(array.attrs.scale_factor, 1)
  const offset = numberOr(array.attrs.add_offset, 0)
  return (value) => (value === fill || Math.abs(value) >= FILL ? NaN : value * factor + offset)
}

export interface Pixel {
  level: number
  tx: number
  ty: number
  offset: number
}

function mercatorRow(lat: number): number {
  const phi = (lat * Math.PI) / 180
  return 0.5 - Math.log(Math.tan(Math.PI / 4 + phi / 2)) / (2 * Math.PI)
}

function latitudeOf(row: number): number {
  return (Math.atan(Math.sinh(Math.PI * (1 - 2 * row))) * 180) / Math.PI
}

function numberOr(value: unknown, otherwise: number): number {
  return typeof value === 'number' ? value : otherwise
}

async function rootAttributes(store: HttpStore, version: 2 | 3): Promise<Record<string, any>> {
  const bytes = await store.get(version === 2 ? '/.zattrs' : '/zarr.json')
  const read = bytes ? JSON.parse(new TextDecoder().decode(bytes)) : {}
  return version === 2 ? read : (read.attributes ?? {})
}

interface Described {
  levels: string[]
  tileSize: number
  crs: Crs
  untiled: boolean
}

/** Levels by either convention: tiles by zoom, coarsest first, or a layout, finest first. */
function levelsOf(attrs: Record<string, any>, url: string): Described {
  const multiscales = attrs.multiscales
  if (Array.isArray(multiscales?.layout) && multiscales.layout.length) {
    const code = attrs['proj:code'] ?? multiscales.crs ?? 'EPSG:3857'
    return {
      levels: multiscales.layout.map((entry: { asset: string }) => String(entry.asset)).reverse(),
      tileSize: 0,
      crs: code === 'EPSG:4326' ? code : 'EPSG:3857',
      untiled: true,
    }
  }
  const datasets = Array.isArray(multiscales) ? multiscales[0]?.datasets : undefined
  if (Array.isArray(datasets) && datasets[0]?.pixels_per_tile) {
    return {
      levels: datasets.map((dataset: { path: string }) => String(dataset.path)),
      tileSize: Number(datasets[0].pixels_per_tile),
      crs: datasets[0].crs === 'EPSG:4326' ? 'EPSG:4326' : 'EPSG:3857',
      untiled: false,
    }
  }
  throw new PageError(
    `${url} is a Zarr store but not a pyramid: its attributes hold no multiscales with levels; expected datasets with pixels_per_tile, or a layout.`,
  )
}

async function mapVariables(store: HttpStore, version: 2 | 3, level: string): Promise<string[]> {
  const found: string[] = []
  for (const path of store.arrays() ?? []) {
    const name = path.slice(level.length + 1)
    if (!path.startsWith(`${level}/`) || name.includes('/')) continue
    const dims = (await openArray(store, version, path)).dimensionNames ?? []
    if (ROWS.includes(dims.at(-2) ?? '') && COLUMNS.includes(dims.at(-1) ?? '')) found.push(name)
  }
  return found.sort()
}
