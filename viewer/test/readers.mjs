/**
 * Reads one chunk of a map store, and its bands, by each library that reads such stores; prints
 * them as JSON. `url`, `level` and `variable` come as one JSON argument.
 */

import { createRequire } from 'node:module'
import * as zarrita from 'zarrita'

const { url, level, variable } = JSON.parse(process.argv[2])
// Band 1, polygon 0, injection month 1, month 1; the tile in the north-east.
const chunk = [1, 0, 1, 1, 0, 0, 1]

async function byZarrita(store, open) {
  const root = zarrita.root(new zarrita.FetchStore(store))
  const field = await open(root.resolve(`${level}/${variable}`), { kind: 'array' })
  const band = await zarrita.get(await open(root.resolve(`${level}/band`), { kind: 'array' }))
  return [[...(await field.getChunk(chunk)).data], [...band.data]]
}

function byZarrJs(store) {
  const { openGroup } = createRequire(import.meta.url)('zarr-js')(fetch, 'v2')
  const wanted = [`${level}/${variable}`, `${level}/band`]
  return new Promise((resolve, reject) => {
    const told = (act) => (error, found) => (error ? reject(error) : act(found))
    const both = told((open) =>
      open[wanted[0]](
        chunk,
        told((field) =>
          open[wanted[1]](
            [0],
            told((band) => resolve([[...field.data], [...band.data]])),
          ),
        ),
      ),
    )
    openGroup(store, both, wanted)
  })
}

console.log(
  JSON.stringify({
    'zarr-js v2': await byZarrJs(`${url}/v2.zarr`),
    'zarrita v2': await byZarrita(`${url}/v2.zarr`, zarrita.open.v2),
    'zarrita v3': await byZarrita(`${url}/v3.zarr`, zarrita.open.v3),
  }),
)
