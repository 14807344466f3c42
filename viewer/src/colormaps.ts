/** Perceptual colour maps by Matplotlib's names, and the colours of values. */

import { PageError } from './store'

type Rgb = [number, number, number]

/** Evenly spaced colours; between them a straight line in RGB is within 2/255 of the original. */
const STOPS = {
  viridis:
    '440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725',
  plasma:
    '0d0887 310597 4c02a1 6600a7 7e03a8 9511a1 aa2395 bc3587 cc4778 da5a6a e66c5c f0804e f89540 fdac33 fdc527 f8df25 f0f921',
  magma:
    '000004 0a0822 1d1147 36106b 51127c 6a1c81 832681 9c2e7f b73779 d0416f e75263 f56b5c fc8961 fea772 fec488 fde2a3 fcfdbf',
  inferno:
    '000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4',
  cividis:
    '00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838',
  RdBu: '67001f b1182b d6604d f3a481 fddbc7 f6f7f7 d1e5f0 90c4dd 4393c3 2065ab 053061',
  PuOr: '7f3b08 b25706 e08214 fcb761 fee0b6 f6f6f7 d8daeb b1aad1 8073ac 532687 2d004b',
  BrBG: '543005 8b500a bf812d dec17b f6e8c3 f4f5f5 c7eae5 7fccc0 35978f 01655d 003c30',
  PRGn: '40004b 752982 9970ab c1a4ce e7d4e8 f6f7f6 d9f0d3 a5da9f 5aae61 1a7736 00441b',
}

type Base = keyof typeof STOPS
export type ColormapName = Base | `${Base}_r`

const SEQUENTIAL: Base[] = ['viridis', 'plasma', 'magma', 'inferno', 'cividis']

/** Colours that a map has; as many as the texture that colours pixels. */
export const COLOURS = 256

function base(name: string): Base {
  const plain = name?.replace(/_r$/, '')
  if (!(plain in STOPS)) {
    throw new PageError(`There is no colour map ${JSON.stringify(name)}; there are ${Object.keys(STOPS).join(', ')}, and each with _r.`)
  }
  return plain as Base
}

/** Whether the middle of a colour map means zero. */
export function isDiverging(name: string): boolean {
  return !SEQUENTIAL.includes(base(name))
}

const made = new Map<string, Rgb[]>()

/** The colours of a map, from low to high. */
export function colours(name: ColormapName): Rgb[] {
  let found = made.get(name)
  if (!found) {
    const stops = STOPS[base(name)].split(' ').map(parse)
    if (name.endsWith('_r')) stops.reverse()
    found = Array.from({ length: COLOURS }, (_, i) => along(stops, i / (COLOURS - 1)))
    made.set(name, found)
  }
  return found
}

function parse(hex: string): Rgb {
  const number = parseInt(hex, 16)
  return [number >> 16, (number >> 8) & 255, number & 255]
}

function along(stops: Rgb[], share: number): Rgb {
  const at = share * (stops.length - 1)
  const low = Math.min(Math.floor(at), stops.length - 2)
  const [from, to] = [stops[low] as Rgb, stops[low + 1] as Rgb]
  return from.map((value, i) => Math.round(value + (at - low) * ((to[i] as number) - value))) as Rgb
}

/** CSS gradient from left to right. */
export function gradient(name: ColormapName, reversed: boolean): string {
  const picked = colours(name).filter((_, i) => i % 15 === 0)
  if (reversed) picked.reverse()
  return `linear-gradient(to right, ${picked.map((rgb) => `rgb(${rgb.join(' ')})`).join(', ')})`
}

/** Stops of a MapLibre `interpolate` expression between two values. */
export function expressionStops(name: ColormapName, low: number, high: number): (number | string)[] {
  const all = colours(name)
  return Array.from({ length: 18 }, (_, i) => {
    const rgb = all[i * 15] as Rgb
    return [low + ((high - low) * i) / 17, `rgb(${rgb.join(',')})`]
  }).flat()
}
