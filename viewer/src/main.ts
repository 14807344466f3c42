/** Starts the page on the index or store that the address names. */

import './style.css'
import { openBare, openIndexed, readIndex } from './catalogue'
import { NO_CURVES, openCurves } from './curves'
import { byId } from './dom'
import { Page } from './page'
import { PageError, said } from './store'

async function start(): Promise<void> {
  const asked = new URLSearchParams(location.search).get('index') ?? 'index.json'
  try {
    const url = new URL(asked, document.baseURI).href
    const index = url.endsWith('.json') ? await readIndex(url) : null
    const [catalogue, curves] = await Promise.all([
      index ? openIndexed(index, url) : openBare(url),
      index ? openCurves(index, url) : NO_CURVES,
    ])
    await new Page(catalogue, curves).start()
  } catch (error) {
    fail(error)
  }
}

/** Says why nothing is shown, in place of the page. */
function fail(error: unknown): void {
  const notice = byId('notice')
  notice.className = 'fatal'
  notice.textContent = said(error)
  notice.hidden = false
  byId('progress').hidden = true
  document.body.classList.add('empty')
  document.body.dataset.state = 'failed'
  if (!(error instanceof PageError)) throw error
}

byId('progress').hidden = false
void start()
