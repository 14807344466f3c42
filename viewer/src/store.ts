/** Zarr stores over plain HTTP: consolidated metadata, ranges, a small cache, errors that say why. */

import * as zarr from 'zarrita'

/** What went wrong, in words for the person who looks at the page. */
export class PageError extends Error {}

type Range = { offset: number; length: number } | { suffixLength: number }

/** Chunks that other programs rewrite while the page is open; never answered from a cache. */
const STATUS = /\/(case|step)_status\/(?!\.z|zarr\.json)/
const METADATA = /\/(\.zarray|\.zattrs|\.zgroup|\.zmetadata|zarr\.json)$/

/** Encoded bytes kept, so that going back to a month or a variable asks for nothing. */
const CACHED_BYTES = 96 * 1024 * 1024

/**
 * One store. A missing key (404, or 403 as buckets without a listing answer) is undefined; any
 * other failure names the URL and the status.
 */
export class HttpStore implements zarr.AsyncReadable {
  /** Keys of chunks that were asked for and are not there. */
  readonly missing = new Set<string>()
  private readonly cache = new Map<string, Uint8Array>()
  private readonly pending = new Map<string, Promise<Uint8Array | undefined>>()
  private cachedBytes = 0
  private metadata: Map<string, Uint8Array> | null = null

  private constructor(readonly url: string) {}

  /** Opens a store and finds out which format it has, unless that is known. */
  static async open(url: string, version?: 2 | 3): Promise<[HttpStore, 2 | 3]> {
    const store = new HttpStore(url.replace(/\/+$/, ''))
    if (version !== 3) {
      const together = await store.get('/.zmetadata')
      if (together) {
        store.metadata = entriesOf(store.json('.zmetadata', together).metadata, '')
        return [store, 2]
      }
      if (await store.get('/.zgroup')) return [store, 2]
    }
    const root = version === 2 ? undefined : await store.get('/zarr.json')
    if (root) {
      const { consolidated_metadata: together, ...own } = store.json('zarr.json', root)
      if (together) {
        store.metadata = entriesOf(together.metadata, '/zarr.json')
        store.metadata.set('/zarr.json', encoded(own))
      }
      return [store, 3]
    }
    const wanted = version === 3 ? 'zarr.json' : version === 2 ? '.zmetadata' : '.zmetadata or zarr.json'
    throw new PageError(`There is no Zarr store at ${store.url}: it has no ${wanted}.`)
  }

  /** Paths of all arrays, or null where the metadata are not consolidated. */
  arrays(): string[] | null {
    if (!this.metadata) return null
    const found: string[] = []
    for (const [key, bytes] of this.metadata) {
      if (key.endsWith('/.zarray')) found.push(key.slice(1, -'/.zarray'.length))
      else if (key.endsWith('/zarr.json') && decoded(bytes).node_type === 'array') {
        found.push(key.slice(1, -'/zarr.json'.length))
      }
    }
    return found
  }

  get(key: string): Promise<Uint8Array | undefined> {
    if (this.metadata && METADATA.test(key)) return Promise.resolve(this.metadata.get(key))
    return this.once(key, async () => {
      const response = await this.fetch(key)
      return response && new Uint8Array(await response.arrayBuffer())
    })
  }

  getRange(key: string, range: Range): Promise<Uint8Array | undefined> {
    const part =
      'suffixLength' in range
        ? `-${range.suffixLength}`
        : `${range.offset}-${range.offset + range.length - 1}`
    return this.once(`${key} ${part}`, async () => {
      const response = await this.fetch(key, part)
      if (!response) return undefined
      const bytes = new Uint8Array(await response.arrayBuffer())
      if (response.status === 206) return bytes
      // A host without ranges sends the whole object.
      return 'suffixLength' in range
        ? bytes.slice(-range.suffixLength)
        : bytes.slice(range.offset, range.offset + range.length)
    })
  }

  /** Bytes from the cache, from a request that is under way, or from a new one. */
  private once(
    name: string,
    ask: () => Promise<Uint8Array | undefined>,
  ): Promise<Uint8Array | undefined> {
    const held = this.cache.get(name)
    if (held) return Promise.resolve(held)
    let asked = this.pending.get(name)
    if (!asked) {
      asked = ask()
        .then((bytes) => bytes && this.keep(name, bytes))
        .finally(() => this.pending.delete(name))
      this.pending.set(name, asked)
    }
    return asked
  }

  private async fetch(key: string, range?: string): Promise<Response | undefined> {
    const asked: RequestInit = {}
    if (range !== undefined) asked.headers = { Range: `bytes=${range}` }
    if (STATUS.test(key)) asked.cache = 'no-store'
    let response: Response
    try {
      response = await fetch(this.url + key, asked)
    } catch {
      throw new PageError(
        `${this.url + key} could not be asked for: the host does not answer, or does not allow this page to read it (CORS).`,
      )
    }
    if (response.status === 404 || response.status === 403) {
      if (!METADATA.test(key) && !STATUS.test(key)) this.missing.add(key)
      return undefined
    }
    if (!response.ok) {
      throw new PageError(`${this.url + key} was answered with ${response.status} ${response.statusText}.`)
    }
    return response
  }

  private keep(name: string, bytes: Uint8Array): Uint8Array {
    if (STATUS.test(name)) return bytes
    this.cache.set(name, bytes)
    this.cachedBytes += bytes.byteLength
    for (const [oldest, held] of this.cache) {
      if (this.cachedBytes <= CACHED_BYTES) break
      this.cache.delete(oldest)
      this.cachedBytes -= held.byteLength
    }
    return bytes
  }

  private json(name: string, bytes: Uint8Array): any {
    try {
      return decoded(bytes)
    } catch {
      throw new PageError(`${this.url}/${name} is not JSON; the store is broken, or the host answers with a page of its own.`)
    }
  }
}

function entriesOf(metadata: Record<string, unknown>, ending: string): Map<string, Uint8Array> {
  return new Map(Object.entries(metadata).map(([name, value]) => [`/${name}${ending}`, encoded(value)]))
}

function encoded(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

function decoded(bytes: Uint8Array): any {
  return JSON.parse(new TextDecoder().decode(bytes))
}

export type NumberArray = zarr.Array<zarr.NumberDataType, HttpStore>

/** Opens one array; `path` is relative to the store. */
export async function openArray(store: HttpStore, version: 2 | 3, path: string): Promise<NumberArray> {
  const open = version === 2 ? zarr.open.v2 : zarr.open.v3
  try {
    return (await open(zarr.root(store).resolve(path), { kind: 'array' })) as NumberArray
  } catch (error) {
    if (error instanceof PageError) throw error
    throw new PageError(`${store.url} has no array ${path}, or one that cannot be read (${said(error)}).`)
  }
}

/** A whole coordinate, which readers expect in one chunk; null where there is none. */
export async function readCoordinate(
  store: HttpStore,
  version: 2 | 3,
  path: string,
): Promise<{ values: (number | string)[]; attrs: Record<string, unknown> } | null> {
  const known = store.arrays()
  if (known && !known.includes(path)) return null
  try {
    const array = await openArray(store, version, path)
    const { data } = await zarr.get(array)
    const values = Array.from(data as Iterable<number | string | bigint>, (value) =>
      typeof value === 'bigint' ? Number(value) : value,
    )
    return { values, attrs: array.attrs }
  } catch (error) {
    if (known) throw error
    return null
  }
}

export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
