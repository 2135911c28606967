// The Brown corpus (Francis and Kučera, 1964): 500 samples of 2,000 words of American English printed in
// 1961, in 15 genres. Form C is tagged: `The/at Fulton/np-tl ...`.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const FICTION = new Set(['fiction', 'mystery', 'adventure', 'romance', 'science_fiction'])

/** Two clear kinds of the fifteen genres; the others lie between kinds, such as press and addresses. */
function kindOf(file, genre) {
  if (FICTION.has(genre)) return 'fiction'
  const number = Number(file.slice(2))
  // Of the learned texts: natural science, medicine and mathematics (J01-J21), engineering (J69-J80).
  if (genre === 'learned' && (number <= 21 || number >= 69)) return 'science'
  return undefined
}

export function brown(directory) {
  const genres = readFileSync(join(directory, 'cats.txt'), 'utf8').trim().split('\n')
  return genres
    .map((line) => line.trim().split(/\s+/))
    .filter(([file, genre]) => kindOf(file, genre))
    .map(([file, genre]) => ({
      kind: kindOf(file, genre),
      source: `brown/${file}`,
      text: untag(readFileSync(join(directory, file), 'utf8')),
    }))
}

/** Text as it was printed, as far as tagging left it: tags off, quotation marks and spacing restored. */
function untag(tagged) {
  const paragraphs = tagged.split(/\n\s*\n/).map((paragraph) => {
    let text = ''
    let glue = true // no space before the next token
    let last = ''
    for (const token of paragraph.split(/\s+/).filter(Boolean)) {
      const slash = token.lastIndexOf('/')
      const raw = slash > 0 ? token.slice(0, slash) : token
      // The tagged form doubles marks that end a sentence.
      if (/^[?!;:]$/.test(raw) && raw === last) continue
      last = raw
      const word = raw === '``' || raw === "''" ? '"' : raw
      const closes = /^[.,;:?!)\]}%]/.test(word) || raw === "''"
      text += (glue || closes ? '' : ' ') + word
      glue = /^[([{]$/.test(word) || raw === '``'
    }
    return text
  })
  return paragraphs.filter(Boolean).join('\n')
}
