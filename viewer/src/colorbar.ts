/** The bar that says which colour is which value, in the units shown. */

import { type ColormapName, colours, gradient } from './colormaps'
import { html, shown, ticks, unitText, withUnit } from './dom'

export interface Scale {
  title: string
  units: string
  colormap: ColormapName
  /** Limits in shown units, ascending. */
  limits: [number, number]
  /** True where the lowest shown value has the last colour. */
  reversed: boolean
}

/** Limits in shown units; a negative factor turns the bar round. */
export function scaleOf(
  clim: [number, number],
  factor: number,
): { limits: [number, number]; reversed: boolean } {
  const [low, high] = [clim[0] * factor, clim[1] * factor]
  return low <= high
    ? { limits: [low, high], reversed: false }
    : { limits: [high, low], reversed: true }
}

export function drawColorbar(into: HTMLElement, scale: Scale): void {
  const [low, high] = scale.limits
  const label = withUnit(scale.title, scale.units)
  const marks = ticks(low, high, 5).map((value) => {
    const share = (value - low) / (high - low)
    // Labels at the ends stay within the bar.
    const end = share < 0.03 ? ' first' : share > 0.97 ? ' last' : ''
    return html('span', { class: `mark${end}`, style: `left:${share * 100}%` }, shown(value))
  })
  into.setAttribute(
    'aria-label',
    `Colours: ${scale.title} from ${shown(low)} to ${shown(high)} ${unitText(scale.units)}`,
  )
  into.replaceChildren(
    html(
      'p',
      { class: 'bar-title' },
      html('span', {}, label),
      html('span', { class: 'none' }, 'no data'),
    ),
    html('div', { class: 'bar', style: `background:${gradient(scale.colormap, scale.reversed)}` }),
    html('div', { class: 'marks' }, ...marks),
  )
}

/** The same bar below a picture of the map, for a download. */
export function picture(map: HTMLCanvasElement, scale: Scale, heading: string, about: string): HTMLCanvasElement {
  const ratio = Math.max(1, map.width / Math.max(1, map.clientWidth))
  const [width, foot] = [map.width, 112 * ratio]
  const canvas = html('canvas', { width, height: map.height + foot })
  const pen = canvas.getContext('2d')
  if (!pen) return canvas
  const style = getComputedStyle(document.body)
  pen.fillStyle = style.backgroundColor
  pen.fillRect(0, 0, canvas.width, canvas.height)
  pen.drawImage(map, 0, 0)
  pen.scale(ratio, ratio)
  const [right, top] = [width / ratio - 16, map.height / ratio]
  pen.fillStyle = style.color
  pen.font = `600 15px ${style.fontFamily}`
  pen.fillText(heading, 16, top + 24, right - 16)
  pen.font = `13px ${style.fontFamily}`
  pen.fillText(about, 16, top + 44, right - 16)
  const all = colours(scale.colormap)
  const span = right - 16
  all.forEach((rgb, i) => {
    const place = scale.reversed ? all.length - 1 - i : i
    pen.fillStyle = `rgb(${rgb.join(' ')})`
    pen.fillRect(16 + (span * place) / all.length, top + 56, span / all.length + 1, 14)
  })
  pen.fillStyle = style.color
  const [low, high] = scale.limits
  for (const value of ticks(low, high, 5)) {
    const share = (value - low) / (high - low)
    pen.textAlign = share < 0.03 ? 'left' : share > 0.97 ? 'right' : 'center'
    pen.fillText(shown(value), 16 + span * share, top + 86)
  }
  pen.textAlign = 'left'
  pen.fillText(withUnit(scale.title, scale.units), 16, top + 104, right - 16)
  return canvas
}
