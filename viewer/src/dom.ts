/** Small helpers around elements and numbers. */

export function byId<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id)
  if (!found) throw new Error(`the page has no #${id}`)
  return found as T
}

type Attributes = Record<string, string | number>

export function html<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value))
  made.append(...children)
  return made
}

export function svg(name: string, attributes: Attributes = {}, ...children: (Node | string)[]): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value))
  made.append(...children)
  return made
}

/** A number for people: a few digits, powers of ten where they help, a real minus sign. */
export function shown(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return 'no data'
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split('e') as [string, string]
    return `${minus(String(Number(mantissa)))}×10${superscript(Number(exponent))}`
  }
  return minus(String(Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size + 1)))))))
}

function minus(text: string): string {
  return text.replace('-', '−')
}

function superscript(exponent: number): string {
  return [...String(exponent)].map((each) => (each === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(each)])).join('')
}

/** Round values that divide a range into about `count` parts. */
export function ticks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / Math.max(1, count)
  if (!(raw > 0)) return [low]
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = ([1, 2, 5, 10].find((each) => each * power >= raw) ?? 10) * power
  const found: number[] = []
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    found.push(Number((i * step).toPrecision(12)))
  }
  return found
}

/** Units with raised exponents: `mol/m^2/yr` as `mol/m²/yr`. */
export function unitText(units: string): string {
  return units === '1' ? '' : units.replace(/\^(-?\d)/g, (_, digits: string) => superscript(Number(digits)))
}

export function withUnit(text: string, units: string): string {
  const unit = unitText(units)
  return unit ? `${text} (${unit})` : text
}

/** `12.3° N, 45.6° W`. */
export function placeText([lon, lat]: [number, number]): string {
  const east = ((((lon + 180) % 360) + 360) % 360) - 180
  return `${Math.abs(lat).toFixed(1)}° ${lat < 0 ? 'S' : 'N'}, ${Math.abs(east).toFixed(1)}° ${east < 0 ? 'W' : 'E'}`
}

/** Hands a file to the browser's downloads. */
export function download(name: string, content: Blob): void {
  const url = URL.createObjectURL(content)
  const link = html('a', { href: url, download: name })
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

/** Rows as CSV, with a first line of what they are. */
export function csv(about: string, header: string[], rows: (string | number)[][]): Blob {
  const cell = (value: string | number): string => {
    const text = typeof value === 'number' ? (Number.isFinite(value) ? String(value) : '') : value
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  const lines = [header, ...rows].map((row) => row.map(cell).join(','))
  return new Blob([`# ${about}\n${lines.join('\n')}\n`], { type: 'text/csv' })
}
