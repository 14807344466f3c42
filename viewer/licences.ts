/** Collects the licences of everything that is in the bundle into one file beside it. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve, sep } from 'node:path'
import type { Plugin } from 'vite'

interface Package {
  name: string
  version: string
  license?: string
  dependencies?: Record<string, string>
}

/** Packages that are delivered already bundled, with all they depend on inside. */
const BUNDLES = ['maplibre-gl']

/** Data and compiled code inside packages that have licences of their own. */
const INSIDE: Record<string, string> = {
  'world-atlas': 'world-atlas.txt',
  numcodecs: 'numcodecs.txt',
}

export function licences(file = 'LICENSES.txt'): Plugin {
  const root = resolve(import.meta.dirname, 'node_modules')
  const read = (folder: string): Package =>
    JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Package

  /** The folder of the package that a module lies in. */
  const packageOf = (module: string): string | null => {
    const path = module.replace(/^\0/, '').replace(/[?#].*$/, '')
    const at = path.lastIndexOf(`${sep}node_modules${sep}`)
    if (at < 0) return null
    const names = path.slice(at + `${sep}node_modules${sep}`.length).split(sep)
    const depth = names[0]?.startsWith('@') ? 2 : 1
    return join(path.slice(0, at), 'node_modules', ...names.slice(0, depth))
  }

  const withDependencies = (folder: string, found: Set<string>): void => {
    found.add(folder)
    for (const name of Object.keys(read(folder).dependencies ?? {})) {
      const below = [join(folder, 'node_modules', name), join(root, name)].find((each) => existsSync(each))
      if (below && !name.startsWith('@types/') && !found.has(below)) withDependencies(below, found)
    }
  }

  const textOf = (folder: string, own: Package): string => {
    const names = readdirSync(folder).filter((name) => /^(licen[cs]e|copying|notice)/i.test(name))
    const texts = names.sort().map((name) => readFileSync(join(folder, name), 'utf8').trim())
    const inside = INSIDE[own.name]
    if (inside) texts.push(readFileSync(join(import.meta.dirname, 'licences', inside), 'utf8').trim())
    if (!texts.length) {
      const kept = join(import.meta.dirname, 'licences', `${own.name.replace('/', '__')}.txt`)
      if (!existsSync(kept)) throw new Error(`${own.name} brings no licence text; put one at ${kept}`)
      texts.push(readFileSync(kept, 'utf8').trim())
    }
    return texts.join('\n\n')
  }

  return {
    name: 'licences',
    apply: 'build',
    generateBundle() {
      const folders = new Set<string>()
      for (const module of this.getModuleIds()) {
        const folder = packageOf(module)
        if (!folder || !existsSync(join(folder, 'package.json'))) continue
        if (BUNDLES.includes(read(folder).name)) withDependencies(folder, folders)
        else folders.add(folder)
      }
      const parts = [...folders]
        .map((folder) => ({ folder, own: read(folder) }))
        .sort((a, b) => (a.own.name < b.own.name ? -1 : 1))
        .map(({ folder, own }) => {
          const head = `${own.name} ${own.version} (${own.license ?? 'see below'})`
          return `${head}\n${'-'.repeat(head.length)}\n\n${textOf(folder, own).replace(/\r\n/g, '\n').replace(/[ \t]+$/gm, '')}\n`
        })
      const colours = readFileSync(join(import.meta.dirname, 'licences', 'colour-maps.txt'), 'utf8')
      parts.push(`Colour maps\n-----------\n\n${colours}`)
      const about = 'This page contains the following software and data.\n'
      this.emitFile({ type: 'asset', fileName: file, source: [about, ...parts].join('\n\n') })
    },
  }
}
