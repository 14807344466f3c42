/** Land and coastlines that bring no lines across the map where a ring meets the dateline. */

import type { Feature, FeatureCollection, Geometry, MultiLineString, MultiPolygon, Position } from 'geojson'
import { feature } from 'topojson-client'
import type { GeometryCollection, Topology } from 'topojson-specification'
import world from 'world-atlas/land-110m.json'

/** Web Mercator's end, beyond which a pole's edge is not seen. */
const POLE = 86

function rings(): Position[][] {
  const topology = world as unknown as Topology<{ land: GeometryCollection }>
  const land = feature(topology, topology.objects.land) as FeatureCollection
  return land.features.flatMap(({ geometry }) => ringsOf(geometry))
}

/** The edges of rings as lines, cut at the dateline and without the edges that lie on it. */
export function edges(all: Position[][]): MultiLineString {
  const lines: Position[][] = []
  for (const ring of all) {
    let line: Position[] = []
    const end = (): void => {
      if (line.length > 1) lines.push(line)
      line = []
    }
    for (const point of ring) {
      const before = line.at(-1)
      if (before) {
        const [x0, x1] = [before[0] as number, point[0] as number]
        if (Math.abs(x1 - x0) > 180 || (Math.abs(x0) > 179.9 && Math.abs(x1) > 179.9)) end()
      }
      line.push(point)
    }
    end()
  }
  return { type: 'MultiLineString', coordinates: lines }
}

/** All rings of a polygon or of several. */
export function ringsOf(geometry: Geometry): Position[][] {
  if (geometry.type === 'Polygon') return geometry.coordinates
  return geometry.type === 'MultiPolygon' ? geometry.coordinates.flat() : []
}

/** Land with longitudes that go on past the dateline, and round the pole where a ring does. */
function areas(all: Position[][]): Feature<MultiPolygon> {
  const polygons = all.map((ring) => {
    let turn = 0
    const open = ring.map((point, i) => {
      const step = i ? (point[0] as number) - ((ring[i - 1] as Position)[0] as number) : 0
      if (Math.abs(step) > 180) turn -= Math.sign(step) * 360
      return [(point[0] as number) + turn, point[1] as number]
    })
    if (turn) {
      const [from, to] = [open[0] as number[], open.at(-1) as number[]]
      const pole = (from[1] as number) < 0 ? -POLE : POLE
      open.push([to[0] as number, pole], [from[0] as number, pole], from)
    }
    return [open]
  })
  return { type: 'Feature', properties: {}, geometry: { type: 'MultiPolygon', coordinates: polygons } }
}

const all = rings()
export const COASTLINES = edges(all)
export const LAND = areas(all)
