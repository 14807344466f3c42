/** A line chart in SVG, with the same values in a table and as CSV. */

import { csv, download, html, shown, svg, ticks, withUnit } from './dom'

export interface Series {
  name: string
  values: ArrayLike<number>
  /** Which of the three styles of lines it has. */
  style: number
  /** True for values that are points in time rather than a whole curve. */
  sparse?: boolean
}

export interface ChartContent {
  title: string
  /** What the numbers are, with their units apart. */
  quantity: string
  units: string
  /** Position of each value along the axis, and what the axis is. */
  x: number[]
  axis: string
  /** Labels at positions; round numbers where there are none. */
  marks?: { at: number; label: string }[]
  /** Name of each row of the table, under these headings. */
  rows: string[][]
  headings: string[]
  series: Series[]
  /** Limits that the values at least fill. */
  atLeast?: [number, number]
  /** Index of the value that the map shows. */
  current: number
  /** Instead of a chart: why there is none. */
  absent?: string
  /** Said below a chart. */
  note?: string
  fileName: string
}

const HEIGHT = 190
const MARGIN = { top: 10, right: 12, bottom: 36, left: 52 }

export class Chart {
  private content: ChartContent | null = null
  private readonly plot = html('div', { class: 'plot' })
  private readonly legend = html('ul', { class: 'legend' })
  private readonly caption = html('figcaption')
  private readonly note = html('p', { class: 'note' })
  private readonly table = html('table')
  private readonly details: HTMLDetailsElement
  private readonly save: HTMLButtonElement

  constructor(private readonly figure: HTMLElement) {
    this.save = html('button', { type: 'button', class: 'small' }, 'CSV')
    this.save.addEventListener('click', () => this.download())
    const scroller = html('div', { class: 'scroller', tabindex: 0, role: 'region' }, this.table)
    this.details = html('details', {}, html('summary', {}, 'Values as a table'), scroller)
    const head = html('div', { class: 'figure-head' }, this.caption, this.save)
    figure.replaceChildren(head, this.plot, this.legend, this.note, this.details)
    new ResizeObserver(() => this.draw()).observe(this.plot)
  }

  show(content: ChartContent): void {
    this.content = content
    this.figure.hidden = false
    this.caption.textContent = content.title
    this.save.setAttribute('aria-label', `Download ${content.title} as CSV`)
    const empty = content.absent !== undefined
    this.save.hidden = this.details.hidden = this.legend.hidden = empty
    this.note.textContent = content.note ?? ''
    this.note.hidden = !content.note
    this.details.querySelector('.scroller')?.setAttribute('aria-label', `Table of ${content.title}`)
    this.fill(content)
    this.draw()
  }

  /** Moves the line that marks the value the map shows. */
  mark(current: number): void {
    if (!this.content) return
    this.content.current = current
    this.draw()
  }

  hide(): void {
    this.content = null
    this.figure.hidden = true
  }

  private fill({ headings, rows, series, units, title }: ChartContent): void {
    const head = [...headings, ...series.map((each) => withUnit(each.name, units))]
    this.table.replaceChildren(
      html('caption', {}, title),
      html('thead', {}, html('tr', {}, ...head.map((each) => html('th', { scope: 'col' }, each)))),
      html(
        'tbody',
        {},
        ...rows.map((names, i) =>
          html(
            'tr',
            {},
            ...names.map((name) => html('th', { scope: 'row' }, name)),
            ...series.map(({ values }) => html('td', {}, cell(values[i] ?? NaN))),
          ),
        ),
      ),
    )
    this.legend.replaceChildren(
      ...series.map((each) =>
        html(
          'li',
          {},
          svg(
            'svg',
            { width: 28, height: 10, 'aria-hidden': 'true' },
            svg('path', { d: 'M1 5H27', class: `line series-${each.style}` }),
            ...(each.sparse ? [svg('circle', { cx: 14, cy: 5, r: 3, class: `dot series-${each.style}` })] : []),
          ) as unknown as Node,
          each.name,
        ),
      ),
    )
  }

  private draw(): void {
    const content = this.content
    const width = this.plot.clientWidth
    if (!content || width < 80) return
    if (content.absent !== undefined) {
      this.plot.replaceChildren(html('p', { class: 'absent' }, content.absent))
      return
    }
    const [low, high] = limits(content)
    const [first, last] = [content.x[0] ?? 0, content.x.at(-1) ?? 1]
    const right = width - MARGIN.right
    const bottom = HEIGHT - MARGIN.bottom
    const across = (value: number): number =>
      MARGIN.left + ((value - first) / (last - first || 1)) * (right - MARGIN.left)
    const up = (value: number): number =>
      bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top)
    const parts: SVGElement[] = []
    for (const value of ticks(low, high, 4)) {
      parts.push(
        svg('path', { d: `M${MARGIN.left} ${up(value).toFixed(1)}H${right}`, class: value === 0 ? 'zero' : 'grid' }),
        svg('text', { x: MARGIN.left - 6, y: up(value) + 4, class: 'tick end' }, shown(value)),
      )
    }
    const marks =
      content.marks ??
      ticks(first, last, Math.min(7, width / 60))
        .filter((value) => Number.isInteger(value))
        .map((value) => ({ at: value, label: String(value) }))
    for (const { at, label } of marks) {
      parts.push(
        svg('path', { d: `M${across(at).toFixed(1)} ${bottom}v4`, class: 'grid' }),
        svg('text', { x: across(at), y: bottom + 16, class: 'tick middle' }, label),
      )
    }
    parts.push(
      svg('text', { x: (MARGIN.left + right) / 2, y: HEIGHT - 4, class: 'axis middle' }, content.axis),
      svg('path', { d: `M${across(content.x[content.current] ?? first).toFixed(1)} ${MARGIN.top}V${bottom}`, class: 'now' }),
    )
    content.series.forEach((series) => {
      let path = ''
      let drawing = false
      content.x.forEach((x, at) => {
        const value = series.values[at] ?? NaN
        if (Number.isFinite(value)) {
          path += `${drawing ? 'L' : 'M'}${across(x).toFixed(1)} ${up(value).toFixed(1)}`
          if (series.sparse) {
            parts.push(svg('circle', { cx: across(x).toFixed(1), cy: up(value).toFixed(1), r: 2.5, class: `dot series-${series.style}` }))
          }
          drawing = true
        } else if (!series.sparse) drawing = false
      })
      parts.push(svg('path', { d: path || 'M0 0', class: `line series-${series.style}` }))
    })
    const label = `${content.title}: ${content.series.map((each) => each.name).join(', ')}; the values are in the table below.`
    this.plot.replaceChildren(
      svg('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': label }, ...parts),
    )
  }

  private download(): void {
    if (!this.content) return
    const { title, quantity, units, headings, rows, series, fileName } = this.content
    const head = [...headings, ...series.map((each) => each.name)]
    const body = rows.map((names, i) => [...names, ...series.map(({ values }) => values[i] ?? NaN)])
    download(fileName, csv(`${title}; ${withUnit(quantity, units)}`, head, body))
  }
}

function cell(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : '–'
}

function limits({ series, atLeast }: ChartContent): [number, number] {
  let [low, high] = atLeast ?? [Infinity, -Infinity]
  for (const { values } of series) {
    for (const value of Array.from(values)) {
      if (Number.isFinite(value)) {
        low = Math.min(low, value)
        high = Math.max(high, value)
      }
    }
  }
  if (!(low <= high)) return [0, 1]
  if (low === high) return [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)]
  const pad = 0.04 * (high - low)
  return [atLeast && low === atLeast[0] ? low : low - pad, high + pad]
}
