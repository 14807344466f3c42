/** What the page shows for what is chosen: one loop that always catches up with the newest choice. */

import type { LoadingState } from '@carbonplan/zarr-layer'
import type { FeatureCollection } from 'geojson'
import { BAND, type Catalogue, elapsedLabel, fetchJson, limitsOf, POLYGON, type Variable } from './catalogue'
import { Chart, type ChartContent } from './chart'
import { drawColorbar, picture, type Scale, scaleOf } from './colorbar'
import { isDiverging } from './colormaps'
import { Controls, monthName, polygonName, prose, sentence } from './controls'
import type { Curve, Curves } from './curves'
import { byId, csv, download, html, placeText, shown, unitText, withUnit } from './dom'
import { listenToKeys } from './keys'
import { canDraw, PageMap } from './map'
import { PageError, said } from './store'
import { fromHash, type State, toHash } from './state'

/** Time between two steps while playing, ms; a step that is not drawn yet is waited for. */
const PLAY_MS = 350

declare global {
  interface Window {
    map?: unknown
    layer?: unknown
    state?: LoadingState
  }
}

export class Page {
  private readonly controls: Controls
  private readonly efficiency = new Chart(byId('efficiency-chart'))
  private readonly uptake = new Chart(byId('uptake-chart'))
  private readonly series = new Chart(byId('point-chart'))
  private readonly notices = new Map<string, string>()
  private readonly atlas: boolean
  private map: PageMap | null = null
  private polygons: FeatureCollection | null = null
  private state: State
  private wanted = 0
  private busy = false
  private player: ReturnType<typeof setInterval> | null = null
  /** Limits that were found in the values in view. */
  private fitted: [number, number] | null = null
  /** What the charts were drawn for. */
  private charted = ''
  private pointed = ''
  private whole: { case: string; is: boolean | null } = { case: '', is: null }

  constructor(
    private readonly catalogue: Catalogue,
    private readonly curves: Curves,
  ) {
    this.atlas = catalogue.index.kind === 'atlas'
    this.controls = new Controls(catalogue, (change) => this.choose(change))
    const { state } = fromHash(location.hash)
    this.state = this.valid({ ...this.initial(), ...state })
    curves.problems.forEach((problem, i) => this.notices.set(`curves${i}`, problem))
  }

  async start(): Promise<void> {
    const { title } = this.catalogue.index
    document.title = title
    byId('title').textContent = title
    this.controls.setPolygons(null)
    this.controls.setSources(this.curves.efficiency !== null, this.curves.published !== null)
    this.makeMap()
    this.listen()
    const polygons = this.loadPolygons()
    const { state } = fromHash(location.hash)
    if (this.atlas && state.polygon === undefined && state.injection === undefined) {
      const first = this.firstCase()
      if (first) this.state = this.valid({ ...this.state, ...first })
      // Nothing has been made yet, so the published efficiencies are what there is to see.
      else if (this.curves.published) this.state = this.valid({ ...this.state, choropleth: true, source: 'published' })
    }
    this.refresh()
    await polygons
  }

  private firstCase(): Pick<State, 'polygon' | 'injection'> | null {
    for (const [month, polygons] of Object.entries(this.catalogue.index.cases ?? {})) {
      if (polygons[0] !== undefined) return { polygon: polygons[0], injection: Number(month) }
    }
    return null
  }

  /** Takes a choice and shows it. */
  choose(change: Partial<State>): void {
    const others = { ...this.state.others, ...change.others }
    this.state = this.valid({ ...this.state, ...change, others })
    this.refresh()
  }

  // What is chosen

  private initial(): State {
    const { index } = this.catalogue
    return {
      variable: index.variables[0]?.name ?? '',
      band: index.bands[0] ?? '',
      polygon: index.polygon_ids?.[0] ?? null,
      injection: index.injection_months?.[0] ?? null,
      step: 0,
      choropleth: false,
      fit: false,
      source: this.curves.efficiency ? 'atlas' : 'published',
      click: 'polygon',
      point: null,
      others: {},
    }
  }

  /** A state that exists: what an address or an old link says wrongly falls back. */
  private valid(state: State): State {
    const { index, steps } = this.catalogue
    const start = this.initial()
    const months = index.injection_months ?? []
    return {
      ...state,
      variable: index.variables.some((each) => each.name === state.variable) ? state.variable : start.variable,
      band: index.bands.includes(state.band) ? state.band : start.band,
      polygon: this.atlas ? state.polygon : null,
      injection: state.injection !== null && months.includes(state.injection) ? state.injection : start.injection,
      step: Math.min(Math.max(0, state.step), steps.labels.length - 1),
      choropleth: state.choropleth && (this.curves.efficiency ?? this.curves.published) !== null,
      source: !this.curves.efficiency ? 'published' : !this.curves.published ? 'atlas' : state.source,
    }
  }

  private get variable(): Variable {
    const { variables } = this.catalogue.index
    return variables.find((each) => each.name === this.state.variable) ?? (variables[0] as Variable)
  }

  /** Positions along the dimensions of the pyramid at a step; null where the case is in none. */
  private place(step: number): number[] | null {
    const { polygon, injection, band, others } = this.state
    const { index, dimensions } = this.catalogue
    const chosen: Record<string, number | string | null> = { [BAND]: band }
    if (this.atlas) {
      chosen[POLYGON] = polygon
      chosen[index.injection_dim_name ?? ''] = injection
      chosen.month = (step % 12) + 1
      chosen.year = Math.floor(step / 12) + 1
    }
    const place = dimensions.map(({ name, values, size }) => {
      if (name in chosen) {
        const value = chosen[name]
        return value === null ? -1 : values.findIndex((each) => each === value)
      }
      // Steps of an index may be a part of those of the store.
      if (name === index.times?.dimension) return values.indexOf(index.times.values[step] ?? -1)
      return Math.min(others[name] ?? 0, size - 1)
    })
    return place.includes(-1) ? null : place
  }

  // Showing it

  private refresh(): void {
    this.wanted++
    this.controls.show(this.state)
    this.writeHash()
    if (!this.busy) void this.catchUp()
  }

  /** Shows states until the newest is shown; those that came in between are passed over. */
  private async catchUp(): Promise<void> {
    this.busy = true
    document.body.dataset.state = 'loading'
    document.body.dataset.show = this.state.choropleth ? 'efficiency' : 'field'
    const slow = setTimeout(() => (byId('progress').hidden = false), 200)
    let shownNow = -1
    while (shownNow !== this.wanted) {
      shownNow = this.wanted
      this.notices.delete('problem')
      try {
        this.showScale()
        await Promise.all([this.showMap(), this.showCurves(), this.showPoint()])
      } catch (error) {
        if (!(error instanceof PageError)) console.error(error)
        this.notices.set('problem', said(error))
      }
      this.showNotices()
    }
    clearTimeout(slow)
    byId('progress').hidden = true
    if (!this.map?.layer) window.state = { loading: false, metadata: false, chunks: false }
    document.body.dataset.state = 'ready'
    this.busy = false
  }

  private async showMap(): Promise<void> {
    const { map, state } = this
    this.notices.delete('case')
    this.notices.delete('tiles')
    if (state.choropleth) {
      const store = state.source === 'atlas' ? this.curves.efficiency : this.curves.published
      const values = (await store?.across(state.injection ?? 0, this.yearEnd())) ?? new Map<number, number>()
      if (!values.size) {
        this.notices.set('case', `There are no efficiencies at the end of year ${this.year()} for ${monthName(state.injection ?? 1)}.`)
      }
      await map?.hideField()
      await map?.choose(state.polygon)
      await map?.colourPolygons(values, 'viridis', [0, 1])
      return
    }
    await map?.colourPolygons(null, 'viridis', [0, 1])
    await map?.choose(state.polygon)
    const place = this.place(state.step)
    if (!place || !(await this.isWhole(place))) {
      const what = this.atlas
        ? `${polygonName(state.polygon ?? -1, this.polygons)}, ${monthName(state.injection ?? 1)}: no map, because this case is not complete. It has not been made, or is being written.`
        : `${this.controls.when(state)}: no map, because this step is not complete. It has not been made, or is being written.`
      this.notices.set('case', what)
      await map?.hideField()
      return
    }
    const { variable } = this
    const positions: Record<string, number> = {}
    this.catalogue.dimensions.forEach(({ name }, i) => (positions[name] = place[i] as number))
    if (!map) return
    const colormap = variable.colormap[state.band]
    if (!colormap) throw new PageError(`${variable.name} has no colours for ${state.band}.`)
    const clim = await this.limits(place)
    drawColorbar(byId('colorbar'), this.scale())
    await map.showField(this.catalogue.pyramid, { variable: variable.name, clim, colormap, place: positions })
    window.layer = map.layer
    await this.lookForMissing(place)
  }

  /** Limits of the colours in stored units. */
  private async limits(place: number[]): Promise<[number, number]> {
    const { variable, state, map } = this
    this.fitted = null
    if (state.fit && map) {
      const { pyramid } = this.catalogue
      const tiles = await Promise.all(
        map
          .tilesInView(pyramid)
          .map(({ level, ty, tx }) => pyramid.tile(variable.name, level, place, ty, tx)),
      )
      const values = Float32Array.from(tiles.flatMap((tile) => [...tile.values]))
      this.fitted = limitsOf(values, isDiverging(variable.colormap[state.band] ?? 'viridis'))
    }
    return this.fitted ?? variable.clim[state.band] ?? [0, 1]
  }

  /** Says which tiles in view have no values because their chunks are not in the store. */
  private async lookForMissing(place: number[]): Promise<void> {
    const { pyramid } = this.catalogue
    if (!this.map || pyramid.untiled) return
    const seen = this.map.tilesInView(pyramid)
    const tiles = await Promise.all(
      seen.map(({ level, ty, tx }) => pyramid.tile(this.variable.name, level, place, ty, tx)),
    )
    const bare = tiles.filter(({ values }) => values.every(Number.isNaN)).length
    if (bare && pyramid.store.missing.size) {
      this.notices.set('tiles', `${bare} of ${tiles.length} tiles in view are not in the store and are drawn as no data.`)
    }
  }

  private async isWhole(place: number[]): Promise<boolean> {
    const { pyramid, dimensions, index } = this.catalogue
    const { polygon, injection } = this.state
    if (index.cases && !index.cases[injection ?? 0]?.includes(polygon ?? -1)) return false
    const names = this.atlas ? [POLYGON, index.injection_dim_name] : [index.times?.dimension]
    const at = names.map((name) => place[dimensions.findIndex((each) => each.name === name)] ?? 0)
    const name = at.join()
    if (this.whole.case !== name || this.whole.is === false) {
      const status = this.atlas ? 'case_status' : 'step_status'
      this.whole = { case: name, is: await pyramid.isWhole(status, at) }
    }
    return this.whole.is !== false
  }

  private showScale(): void {
    if (!this.state.fit) this.fitted = null
    drawColorbar(byId('colorbar'), this.scale())
    byId('case').textContent = this.caseText()
  }

  private scale(): Scale {
    if (this.state.choropleth) {
      const whose = this.state.source === 'atlas' ? 'Efficiency' : 'Published efficiency'
      return {
        title: `${whose} at the end of year ${this.year()}`,
        units: '1',
        colormap: 'viridis',
        limits: [0, 1],
        reversed: false,
      }
    }
    const { variable } = this
    const { band } = this.state
    return {
      title: sentence(this.quantity()),
      units: variable.display_units,
      colormap: variable.colormap[band] ?? 'viridis',
      ...scaleOf(this.fitted ?? variable.clim[band] ?? [0, 1], variable.display_factor),
    }
  }

  private quantity(): string {
    const name = prose(this.variable.long_name)
    return this.state.band === 'delta' ? `Change of ${name}` : name
  }

  private caseText(): string {
    const { polygon, injection } = this.state
    const when = this.controls.when(this.state)
    if (!this.atlas || polygon === null) return when
    return `${polygonName(polygon, this.polygons)}, injected in ${monthName(injection ?? 1)}. ${when}`
  }

  private year(): number {
    return Math.floor(this.state.step / 12) + 1
  }

  /** Elapsed month at which the chosen year ends. */
  private yearEnd(): number {
    return Math.min(12 * this.year(), this.catalogue.steps.labels.length) - 1
  }

  private showNotices(): void {
    const texts = [...this.notices.values()]
    const notice = byId('notice')
    notice.hidden = !texts.length
    if (notice.textContent !== texts.join('')) {
      notice.replaceChildren(...texts.map((text) => html('p', {}, text)))
    }
  }

  // Charts

  private async showCurves(): Promise<void> {
    const { polygon, injection } = this.state
    const { efficiency, uptake, published } = this.curves
    if (polygon === null || injection === null || (!efficiency && !uptake && !published)) return
    const current = this.state.step
    const name = `${polygon} ${injection}`
    if (this.charted === name) {
      this.efficiency.mark(current)
      this.uptake.mark(current)
      return
    }
    const [own, inside, theirs] = await Promise.all([
      efficiency?.curve(polygon, injection),
      uptake?.curve(polygon, injection),
      published?.curve(polygon, injection),
    ])
    this.charted = name
    const steps = Math.max(efficiency?.steps ?? 0, uptake?.steps ?? 0)
    const where = `${polygonName(polygon, this.polygons)}, injected in ${monthName(injection)}`
    const file = (what: string): string => `${what}-polygon-${polygon}-month-${injection}.csv`
    const missing = why(own, 'efficiency')
    this.efficiency.show({
      ...elapsedAxis(steps || (published?.steps ?? 0)),
      title: 'Efficiency',
      quantity: `efficiency, ${where}`,
      units: '1',
      series: [
        ...(missing === null && own ? [{ name: 'This atlas', values: own.series[0] ?? [], style: 0 }] : []),
        ...(theirs?.series[0] ? [{ name: 'Published (OAE)', values: theirs.series[0], sparse: true, style: 1 }] : []),
      ],
      atLeast: [0, 1],
      current,
      fileName: file('efficiency'),
      ...(missing !== null && !theirs?.series.length ? { absent: missing } : {}),
      ...(missing !== null && theirs?.series.length ? { note: missing } : {}),
    })
    const lost = why(inside, 'uptake')
    if (!uptake) this.uptake.hide()
    else {
      this.uptake.show({
        ...elapsedAxis(steps),
        title: 'CO₂ uptake by distance from the polygon, % of the final total',
        quantity: `cumulative uptake, ${where}`,
        units: '%',
        series: uptake.distances.map((metres, ring) => ({
          name: `Within ${shown(metres / 1000, 4)} km`,
          values: inside?.series[ring] ?? [],
          style: ring,
        })),
        atLeast: [0, 100],
        current,
        fileName: file('uptake'),
        ...(lost === null ? {} : { absent: lost }),
      })
    }
  }

  private async showPoint(): Promise<void> {
    const { point, variable: name, band, polygon, injection, step, others, choropleth } = this.state
    const { pyramid } = this.catalogue
    void this.map?.setPoint(choropleth ? null : point)
    byId('hint').textContent = choropleth
      ? ''
      : this.catalogue.index.polygons && this.state.click === 'polygon'
        ? 'Click a polygon on the map to choose it; “Read value” makes a click show the value and its time series there.'
        : 'Click the map to read the value and its time series there.'
    if (!point || choropleth) {
      this.series.hide()
      this.pointed = ''
      return
    }
    const wanted = JSON.stringify([point, name, band, polygon, injection, others])
    const level = pyramid.levels.length - 1
    const pixel = pyramid.pixelAt(level, ...point)
    const { labels } = this.catalogue.steps
    const places = labels.map((_, each) => this.place(each))
    const [first] = places
    if (this.pointed === wanted) {
      this.series.mark(step)
      this.nameValue()
      return
    }
    const title = `${this.variable.name} at ${placeText(point)}`
    const { display_factor: factor, display_units: units } = this.variable
    const common = {
      ...(this.atlas ? elapsedAxis(labels.length) : stepAxis(labels)),
      title,
      quantity: `${this.quantity()}, ${placeText(point)}`,
      units,
      current: step,
      fileName: `${name}-${band}-point.csv`,
    }
    if (!first || !pixel || (this.atlas && !(await this.isWhole(first)))) {
      this.series.show({ ...common, series: [], absent: 'There is no data here: the case is not complete, or the point is outside the map.' })
      return
    }
    const stored = await pyramid.series(name, pixel, places as number[][])
    if (wanted !== JSON.stringify([this.state.point, this.state.variable, this.state.band, this.state.polygon, this.state.injection, this.state.others])) return
    this.pointed = wanted
    const values = Float64Array.from(stored, (value) => value * factor)
    this.values = values
    const empty = values.every(Number.isNaN)
    this.series.show({
      ...common,
      series: [{ name: prose(this.variable.name), values, style: 0 }],
      ...(empty ? { absent: `No data at ${placeText(point)}: land, or outside what the model covers.` } : {}),
    })
    this.nameValue()
  }

  private values: ArrayLike<number> = []

  /** Puts the value at the marked point and the shown time into the chart's heading. */
  private nameValue(): void {
    const value = this.values[this.state.step]
    const caption = byId('point-chart').querySelector('figcaption')
    if (!caption || value === undefined || !this.state.point) return
    const text = Number.isFinite(value) ? `${shown(value, 4)} ${unitText(this.variable.display_units)}` : 'no data'
    caption.replaceChildren(
      `${prose(this.variable.name)} at ${placeText(this.state.point)}: `,
      html('strong', { id: 'point-value' }, text.trim()),
    )
  }

  // Map, clicks, keys, files

  private makeMap(): void {
    window.state = { loading: true, metadata: true, chunks: false }
    const container = byId('map')
    const { view } = fromHash(location.hash)
    try {
      if (!canDraw()) throw new Error('there is no WebGL 2')
      this.map = new PageMap(container, view, (state) => {
        window.state = state
        if (state.error) {
          this.notices.set('field', `The field cannot be drawn: ${said(state.error)}`)
          this.showNotices()
        }
      })
    } catch (error) {
      container.replaceChildren(
        html(
          'p',
          { class: 'absent' },
          `This browser cannot draw the map (${said(error)}). Turn on hardware acceleration or WebGL, or use another browser. The charts work without it.`,
        ),
      )
      for (const id of ['save-png', 'save-csv']) byId<HTMLButtonElement>(id).disabled = true
      return
    }
    const { map } = this.map
    window.map = map
    map.getCanvas().setAttribute('aria-label', 'Map; arrows step through time, Shift with arrows moves it')
    map.on('click', (event) => this.clicked([event.point.x, event.point.y], event.lngLat.wrap()))
    map.on('mousemove', (event) => {
      const { polygons } = this.catalogue.index
      const over = polygons ? this.map?.polygonAt([event.point.x, event.point.y]) : null
      const choosing = over !== null && (this.state.click === 'polygon' || this.state.choropleth)
      this.map?.hover(choosing ? (over ?? null) : null)
      map.getCanvas().style.cursor = choosing ? 'pointer' : 'crosshair'
    })
    map.on('mouseout', () => this.map?.hover(null))
    map.on('moveend', () => this.refresh())
    map.getCanvas().addEventListener('webglcontextlost', () => {
      this.notices.set('field', 'The browser took the map away (WebGL context lost); reload the page.')
      this.showNotices()
    })
  }

  private clicked(at: [number, number], where: { lng: number; lat: number }): void {
    const polygon = this.map?.polygonAt(at) ?? null
    if (polygon !== null && (this.state.click === 'polygon' || this.state.choropleth)) this.choose({ polygon })
    else if (!this.state.choropleth) this.choose({ point: [where.lng, where.lat] })
  }

  private async loadPolygons(): Promise<void> {
    const { polygons } = this.catalogue.index
    if (!polygons) return
    const url = new URL(polygons, this.catalogue.base).href
    try {
      const found = await fetchJson(url)
      if (found?.type !== 'FeatureCollection') throw new PageError(`${url} is not a GeoJSON FeatureCollection.`)
      this.polygons = found as FeatureCollection
    } catch (error) {
      this.notices.set('polygons', `The polygons cannot be drawn: ${said(error)}`)
      this.showNotices()
      return
    }
    this.controls.setPolygons(this.polygons)
    await this.map?.setPolygons(this.polygons)
    this.refresh()
  }

  private listen(): void {
    byId('play').addEventListener('click', () => this.play())
    byId('save-png').addEventListener('click', () => this.savePicture())
    byId('save-csv').addEventListener('click', () => void this.saveValues())
    window.addEventListener('hashchange', () => {
      if (location.hash !== this.hash()) this.choose({ ...this.initial(), ...fromHash(location.hash).state })
    })
    const step = (by: number): void => this.choose({ step: this.state.step + by })
    const pick = (): void => {
      const { lng, lat } = this.map?.map.getCenter().wrap() ?? { lng: 0, lat: 0 }
      this.choose({ point: [lng, lat] })
    }
    const longStep = this.atlas ? 12 : 10
    listenToKeys({ step, pick, longStep, play: () => this.play() }, this.map?.map ?? null)
  }

  private hash(): string {
    return toHash(this.state, this.atlas, this.map?.view ?? null)
  }

  private writeHash(): void {
    history.replaceState(null, '', this.hash())
  }

  private play(): void {
    const button = byId('play')
    if (this.player) clearInterval(this.player)
    const stopped = this.player !== null
    this.player = stopped
      ? null
      : setInterval(() => {
          if (this.busy || window.state?.loading) return
          // Efficiencies are of whole years.
          const by = this.state.choropleth ? 12 : 1
          this.choose({ step: (this.state.step + by) % this.catalogue.steps.labels.length })
        }, PLAY_MS)
    button.textContent = stopped ? 'Play' : 'Pause'
    button.setAttribute('aria-pressed', String(!stopped))
  }

  private fileName(ending: string): string {
    const { variable, band, polygon, injection, step, choropleth } = this.state
    const which = this.atlas ? `polygon-${polygon}-month-${injection}` : 'map'
    return choropleth
      ? `efficiency-year-${this.year()}-month-${injection}.${ending}`
      : `${variable}-${band}-${which}-step-${step + 1}.${ending}`
  }

  private savePicture(): void {
    if (!this.map) return
    this.map.map.redraw()
    const { title } = this.catalogue.index
    const drawn = picture(this.map.map.getCanvas(), this.scale(), title, this.caseText())
    drawn.toBlob((blob) => blob && download(this.fileName('png'), blob), 'image/png')
  }

  private async saveValues(): Promise<void> {
    const { state, variable } = this
    const about = `${this.catalogue.index.title}; ${this.caseText()}`
    if (state.choropleth) {
      const store = state.source === 'atlas' ? this.curves.efficiency : this.curves.published
      const values = (await store?.across(state.injection ?? 0, this.yearEnd())) ?? new Map<number, number>()
      download(this.fileName('csv'), csv(`${about}; ${this.scale().title}`, ['polygon_id', 'efficiency'], [...values]))
      return
    }
    const place = this.place(state.step)
    if (!this.map || !place || !(await this.isWhole(place))) return
    const { pyramid } = this.catalogue
    const rows: number[][] = []
    for (const { level, ty, tx } of this.map.tilesInView(pyramid)) {
      const { values } = await pyramid.tile(variable.name, level, place, ty, tx)
      values.forEach((value, i) => {
        if (Number.isNaN(value)) return
        const column = tx * pyramid.tileSize + (i % pyramid.tileSize)
        const row = ty * pyramid.tileSize + Math.floor(i / pyramid.tileSize)
        const [lon, lat] = pyramid.centre(level, column, row)
        rows.push([round(lon), round(lat), Number((value * variable.display_factor).toPrecision(7))])
      })
    }
    const head = ['lon', 'lat', withUnit(variable.name, variable.display_units)]
    download(this.fileName('csv'), csv(`${about}; ${this.quantity()}`, head, rows))
  }
}

function round(degrees: number): number {
  return Number(degrees.toFixed(4))
}

/** Why a curve is not shown, or null where it is. */
function why(curve: Curve | undefined, what: string): string | null {
  if (curve?.state === 'done' && curve.series.some((each) => each.some(Number.isFinite))) return null
  if (curve?.state === 'failed') return `This case failed, so there is no ${what} of this atlas.`
  return `This atlas has no ${what} of this case yet.`
}

type Axis = Pick<ChartContent, 'x' | 'axis' | 'rows' | 'headings' | 'marks'>

/** Time since the injection; a value stands at the end of its month. */
function elapsedAxis(months: number): Axis {
  const x = Array.from({ length: months }, (_, i) => (i + 1) / 12)
  const rows = x.map((_, i) => {
    const [year, month] = elapsedLabel(i).match(/\d+/g) as [string, string]
    return [year, month]
  })
  const axis = { x, rows, headings: ['Year', 'Month'], axis: 'years since the injection' }
  if (months > 36) return axis
  const marks = [...Array(months + 1).keys()].filter((each) => each % 6 === 0 && each > 0)
  return {
    ...axis,
    axis: 'months since the injection',
    marks: marks.map((each) => ({ at: each / 12, label: String(each) })),
  }
}

function stepAxis(labels: string[]): Axis {
  const every = Math.max(1, Math.ceil(labels.length / 4))
  return {
    x: labels.map((_, i) => i),
    rows: labels.map((label) => [label]),
    headings: ['Time'],
    axis: 'time',
    marks: labels.flatMap((label, at) => (at % every === 0 ? [{ at, label }] : [])),
  }
}
