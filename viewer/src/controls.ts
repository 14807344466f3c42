/** The controls: their options, and what is chosen, both ways. */

import type { FeatureCollection } from 'geojson'
import type { Catalogue } from './catalogue'
import { byId, html, shown } from './dom'
import type { State } from './state'

const MONTHS = [
  'January', 'February', 'March', 'April', 'May', 'June',
  'July', 'August', 'September', 'October', 'November', 'December',
]

export function monthName(month: number): string {
  return MONTHS[(((month - 1) % 12) + 12) % 12] as string
}

const BAND_NAMES: Record<string, string> = {
  delta: 'Change',
  experimental: 'With injection',
}

function bandName(band: string): string {
  return BAND_NAMES[band] ?? band
}

/** Text with the field's signs, such as CO₂. */
export function prose(text: string): string {
  return text.replaceAll('CO2', 'CO₂')
}

export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`
}

export function polygonName(polygon: number, polygons: FeatureCollection | null): string {
  const found = polygons?.features.find((each) => each.properties?.polygon_id === polygon)?.properties
  const basin = found?.basin
  return basin ? `${String(basin).replaceAll('_', ' ')} ${found?.polygon} (id ${polygon})` : `Polygon ${polygon}`
}

export class Controls {
  private readonly variable = byId<HTMLSelectElement>('variable')
  private readonly band = byId<HTMLSelectElement>('band')
  private readonly polygon = byId<HTMLSelectElement>('polygon')
  private readonly injection = byId<HTMLSelectElement>('injection')
  private readonly year = byId<HTMLSelectElement>('year')
  private readonly month = byId<HTMLSelectElement>('month')
  private readonly time = byId<HTMLInputElement>('time')
  private readonly choropleth = byId<HTMLInputElement>('choropleth')
  private readonly fit = byId<HTMLInputElement>('fit')
  private readonly source = byId<HTMLSelectElement>('source')
  private readonly others = new Map<string, HTMLSelectElement>()

  constructor(
    private readonly catalogue: Catalogue,
    private readonly change: (change: Partial<State>) => void,
  ) {
    const { index, steps } = catalogue
    const atlas = index.kind === 'atlas'
    for (const each of document.querySelectorAll<HTMLElement>('[data-kind=atlas]')) each.hidden = !atlas
    options(this.variable, index.variables.map((each) => [each.name, sentence(prose(each.long_name))]))
    options(this.band, index.bands.map((each) => [each, bandName(each)]))
    byId('band-choice').hidden = index.bands.length < 2
    options(this.injection, (index.injection_months ?? []).map((each) => [String(each), monthName(each)]))
    options(this.year, numbered(Math.ceil(steps.labels.length / 12)))
    options(this.month, numbered(Math.min(12, steps.labels.length)))
    this.time.max = String(steps.labels.length - 1)
    if (!atlas) {
      byId('key-step').textContent = 'step'
      byId('key-leap').textContent = 'ten steps'
    }
    byId('clock').hidden = steps.labels.length < 2
    this.listen()
    this.addOthers()
  }

  /** Fills the list of polygons, those of one basin together. */
  setPolygons(polygons: FeatureCollection | null): void {
    const { cases, polygon_ids } = this.catalogue.index
    const held = new Set(cases ? Object.values(cases).flat() : polygon_ids)
    const all = polygons
      ? [...new Set(polygons.features.map((each) => Number(each.properties?.polygon_id)))]
      : [...(polygon_ids ?? [])]
    const groups = new Map<string, HTMLElement>()
    for (const polygon of all.sort((a, b) => a - b)) {
      const basin = polygons?.features.find((each) => each.properties?.polygon_id === polygon)?.properties?.basin
      const name = basin ? String(basin).replaceAll('_', ' ') : 'Polygons'
      let group = groups.get(name)
      if (!group) {
        group = html('optgroup', { label: name })
        groups.set(name, group)
      }
      const text = polygonName(polygon, polygons) + (held.has(polygon) ? '' : ', no maps')
      group.append(html('option', { value: polygon }, text))
    }
    this.polygon.replaceChildren(...groups.values())
  }

  /** Offers the efficiencies there are. */
  setSources(own: boolean, published: boolean): void {
    byId('choropleth').closest<HTMLElement>('[data-kind=curves]')!.hidden = !own && !published
    this.source.querySelector<HTMLOptionElement>('[value=atlas]')!.disabled = !own
    this.source.querySelector<HTMLOptionElement>('[value=published]')!.disabled = !published
  }

  /** Shows what is chosen. */
  show(state: State): void {
    this.variable.value = state.variable
    this.band.value = state.band
    this.polygon.value = String(state.polygon ?? '')
    this.injection.value = String(state.injection ?? '')
    this.year.value = String(Math.floor(state.step / 12) + 1)
    this.month.value = String((state.step % 12) + 1)
    // The last year of a case may be short.
    const left = this.catalogue.steps.labels.length - 12 * Math.floor(state.step / 12)
    for (const option of this.month.options) option.disabled = Number(option.value) > left
    this.time.value = String(state.step)
    this.choropleth.checked = state.choropleth
    this.source.value = state.source
    this.fit.checked = state.fit
    this.fit.disabled = state.choropleth
    this.source.hidden = !state.choropleth
    byId('click').hidden = state.choropleth || !this.catalogue.index.polygons
    this.variable.disabled = this.band.disabled = state.choropleth
    for (const [name, select] of this.others) select.value = String(state.others[name] ?? 0)
    const clicked = document.querySelector<HTMLInputElement>(`input[name=click][value=${state.click}]`)
    if (clicked) clicked.checked = true
    const when = this.when(state)
    byId('when').textContent = when
    this.time.setAttribute('aria-valuetext', when)
  }

  /** The time shown, in words. */
  when({ step, injection }: State): string {
    const label = this.catalogue.steps.labels[step] ?? ''
    if (this.catalogue.index.kind !== 'atlas' || injection === null) return label
    return `${sentence(label)} (${monthName(injection + step)})`
  }

  private listen(): void {
    const on = (element: HTMLElement, act: () => void): void => element.addEventListener('change', act)
    on(this.variable, () => this.change({ variable: this.variable.value }))
    on(this.band, () => this.change({ band: this.band.value }))
    on(this.polygon, () => this.change({ polygon: Number(this.polygon.value) }))
    on(this.injection, () => this.change({ injection: Number(this.injection.value) }))
    const clock = (): void =>
      this.change({ step: 12 * (Number(this.year.value) - 1) + Number(this.month.value) - 1 })
    on(this.year, clock)
    on(this.month, clock)
    this.time.addEventListener('input', () => this.change({ step: Number(this.time.value) }))
    on(this.choropleth, () => this.change({ choropleth: this.choropleth.checked }))
    on(this.fit, () => this.change({ fit: this.fit.checked }))
    on(this.source, () => this.change({ source: this.source.value as State['source'] }))
    for (const each of document.querySelectorAll<HTMLInputElement>('input[name=click]')) {
      on(each, () => this.change({ click: each.value as State['click'] }))
    }
    byId<HTMLFormElement>('choices').addEventListener('submit', (event) => event.preventDefault())
  }

  private addOthers(): void {
    for (const { name, values, units } of this.catalogue.others) {
      const select = html('select', { id: `other-${name}` })
      options(select, values.map((value, i) => [String(i), `${typeof value === 'number' ? shown(value) : value}${units ? ` ${units}` : ''}`]))
      select.addEventListener('change', () => this.change({ others: { [name]: Number(select.value) } }))
      this.others.set(name, select)
      byId('others').append(html('label', {}, name, select))
    }
  }
}

function options(select: HTMLSelectElement, choices: [string, string][]): void {
  select.replaceChildren(...choices.map(([value, text]) => html('option', { value }, text)))
}

function numbered(count: number): [string, string][] {
  return Array.from({ length: count }, (_, i) => [String(i + 1), String(i + 1)])
}
