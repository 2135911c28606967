/** Deciding the mix, from TypeScript and from the command line: real text, published runs and constants, bad input. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { tableFromArrays, tableFromIPC, tableToIPC } from 'apache-arrow';
import { describe, expect, test } from 'vitest';

import {
  allocateCompute,
  criticalMixtureRatio,
  criticalRatioAt,
  facilityLocation,
  farthestPoints,
  featureBased,
  fitCriticalRatioLaw,
  fitLaw,
  fitMixtureRegression,
  graphCut,
  kmeans,
  loadLaw,
  logDeterminant,
  makeLaw,
  MixtureModel,
  MixtureSampler,
  type MixtureSamplerState,
  optimizeMixture,
  policyGradientSelect,
  predictLaw,
  ratioFromMeasurements,
  readBatches,
  sampleMixtures,
  searchMixture,
  selectSubset,
  skillGraph,
  skillMixture,
  solveMixtureRatio,
  subset,
} from '../ts/index.js';
import { cli, corpora, failure, jsonl, put, scratch } from './helpers.js';

/** Runs whose loss on `val` falls with code, steeply at first. */
async function runs(
  n = 80,
): Promise<{ domains: string[]; mixtures: number[][]; targets: string[]; losses: number[][] }> {
  const { domains, mixtures } = await sampleMixtures({ prior: { code: 0.2, forum: 0.1, web: 0.7 }, n });
  const losses = mixtures.map(([code = 0, , web = 0]) => [3 - Math.sqrt(code) - 0.2 * web]);
  return { domains, mixtures, targets: ['metrics/val'], losses };
}

describe('mix search on real text', () => {
  test('the optimum beats uniform and natural on every target, and the best of 128 sampled mixtures', async () => {
    const dir = scratch();
    const kinds = ['addresses', 'fiction', 'science'];
    const source = (kind: string): string => join(corpora, `target/${kind}.jsonl.gz`);
    const phases = new Set<string>();
    const options = {
      pool: join(corpora, 'pool'),
      domain: 'label',
      targets: Object.fromEntries(kinds.map((kind) => [kind, source(kind)])),
      output: join(dir, 'mix.json'),
      plot: join(dir, 'mix.svg'),
      onProgress: (p: { phase: string; unit: string }): void => void phases.add(`${p.phase} ${p.unit}`),
    };
    const found = await searchMixture(options);
    expect(found.runs).toBe(128);
    expect(found.domains.length).toBeGreaterThanOrEqual(6);
    expect(found.objectives.map((o) => o.name)).toEqual([...kinds, 'mean']);
    const single = found.objectives.slice(0, 3);
    for (const { belowUniform, belowNatural, check } of single) {
      expect({ belowUniform, belowNatural }).toEqual({ belowUniform: true, belowNatural: true });
      expect(check.map((c) => c.losses.length)).toEqual([3, 3, 3, 3]);
    }
    expect(single.filter((o) => o.atMostSampled).length).toBeGreaterThanOrEqual(2);
    for (const t of found.targets) {
      const chosen = t.predictors.find((p) => p.predictor === t.predictor)?.heldOut;
      expect(chosen?.spearman).toBeGreaterThan(0.95);
    }
    expect([...phases]).toEqual(expect.arrayContaining(['runs runs', 'check runs']));
    expect(readFileSync(options.plot, 'utf8')).toMatch(/^<svg.*science: optimum/s);

    // What it left is what the other commands take.
    const model = await MixtureModel.load(join(found.work, 'models/science.json'));
    expect(model.domains).toEqual(found.domains.map((d) => d.name));
    const args = ['mix', 'optimize', '--model', join(found.work, 'models/science.json')];
    const optimized = await cli([...args, '--prior', options.output, '--max', 'science=0.1', '--json']);
    expect(optimized.code).toBe(0);
    const { domains } = JSON.parse(optimized.stdout) as {
      domains: { domain: string; weight: { value: number } }[];
    };
    expect(domains.find((d) => d.domain === 'science')?.weight.value).toBeLessThanOrEqual(0.1);

    const again = await searchMixture(options);
    expect(again.resumed).toBe(128);
    expect(again.objectives).toEqual(found.objectives);
  }, 900_000);

  test('the command line prints the losses side by side', async () => {
    const dir = scratch();
    const args = ['mix', 'search', '--pool', join(corpora, 'pool'), '--domain', 'label'];
    const target = `letters=${join(corpora, 'target/mail.jsonl.gz')}`;
    const few = ['--runs', '16', '--draws', '2000', '--bags', '2', '--tokens', '50000', '--proxy', 'ngram:2'];
    const result = await cli([...args, '--target', target, ...few, '-o', join(dir, 'mix.json')]);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.stdout).toContain('16 runs of ngram:2, 50,000 tokens each');
    expect(result.stdout).toMatch(/For letters\n/);
    for (const name of ['optimum', 'best sampled mixture', 'natural mixture', 'uniform']) {
      expect(result.stdout).toMatch(new RegExp(`${name} +\\d\\.\\d{4} +\\d\\.\\d{4}( +\\d\\.\\d{4}){3}\n`));
    }
    expect(existsSync(join(dir, 'mix.runs/losses.csv'))).toBe(true);
  });

  test('a signal stops it, and what cannot be searched is refused', async () => {
    const dir = scratch();
    const base = { pool: join(corpora, 'pool'), domain: 'label', output: join(dir, 'mix.json') };
    const targets = { mail: join(corpora, 'target/mail.jsonl.gz') };
    const stop = new AbortController();
    const stopped = searchMixture({
      ...base,
      targets,
      signal: stop.signal,
      onProgress: ({ phase, done }) => {
        if (phase === 'runs' && done > 0) stop.abort('enough');
      },
    });
    await expect(stopped).rejects.toBe('enough');
    const one = put(join(dir, 'one.jsonl'), jsonl([{ text: 'one single document of a target' }]));
    const output = join(dir, 'other.json');
    const small = await failure(searchMixture({ ...base, output, targets: { one } }));
    expect(small).toMatchObject({ code: 'TARGET_TOO_SMALL', details: { column: 'one' } });
    const genre = await failure(searchMixture({ ...base, output, targets, domain: 'genre' }));
    expect(genre).toMatchObject({ code: 'MISSING_COLUMN' });
    const large = await failure(searchMixture({ ...base, output, targets, tokens: 1e9 }));
    expect(large).toMatchObject({ code: 'INVALID_ARGUMENT', details: { column: 'tokens' } });
    expect(large.message).toContain('infeasible');
  });
});

describe('runs that one has', () => {
  test('sampled, fitted, optimised and saved', async () => {
    const dir = scratch();
    const table = await runs();
    const model = await fitMixtureRegression({
      runs: table,
      target: 'val',
      regressor: 'concave',
      bags: 4,
      plot: join(dir, 'fit.svg'),
    });
    expect(model.summary.report.heldOut?.spearman).toBeGreaterThan(0.98);
    expect(readFileSync(join(dir, 'fit.svg'), 'utf8')).toContain('held-out runs');
    const optimum = await optimizeMixture({
      models: model,
      prior: { code: 0.2, forum: 0.1, web: 0.7 },
      draws: 20_000,
      plot: join(dir, 'optimum.svg'),
    });
    expect(optimum.domains[0]).toMatchObject({ domain: 'code' });
    expect(optimum.domains[0]?.weight.value).toBeGreaterThan(0.8);
    expect(optimum.gain.low).toBeGreaterThan(0);
    const { weight } = optimum.domains[0] ?? { weight: { low: 0, high: 0, value: 0 } };
    expect(weight.low).toBeLessThanOrEqual(weight.high);

    model.save(join(dir, 'model.json'));
    const again = await MixtureModel.load(join(dir, 'model.json'));
    expect(await again.predict([[0.5, 0.1, 0.4]])).toEqual(await model.predict([[0.5, 0.1, 0.4]]));
  });

  test('the same on the command line', async () => {
    const dir = scratch();
    const prior = put(join(dir, 'prior.json'), '{"code": 2e9, "forum": 1e9, "web": 7e9}');
    const sampled = await cli(['mix', 'sample', '--prior', prior, '--n', '60']);
    expect(sampled.code).toBe(0);
    const [header, ...rows] = sampled.stdout.trimEnd().split('\n');
    expect(header).toBe('index,code,forum,web');
    expect(rows).toHaveLength(60);
    const mixtures = put(join(dir, 'm.csv'), sampled.stdout);
    const losses = rows.map((row) => {
      const [index, code = 0] = row.split(',').map(Number);
      return `${index},${3 - code}`;
    });
    put(join(dir, 'l.csv'), `index,loss\n${losses.reverse().join('\n')}\n`);
    const model = join(dir, 'model.json');
    const args = ['--mixtures', mixtures, '--losses', join(dir, 'l.csv'), '--target', 'loss', '-o', model];
    const fitted = await cli(['mix', 'fit', ...args, '--regressor', 'linear', '--bags', '2']);
    expect(fitted).toMatchObject({ code: 0, stderr: '' });
    expect(fitted.stdout).toMatch(/held-out runs +(0\.99\d|1\.000) +1\.000/);
    put(prior, '{"code": 0.2, "forum": 0.1, "web": 0.7}');
    const optimized = await cli(['mix', 'optimize', '--model', model, '--prior', prior, '--max', 'code=0.6']);
    expect(optimized).toMatchObject({ code: 0, stderr: '' });
    expect(optimized.stdout).toMatch(/code +20\.0% +(59|60)\.\d%/);
    const infeasible = await cli([
      ...['mix', 'optimize', '--model', model, '--prior', prior],
      ...['--max', 'code=0.1', 'forum=0.1', 'web=0.1'],
    ]);
    expect(infeasible.code).toBe(2);
    expect(infeasible.stderr).toContain('infeasible');
  });

  test('what is wrong with them is said by run and domain', async () => {
    const good = await runs(20);
    const fit = (change: Partial<typeof good>): Promise<MixtureModel> =>
      fitMixtureRegression({ runs: { ...good, ...change }, target: 'val' });
    const replace = <T>(list: T[], at: number, value: T): T[] => list.map((x, i) => (i === at ? value : x));
    const sum = await failure(fit({ mixtures: replace(good.mixtures, 3, [0.5, 0.5, 0.5]) }));
    expect(sum).toMatchObject({ code: 'INVALID_VALUE', details: { row: 3 } });
    expect(sum.message).toContain('sum to 1.5');
    const negative = await failure(fit({ mixtures: replace(good.mixtures, 3, [1.5, -0.5, 0]) }));
    expect(negative).toMatchObject({ code: 'INVALID_VALUE', details: { row: 3, column: 'forum' } });
    for (const loss of [NaN, -1, Infinity]) {
      const error = await failure(fit({ losses: replace(good.losses, 5, [loss]) }));
      expect(error).toMatchObject({
        code: 'INVALID_VALUE',
        details: { row: 5, column: 'metrics/val' },
      });
    }
    const few = await failure(fit({ mixtures: good.mixtures.slice(0, 2), losses: good.losses.slice(0, 2) }));
    expect(few).toMatchObject({ code: 'EMPTY_INPUT' });
    const constant = good.mixtures.map(([code = 0, forum = 0, web = 0]) => [
      ((code + forum + web) * 3) / 10,
      (code + forum + web) * 0.7 * (code / (code + web + 1e-9)),
      (code + forum + web) * 0.7 * (1 - code / (code + web + 1e-9)),
    ]);
    const fixed = constant.map((row) => [0.3, (row[1] ?? 0) / 1, 0.7 - (row[1] ?? 0)]);
    const same = await failure(fit({ mixtures: fixed }));
    expect(same).toMatchObject({ code: 'INVALID_VALUE', details: { column: 'code' } });
    const twice = await failure(fit({ domains: ['code', 'code', 'web'] }));
    expect(twice).toMatchObject({ code: 'INVALID_ARGUMENT' });
    const model = await fitMixtureRegression({ runs: good, target: 'val', bags: 0, folds: 0 });
    const unknown = await failure(optimizeMixture({ models: model, prior: { web: 0.5, books: 0.5 } }));
    expect(unknown).toMatchObject({ code: 'INVALID_ARGUMENT', details: { column: 'prior' } });
    const prior = { code: 1, forum: 1, web: 1 };
    expect(await failure(optimizeMixture({ models: model, prior }))).toMatchObject({ code: 'INVALID_VALUE' });
    const bounds = { code: 0.2, forum: 0.2, web: 0.2 };
    const shares = { code: 0.2, forum: 0.1, web: 0.7 };
    const bound = await failure(optimizeMixture({ models: model, prior: shares, maxWeights: bounds }));
    expect(bound).toMatchObject({ code: 'INVALID_ARGUMENT', details: { column: 'maxWeights' } });
    expect(bound.message).toContain('infeasible');
  });
});

describe('skills', () => {
  const chain = skillGraph({
    skills: 3,
    edges: [
      [0, 1],
      [1, 2],
    ],
  });

  test('graphs are given or learnt', () => {
    expect(chain.weights).toEqual([
      [1, 0.5, 0],
      [0, 1, 0.5],
      [0, 0, 1],
    ]);
    const learnt = skillGraph({
      before: [2, 4],
      after: [
        [1, 3],
        [2.5, 2],
      ],
    });
    expect(learnt.weights).toEqual([
      [0.5, 0.25],
      [0, 0.5],
    ]);
    const pairs = skillGraph({
      alone: [1, 1],
      together: [
        [9, 0.8],
        [1.1, 9],
      ],
    });
    expect(pairs.weights).toEqual([
      [1, 0.5],
      [0, 1],
    ]);
  });

  test('the mixture follows the exact rule', () => {
    const losses = [[0.1, 2, 2]];
    const exponents = [0.1 + 1, 2 + 1, 2].map((pull) => Math.exp(0.5 * pull));
    const sum = exponents.reduce((a, b) => a + b);
    const p = skillMixture({ graph: chain, losses });
    p.forEach((weight, i) => expect(weight).toBeCloseTo((exponents[i] ?? 0) / sum, 12));
    expect(skillMixture({ graph: chain, losses, eta: 0, prior: [1, 1, 2] })).toEqual([0.25, 0.25, 0.5]);
  });

  test('a sampler that is saved and restored goes on with the same batches', () => {
    const options = { graph: chain, updateEvery: 4, seed: 7 };
    const whole = new MixtureSampler(options);
    let half = new MixtureSampler(options);
    for (let step = 0; step < 20; step++) {
      if (step === 9) half = MixtureSampler.fromJSON(JSON.parse(JSON.stringify(half)) as MixtureSamplerState);
      expect(half.nextBatch(16)).toEqual(whole.nextBatch(16));
      for (const sampler of [half, whole]) sampler.tell([0.1 * step, 1, 2]);
    }
    expect(whole.counts).toEqual({ batches: 20, evaluations: 20, updates: 4 });
    expect(half.weights).toEqual(whole.weights);
    const fixed = new MixtureSampler({ weights: [3, 1] });
    const batch = fixed.nextBatch(400);
    expect(batch.filter((d) => d === 0)).toHaveLength(300);
  });

  test('bad losses and states are refused', async () => {
    const sampler = new MixtureSampler({ graph: chain });
    expect(await failure(() => sampler.tell([1, 2]))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    for (const loss of [NaN, -1, Infinity]) {
      expect(await failure(() => sampler.tell([1, loss, 1]))).toMatchObject({ code: 'INVALID_VALUE' });
    }
    expect(await failure(() => sampler.nextBatch(-1))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    const state = { ...sampler.toJSON(), format: 'x/9' };
    expect((await failure(() => MixtureSampler.fromJSON(state))).message).toContain('not a mixture sampler');
    const outside = await failure(() => skillGraph({ skills: 2, edges: [[0, 5]] }));
    expect(outside).toMatchObject({ code: 'INVALID_ARGUMENT', details: { column: 'edges' } });
  });
});

describe('laws', () => {
  const truth = makeLaw({ form: 'dcpt', parameters: [1.2, 0.6, 0.6, 0.9, 0.6, 0.5, 0.3, 0.1, 1] });
  const design = [0.5, 1.8, 4].flatMap((N) =>
    [0, 0.2, 0.5, 0.8, 1].flatMap((r) => [1, 2, 4, 8, 16].map((D): [number, number, number] => [N, D, r])),
  );
  const losses = design.map(([N, D, r]) => predictLaw(truth, { N, D, r }).loss);

  test('are fitted, drawn, saved, and say what is extrapolated', async () => {
    const dir = scratch();
    const fit = await fitLaw({
      form: 'dcpt',
      points: design,
      losses,
      output: join(dir, 'law.json'),
      plot: join(dir, 'law.svg'),
    });
    for (const { value, low, high } of fit.starts.spread) {
      expect(low).toBeLessThanOrEqual(value);
      expect(value).toBeLessThanOrEqual(high);
    }
    truth.parameters.forEach((p, i) => expect((fit.law.parameters[i] ?? 0) / p).toBeCloseTo(1, 1));
    expect(fit.residuals).toHaveLength(75);
    expect(fit.heldOut?.r2).toBeGreaterThan(0.999);
    expect(fit.extrapolation.map((e) => e.variable).sort()).toEqual(['D', 'N']);
    expect(predictLaw(fit.law, { N: 7, D: 4, r: 0.5 }).extrapolated).toEqual(['N']);
    expect(loadLaw(join(dir, 'law.json'))).toEqual(fit.law);
    const drawing = readFileSync(join(dir, 'law.svg'), 'utf8');
    expect(drawing).toContain('residuals');
    expect(drawing.match(/<circle/g)?.length).toBeGreaterThan(75);
  });

  test('are solved for a ratio, or explicitly infeasible', () => {
    const law = makeLaw({ form: 'ratio', parameters: [2.5, 0.1, 0.1, 1] });
    const solved = solveMixtureRatio({ law, maxGeneralLoss: 2.75 });
    expect(solved.status === 'feasible' && solved.domainRatio).toBeCloseTo(0.7, 9);
    expect(solveMixtureRatio({ law, maxGeneralLoss: 2.5 })).toMatchObject({
      status: 'infeasible',
      atRatio: 0,
    });
    const chemistry: [number, number][] = [
      [0.9, 2.9052],
      [0.91, 2.9193],
      [0.92, 2.9376],
      [0.924, 2.9445],
      [0.93, 2.9644],
      [1, 3.4667],
    ];
    const published = ratioFromMeasurements({ points: chemistry, limit: 1.03 * 2.8602 });
    expect(published.status === 'feasible' && published.domainRatio.toFixed(3)).toBe('0.924');
    const chinchilla = makeLaw({ form: 'chinchilla', parameters: [1.69, 406.4, 0.34, 410.7, 0.28] });
    const spend = allocateCompute({ law: chinchilla, compute: 5.76e23 / 6, sizes: [1e8, 1e12] });
    expect(spend.parameters * spend.tokens).toBeCloseTo(5.76e23 / 6, -18);
    expect(spend.atBound).toBe(false);
  });

  test('published constants of the critical ratio', () => {
    const published = [
      [0.22524761, 0.26944345, -0.48139982, 0.298],
      [0.7520627, 0.13720245, -1.06581937, 0.349],
      [-2.36384831, -0.15125569, 1.59223649, 0.414],
      [-2.5368197, -0.42071423, 0.84375368, 0.478],
    ] as const;
    for (const [alpha, s, beta, ratio] of published) {
      const law = { alpha, s, beta };
      const at = criticalRatioAt({ law, tokens: 100 });
      expect(at.status === 'feasible' && at.ratio.toFixed(3)).toBe(ratio.toFixed(3));
      expect(criticalRatioAt({ law, tokens: 10 }).status).toBe('infeasible');
    }
    const tokens = [1, 2, 4, 8, 16];
    const { rmse, degenerate } = fitCriticalRatioLaw({
      tokens,
      ratios: tokens.map((t) => 0.1 * t ** 0.4 + 0.05),
    });
    expect(rmse).toBeLessThan(1e-6);
    expect(degenerate).toBe(false);
  });

  test('curves give a critical ratio', async () => {
    const tokens = [1, 2, 3, 4, 6, 8, 10];
    const curve = (
      ratio: number,
    ): { ratio: number; tokens: number[]; general: number[]; domain: number[] } => ({
      ratio,
      tokens,
      general: tokens.map((t) => 0.2 * ratio * t ** 0.5 - 0.02 * t),
      domain: tokens.map((t) => -ratio * t ** 0.3),
    });
    const curves = [0.25, 0.5, 0.75].map(curve);
    const found = criticalMixtureRatio({ curves, tokens: 10 });
    // 0.2 R √10 - 0.2 = 0.05 at R = 0.395.
    expect(found.status === 'feasible' && found.ratio).toBeCloseTo(0.395, 2);
    expect(criticalMixtureRatio({ curves, tokens: 10, tolerance: -0.3 })).toMatchObject({
      status: 'infeasible',
      reason: { why: 'generalRises', atRatio: 0.25 },
    });
    const rows = curves.flatMap((c) =>
      c.tokens.map((t, i) => [c.ratio, t, c.general[i], c.domain[i]].join(',')),
    );
    const file = put(join(scratch(), 'curves.csv'), `ratio,tokens,general,domain\n${rows.join('\n')}\n`);
    const said = await cli(['law', 'critical', file, '--tokens', '10']);
    expect(said.stdout).toContain('Critical mixture ratio 39.');
  });

  test('the command line fits and solves', async () => {
    const dir = scratch();
    // The law of the general loss, whose share is one minus the domain's.
    const rows = design.map((row, i) => [...row, losses[i]].join(','));
    const csv = put(join(dir, 'runs.csv'), `n,d,R,general_loss\n${rows.join('\n')}\n`);
    const law = join(dir, 'law.json');
    const args = ['law', 'fit', csv, '--kind', 'dcpt', '--loss', 'general_loss', '-o', law];
    const fitted = await cli([...args, '--plot', join(dir, 'law.svg'), '--starts', '20']);
    expect(fitted).toMatchObject({ code: 0, stderr: '' });
    expect(fitted.stdout).toMatch(/held-out points/);
    const at = ['--at', 'N=1.8', 'D=8'];
    const solved = await cli(['law', 'ratio', '--law', law, '--max-general-loss', '+3%', ...at]);
    expect(solved.stdout).toMatch(/^Domain share 0\.\d{4}, loss/);
    const none = await cli(['law', 'ratio', '--law', law, '--max-general-loss', '1.0', ...at, '--json']);
    expect(none.code).toBe(0);
    expect(JSON.parse(none.stdout)).toMatchObject({ schema: 1, status: 'infeasible' });
    const wrong = await cli(['law', 'ratio', '--law', law, '--max-general-loss', 'low', ...at]);
    expect(wrong.code).toBe(2);
    const variable = await cli(['law', 'ratio', '--law', law, '--max-general-loss', '3', '--at', 'Q=1']);
    expect(variable.stderr).toContain('its variables: N, D, r');
  });

  test('bad points are named', async () => {
    const error = await failure(
      fitLaw({ form: 'power', points: [[1], [2], [-3], [4]], losses: [3, 2, 2, 1] }),
    );
    expect(error).toMatchObject({ code: 'INVALID_VALUE', details: { row: 2, column: 'x' } });
    const missing = await failure(
      fitLaw({ form: 'power', points: [[1], [2], [3], [4]], losses: [3, NaN, 2, 1] }),
    );
    expect(missing).toMatchObject({ code: 'INVALID_VALUE', details: { row: 1 } });
    const file = put(join(scratch(), 'r.csv'), 'x,los\n1,2\n');
    expect(await failure(fitLaw({ form: 'power', file }))).toMatchObject({ code: 'MISSING_COLUMN' });
    expect(await failure(() => predictLaw(truth, { N: 1 }))).toMatchObject({ details: { column: 'D' } });
  });
});

describe('subsets', () => {
  const embeddings = [
    [1, 0],
    [1, 0.1],
    [1, 0.2],
    [0, 1],
    [0.1, 1],
  ];

  test('of numbers in memory', async () => {
    const chosen = await facilityLocation({ embeddings, budget: 2 });
    expect(chosen.indices).toEqual([2, 3]);
    const flat = Float32Array.from(embeddings.flat());
    expect(await selectSubset({ embeddings: flat, dimension: 2, budget: 2 })).toEqual(chosen);
    expect((await selectSubset({ embeddings, budget: 2, optimizer: 'naive' })).indices).toEqual(
      chosen.indices,
    );
    expect((await facilityLocation({ embeddings, budget: 2, device: 'cpu' })).indices).toEqual(
      chosen.indices,
    );
    const nowhere = await failure(facilityLocation({ embeddings, budget: 2, device: 'cuda:99' }));
    expect(nowhere).toMatchObject({ code: 'DEVICE_UNAVAILABLE' });
    expect((await farthestPoints({ embeddings, budget: 2 })).gains).toEqual([null, 2]);
    for (const method of [graphCut, featureBased]) {
      expect(new Set((await method({ embeddings, budget: 3 })).indices).size).toBe(3);
    }
    expect((await logDeterminant({ embeddings, budget: 2, ridge: 0.01 })).indices).toHaveLength(2);
    const clusters = await kmeans({ embeddings, k: 2 });
    expect(clusters.labels[0]).toBe(clusters.labels[2]);
    expect(clusters.labels[0]).not.toBe(clusters.labels[3]);
    const masks = await policyGradientSelect({ embeddings, budget: 2, quality: [0, 9, 0, 0, 9], steps: 20 });
    expect(masks.indices).toEqual([1, 4]);
    expect(masks.comparison.greedy.seconds).toBeGreaterThan(0);
  });

  test('of a file, on the command line', async () => {
    const dir = scratch();
    const rows = embeddings.map((embedding, i) => ({ id: `e${i}`, embedding }));
    const path = put(join(dir, 'e.jsonl'), jsonl(rows));
    const out = join(dir, 'subset.parquet');
    const result = await cli(['subset', '--embeddings', path, '--budget', '2', '--device', 'cpu', '-o', out]);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.stdout).toContain('2 of 5 rows of 2 numbers by facility-location');
    const ids: string[] = [];
    for await (const batch of readBatches(out)) {
      for (const id of (await batch.toTable()).getChild('id') ?? []) ids.push(String(id));
    }
    expect(ids).toEqual(['e2', 'e3']);
    const summary = await subset({
      embeddings: path,
      budget: 2,
      output: join(dir, 's.jsonl'),
      method: 'k-means',
    });
    expect(summary).toMatchObject({ schema: 1, method: 'k-means', chosen: 2, rows: 5 });
    // Arrow files serve as well.
    const table = tableFromArrays({ key: ['a', 'b'], score: Float32Array.of(1, 2) });
    const arrow = put(join(dir, 'n.arrow'), tableToIPC(tableFromIPC(tableToIPC(table)), 'file'));
    const none = await failure(subset({ embeddings: arrow, budget: 1, output: out }));
    expect(none).toMatchObject({ code: 'MISSING_COLUMN' });
  });

  test('bad rows are named', async () => {
    const dir = scratch();
    const nan = await failure(facilityLocation({ embeddings: [[1, 0], [NaN, 1]], budget: 1 })); // prettier-ignore
    expect(nan).toMatchObject({ code: 'INVALID_VALUE', details: { row: 1 } });
    const uneven = await failure(facilityLocation({ embeddings: [[1, 0], [1]], budget: 1 }));
    expect(uneven).toMatchObject({ code: 'INVALID_VALUE', details: { row: 1 } });
    expect(await failure(facilityLocation({ embeddings, budget: 9 }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: { column: 'budget' },
    });
    const twice = put(
      join(dir, 't.jsonl'),
      jsonl([
        { id: 'a', embedding: [1, 0] },
        { id: 'a', embedding: [0, 1] },
      ]),
    );
    const output = join(dir, 'out.jsonl');
    expect(await failure(subset({ embeddings: twice, budget: 1, output }))).toMatchObject({
      code: 'DUPLICATE_ID',
      details: { row: 1 },
    });
    const hole = put(
      join(dir, 'h.jsonl'),
      jsonl([
        { id: 'a', embedding: [1, 0] },
        { id: 'b', embedding: [0, null] },
      ]),
    );
    expect(await failure(subset({ embeddings: hole, budget: 1, output }))).toMatchObject({
      code: 'INVALID_VALUE',
      details: { row: 1, column: 'embedding' },
    });
    const misspelt = await failure(facilityLocation({ embeddings, budget: 1, kernal: 'rbf' } as never));
    expect(misspelt.message).toContain('kernal');
  });
});
