// Program text: the TypeScript sources of `apache-arrow`.

import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** One source a file, without its licence header. */
export function code(directory) {
  return files(join(directory, 'src')).map((file) => ({
    kind: 'code',
    source: `arrow/${file.slice(0, -3)}`,
    text: readFileSync(join(directory, 'src', file), 'utf8').replace(/^(\/\/[^\n]*\n|\s*\n)+/, ''),
  }))
}

function files(directory, under = '') {
  return readdirSync(join(directory, under), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const name = under ? `${under}/${entry.name}` : entry.name
      return entry.isDirectory() ? files(directory, name) : name.endsWith('.ts') ? [name] : []
    })
}
