// API documentation: the comments of Node.js' type declarations (`@types/node`).

import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** One source a module. Prose only: code examples and tags are left out. */
export function manuals(directory) {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.d.ts'))
    .sort()
    .map((file) => ({
      kind: 'manuals',
      source: `node/${file.slice(0, -5)}`,
      text: comments(readFileSync(join(directory, file), 'utf8')),
    }))
}

function comments(declarations) {
  const seen = new Set()
  const paragraphs = []
  for (const [, comment] of declarations.matchAll(/\/\*\*([\s\S]*?)\*\//g)) {
    const text = comment
      .replace(/^[ \t]*\* ?/gm, '')
      .replace(/```[\s\S]*?(```|$)/g, '')
      .replace(/^\s*@since .*$/gm, '')
      .replace(/^\s*@(see|deprecated|experimental|throws|default|return|returns)\b/gm, '')
      .replace(/^\s*@(param|template)\s+\S+/gm, '')
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replace(/\{@link ([^}\s]+)[^}]*\}/g, '$1')
      .replace(/[`*]/g, '')
      .trim()
    // Overloads repeat their comment.
    if (!seen.has(text)) paragraphs.push(text)
    seen.add(text)
  }
  return paragraphs.filter(Boolean).join('\n')
}
