/** The map: land, the field from the pyramid, polygons and their efficiencies, one marked point. */

import { ZarrLayer, type LoadingState, type Selector } from '@carbonplan/zarr-layer'
import type { FeatureCollection, Point } from 'geojson'
import {
  type ExpressionSpecification,
  type GeoJSONSource,
  type LayerSpecification,
  Map as MapLibreMap,
  NavigationControl,
  setWorkerUrl,
} from 'maplibre-gl'
import 'maplibre-gl/dist/maplibre-gl.css'
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url'
import { COASTLINES, edges, LAND, ringsOf } from './coast'
import { type ColormapName, colours, expressionStops } from './colormaps'
import type { Pyramid } from './pyramid'

/** What the field layer shows. */
export interface FieldView {
  variable: string
  clim: [number, number]
  colormap: ColormapName
  /** Position along each dimension. */
  place: Record<string, number>
}

const FIELD = 'field'
const NOTHING: FeatureCollection<Point> = { type: 'FeatureCollection', features: [] }

export class PageMap {
  readonly map: MapLibreMap
  layer: ZarrLayer | null = null
  private readonly loaded: Promise<void>
  private drawn: FieldView | null = null
  private polygonIds: number[] = []
  private chosen: number | null = null
  private hovered: number | null = null

  constructor(
    container: HTMLElement,
    view: string | null,
    private readonly onState: (state: LoadingState) => void,
  ) {
    setWorkerUrl(new URL(workerUrl, import.meta.url).href)
    const width = container.clientWidth
    const [zoom, lat, lon] = parseView(view) ?? [
      // Above 1 the finer of two levels is drawn, which a wide map has the pixels for.
      width >= 640 ? Math.max(1, Math.log2(width / 512)) : Math.log2(Math.max(width, 256) / 512),
      width >= 640 ? 12 : 0,
      -160,
    ]
    this.map = new MapLibreMap({
      container,
      attributionControl: false,
      // Arrows step through time; Shift with arrows moves the map.
      keyboard: false,
      dragRotate: false,
      touchPitch: false,
      pitchWithRotate: false,
      maxPitch: 0,
      center: [lon, lat],
      zoom,
      minZoom: -1,
      maxZoom: 7,
      // Lets the picture be read, for downloads.
      canvasContextAttributes: { preserveDrawingBuffer: true },
      style: { version: 8, sources: sources(), layers: layers() },
    })
    this.map.touchZoomRotate.disableRotation()
    this.map.addControl(new NavigationControl({ showCompass: false }), 'top-right')
    this.loaded = new Promise((resolve) => this.map.once('load', () => resolve()))
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.paint())
    void this.loaded.then(() => this.paint())
  }

  /** The view as it stands in the address. */
  get view(): string {
    const { lng, lat } = this.map.getCenter()
    return [this.map.getZoom().toFixed(2), lat.toFixed(2), lng.toFixed(2)].join('/')
  }

  /** Draws a field; what has not changed is left alone, so that a year step asks for nothing. */
  async showField(pyramid: Pyramid, view: FieldView): Promise<void> {
    await this.loaded
    const selector: Selector = {}
    for (const [name, selected] of Object.entries(view.place)) selector[name] = { selected, type: 'index' }
    if (!this.layer) {
      this.layer = new ZarrLayer({
        id: FIELD,
        store: pyramid.store as never,
        zarrVersion: pyramid.version,
        variable: view.variable,
        colormap: colours(view.colormap),
        clim: view.clim,
        selector,
        ...pyramid.placement,
        onLoadingStateChange: this.onState,
      })
      this.map.addLayer(this.layer as never, 'coast')
    } else {
      const before = this.drawn
      if (before?.colormap !== view.colormap) this.layer.setColormap(colours(view.colormap))
      if (before?.clim.join() !== view.clim.join()) this.layer.setClim(view.clim)
      await this.layer.setSelector(selector)
      if (before?.variable !== view.variable) await this.layer.setVariable(view.variable)
      this.map.setLayoutProperty(FIELD, 'visibility', 'visible')
    }
    this.drawn = view
  }

  async hideField(): Promise<void> {
    await this.loaded
    if (this.layer) this.map.setLayoutProperty(FIELD, 'visibility', 'none')
  }

  /** Lays out the polygons, each with its number as the feature's identifier. */
  async setPolygons(polygons: FeatureCollection): Promise<void> {
    await this.loaded
    this.polygonIds = polygons.features.map((each) => Number(each.properties?.polygon_id ?? each.id))
    const features = polygons.features.map((each, i) => ({ ...each, id: this.polygonIds[i] as number }))
    source(this.map, 'polygons').setData({ type: 'FeatureCollection', features })
    const outlines = features.map((each) => ({ ...each, geometry: edges(ringsOf(each.geometry)) }))
    source(this.map, 'outlines').setData({ type: 'FeatureCollection', features: outlines })
  }

  async choose(polygon: number | null): Promise<void> {
    await this.loaded
    if (polygon === this.chosen) return
    if (this.chosen !== null) this.map.setFeatureState({ source: 'outlines', id: this.chosen }, { chosen: false })
    if (polygon !== null) this.map.setFeatureState({ source: 'outlines', id: polygon }, { chosen: true })
    this.chosen = polygon
  }

  /** Colours polygons by value, or takes the colours away. */
  async colourPolygons(
    values: Map<number, number> | null,
    colormap: ColormapName,
    [low, high]: [number, number],
  ): Promise<void> {
    await this.loaded
    for (const id of values ? this.polygonIds : []) {
      this.map.setFeatureState({ source: 'polygons', id }, { value: values?.get(id) ?? null })
    }
    const value: ExpressionSpecification = ['feature-state', 'value']
    const colour = [
      'case',
      ['==', ['typeof', value], 'number'],
      ['interpolate', ['linear'], ['number', value, 0], ...expressionStops(colormap, low, high)],
      css('--map-none'),
    ] as unknown as ExpressionSpecification
    this.map.setPaintProperty('polygon-areas', 'fill-color', values ? colour : '#000')
    this.map.setPaintProperty('polygon-areas', 'fill-opacity', values ? 1 : 0)
  }

  async setPoint(point: [number, number] | null): Promise<void> {
    await this.loaded
    const marked: FeatureCollection<Point> = point
      ? {
          type: 'FeatureCollection',
          features: [{ type: 'Feature', properties: {}, geometry: { type: 'Point', coordinates: point } }],
        }
      : NOTHING
    source(this.map, 'point').setData(marked)
  }

  /** Tiles that the drawn level has in view. */
  tilesInView(pyramid: Pyramid): { level: number; ty: number; tx: number }[] {
    const level = Math.min(Math.max(0, Math.floor(this.map.getZoom())), pyramid.levels.length - 1)
    const bounds = this.map.getBounds()
    const n = 2 ** level
    const north = pyramid.pixelAt(level, 0, Math.min(85, bounds.getNorth()))?.ty ?? 0
    const south = pyramid.pixelAt(level, 0, Math.max(-85, bounds.getSouth()))?.ty ?? n - 1
    const west = Math.floor(((bounds.getWest() + 180) / 360) * n)
    const east = Math.min(Math.floor(((bounds.getEast() + 180) / 360) * n), west + n - 1)
    const found: { level: number; ty: number; tx: number }[] = []
    for (let ty = north; ty <= south; ty++) {
      for (let tx = west; tx <= east; tx++) found.push({ level, ty, tx: ((tx % n) + n) % n })
    }
    return found
  }

  /** The polygon at a place on the screen. */
  polygonAt(at: [number, number]): number | null {
    const [found] = this.map.queryRenderedFeatures(at, { layers: ['polygon-areas'] })
    return found?.id === undefined ? null : Number(found.id)
  }

  /** Outlines the polygon under the pointer. */
  hover(polygon: number | null): void {
    if (polygon === this.hovered) return
    if (this.hovered !== null) this.map.setFeatureState({ source: 'outlines', id: this.hovered }, { hover: false })
    if (polygon !== null) this.map.setFeatureState({ source: 'outlines', id: polygon }, { hover: true })
    this.hovered = polygon
  }

  private paint(): void {
    this.map.setPaintProperty('water', 'background-color', css('--map-water'))
    this.map.setPaintProperty('land', 'fill-color', css('--map-land'))
    this.map.setPaintProperty('coast', 'line-color', css('--map-coast'))
    this.map.setPaintProperty('polygon-lines', 'line-color', css('--map-lines'))
  }
}

/** Whether this browser can draw the map at all. */
export function canDraw(): boolean {
  try {
    return document.createElement('canvas').getContext('webgl2') !== null
  } catch {
    return false
  }
}

function parseView(view: string | null): [number, number, number] | null {
  const parts = view?.split('/').map(Number) ?? []
  return parts.length === 3 && parts.every(Number.isFinite) ? (parts as [number, number, number]) : null
}

function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}

function source(map: MapLibreMap, name: string): GeoJSONSource {
  return map.getSource(name) as GeoJSONSource
}

function sources() {
  const empty = { type: 'geojson' as const, data: NOTHING }
  return {
    land: { type: 'geojson' as const, data: LAND },
    coast: { type: 'geojson' as const, data: COASTLINES },
    polygons: { ...empty },
    outlines: { ...empty },
    point: { ...empty },
  }
}

function layers(): LayerSpecification[] {
  const state = (name: string, yes: number, no: number): ExpressionSpecification => [
    'case',
    ['boolean', ['feature-state', name], false],
    yes,
    no,
  ]
  return [
    { id: 'water', type: 'background', paint: { 'background-color': css('--map-water') } },
    { id: 'land', type: 'fill', source: 'land', paint: { 'fill-color': css('--map-land') } },
    {
      id: 'polygon-areas',
      type: 'fill',
      source: 'polygons',
      paint: { 'fill-opacity': 0, 'fill-antialias': false },
    },
    { id: 'coast', type: 'line', source: 'coast', paint: { 'line-color': css('--map-coast'), 'line-width': 0.8 } },
    {
      id: 'polygon-lines',
      type: 'line',
      source: 'outlines',
      paint: {
        'line-color': css('--map-lines'),
        'line-width': state('hover', 2, 0.6),
        'line-opacity': state('hover', 1, 0.45),
      },
    },
    // Dark below bright: seen on every colour.
    {
      id: 'chosen-edge',
      type: 'line',
      source: 'outlines',
      layout: { 'line-join': 'round' },
      paint: { 'line-color': '#000', 'line-width': 5, 'line-opacity': state('chosen', 1, 0) },
    },
    {
      id: 'chosen',
      type: 'line',
      source: 'outlines',
      layout: { 'line-join': 'round' },
      paint: { 'line-color': '#ffe14d', 'line-width': 2.5, 'line-opacity': state('chosen', 1, 0) },
    },
    {
      id: 'point',
      type: 'circle',
      source: 'point',
      paint: {
        'circle-radius': 6,
        'circle-color': '#ffe14d',
        'circle-stroke-color': '#000',
        'circle-stroke-width': 2,
      },
    },
  ]
}
