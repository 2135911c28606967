/** Privacy accounting and sampling, from TypeScript and from the command line. */

import { describe, expect, test } from 'vitest';

import {
  calibrateNoise,
  GristmillError,
  PoissonSampler,
  type PoissonSamplerState,
  PrivacyAccountant,
  type PrivacyAccountantState,
  type PrivacyMethod,
} from '../ts/index.js';
import { cli } from './helpers.js';

function failure(work: () => unknown): GristmillError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(GristmillError);
    return error as GristmillError;
  }
  throw new Error('it succeeded');
}

const run = { noiseMultiplier: 1.5, sampleRate: 0.04, steps: 2249 };

describe('PrivacyAccountant', () => {
  test('published epsilons of Opacus, and which of them are bounds', () => {
    const accountant = new PrivacyAccountant();
    accountant.record(run);
    const at = (method: PrivacyMethod): ReturnType<typeof accountant.epsilon> =>
      accountant.epsilon({ delta: 1e-5, method });
    // Theirs is an upper bound, 0.01 above the truth.
    expect(at('pld').epsilon).toBeGreaterThan(6.777395712 - 0.0111);
    expect(at('pld').epsilon).toBeLessThan(6.777395712);
    expect(accountant.epsilon({ delta: 1e-5 })).toEqual(at('pld'));
    accountant.record({ ...run, steps: 1 });
    expect(at('rdp').epsilon).toBeCloseTo(7.32911117143, 6);
    expect(at('rdp').order).toBeGreaterThan(1);
    expect(at('gdp')).toMatchObject({ guaranteed: false, method: 'gdp' });
    expect(at('gdp').epsilon).toBeLessThan(at('pld').epsilon);
    expect(at('pld').epsilon).toBeLessThan(at('rdp').epsilon);
  });

  test('its state survives JSON, and counts on', () => {
    const accountant = new PrivacyAccountant();
    accountant.record({ noiseMultiplier: 1.1, sampleRate: 0.01 });
    const state = JSON.parse(JSON.stringify(accountant)) as PrivacyAccountantState;
    expect(state.recorded).toEqual([{ noiseMultiplier: 1.1, sampleRate: 0.01, steps: 1 }]);
    const restored = PrivacyAccountant.fromJSON(state);
    restored.record({ noiseMultiplier: 1.1, sampleRate: 0.01, steps: 99 });
    accountant.record({ noiseMultiplier: 1.1, sampleRate: 0.01, steps: 99 });
    expect(restored.steps).toBe(100);
    expect(restored.epsilon({ delta: 1e-5 })).toEqual(accountant.epsilon({ delta: 1e-5 }));
  });

  test('epsilon and delta are inverse', () => {
    const accountant = new PrivacyAccountant();
    accountant.record(run);
    const { epsilon } = accountant.epsilon({ delta: 1e-5 });
    expect(accountant.delta({ epsilon }).delta / 1e-5).toBeCloseTo(1, 1);
  });

  test.each([
    [{ ...run, noiseMultiplier: 0 }, 'noiseMultiplier'],
    [{ ...run, noiseMultiplier: Infinity }, 'noiseMultiplier'],
    [{ ...run, sampleRate: 1.01 }, 'sampleRate'],
    [{ ...run, sampleRate: NaN }, 'sampleRate'],
    [{ ...run, steps: 1.5 }, 'steps'],
    [{ ...run, steps: -1 }, 'steps'],
  ])('%j is refused, and nothing is recorded', (wrong, column) => {
    const accountant = new PrivacyAccountant();
    const error = failure(() => accountant.record(wrong));
    expect([error.code, error.details.column]).toEqual(['INVALID_ARGUMENT', column]);
    expect(accountant.steps).toBe(0);
  });

  test('deltas that mean nothing or cannot be told are refused', () => {
    const accountant = new PrivacyAccountant();
    accountant.record(run);
    for (const delta of [0, 1, -1, NaN, 1e-260]) {
      expect(failure(() => accountant.epsilon({ delta })).details.column).toBe('delta');
    }
  });

  test('a state that was tampered with is refused', () => {
    const state = { format: 'gristmill-privacy-accountant/1', recorded: [{ ...run, noiseMultiplier: -1 }] };
    expect(failure(() => PrivacyAccountant.fromJSON(state)).code).toBe('INVALID_ARGUMENT');
    expect(failure(() => PrivacyAccountant.fromJSON({ ...state, format: 'x' })).message).toContain('"x"');
  });
});

describe('calibrateNoise', () => {
  test('published noise, on the safe side', () => {
    const budget = { epsilon: 8, delta: 1e-5, sampleRate: 0.04, steps: 2250 };
    const noiseMultiplier = calibrateNoise(budget);
    expect(noiseMultiplier).toBeCloseTo(1.34765625, 2);
    const accountant = new PrivacyAccountant();
    accountant.record({ sampleRate: 0.04, steps: 2250, noiseMultiplier });
    const { epsilon } = accountant.epsilon({ delta: 1e-5 });
    expect(epsilon).toBeLessThanOrEqual(8);
    expect(epsilon).toBeGreaterThan(7.995);
    expect(calibrateNoise({ ...budget, method: 'rdp' })).toBeCloseTo(1.416, 2);
  });

  test('what guarantees nothing calibrates nothing', () => {
    const budget = { epsilon: 8, delta: 1e-5, sampleRate: 0.04, steps: 2250, method: 'gdp' as never };
    expect(failure(() => calibrateNoise(budget)).details.column).toBe('method');
  });
});

describe('PoissonSampler', () => {
  const options = { examples: 50_000, sampleRate: 0.01 };

  test('batches of about the expected size, padded with rows of weight zero', () => {
    const sampler = new PoissonSampler({ ...options, multiple: 64 });
    const { step, indices, weights, privateSize } = sampler.nextBatch();
    expect(step).toBe(0);
    // 500 with a standard deviation of 22.
    expect(privateSize).toBeGreaterThan(350);
    expect(privateSize).toBeLessThan(650);
    expect([indices.length, weights.length]).toEqual(Array(2).fill(Math.ceil(privateSize / 64) * 64));
    expect(weights.reduce((a, b) => a + b)).toBe(privateSize);
    const drawn = [...indices.subarray(0, privateSize)];
    expect(drawn).toEqual([...new Set(drawn)].sort((a, b) => a - b));
  });

  test('a restored one goes on; a seed repeats; a secret key does not', () => {
    const sampler = new PoissonSampler(options);
    const first = sampler.nextBatch();
    const restored = PoissonSampler.fromJSON(JSON.parse(JSON.stringify(sampler)) as PoissonSamplerState);
    expect(restored.steps).toBe(1);
    expect(restored.nextBatch()).toEqual(sampler.nextBatch());
    expect(new PoissonSampler(options).nextBatch().indices).not.toEqual(first.indices);
    const seeded = (): Uint32Array => new PoissonSampler({ ...options, seed: 7 }).nextBatch().indices;
    expect(seeded()).toEqual(seeded());
  });

  test.each([
    [{ examples: 0 }, 'examples'],
    [{ sampleRate: -0.1 }, 'sampleRate'],
    [{ multiple: 0 }, 'multiple'],
  ])('%j is refused', (wrong, column) => {
    const error = failure(() => new PoissonSampler({ ...options, ...wrong }));
    expect([error.code, error.details.column]).toEqual(['INVALID_ARGUMENT', column]);
  });

  test('a damaged state is refused', () => {
    const state = new PoissonSampler(options).toJSON();
    expect(failure(() => PoissonSampler.fromJSON({ ...state, key: 'short' })).message).toContain('key');
  });
});

describe('gristmill privacy', () => {
  const sampling = ['--sample-rate', '0.04', '--steps', '2250', '--delta', '1e-5'];

  test('prints epsilon by three methods, and which of them are bounds', async () => {
    const { code, stdout } = await cli(['privacy', ...sampling, '--noise', '1.5']);
    expect(code).toBe(0);
    expect(stdout).toContain('Noise multiplier 1.50000; 2,250 steps');
    expect(stdout).toMatch(/pld +6\.7\d{3} +upper bound/);
    expect(stdout).toMatch(/rdp +7\.3292 +upper bound, at order/);
    expect(stdout).toMatch(/gdp +6\.60\d\d +no bound/);
  });

  test('prints the noise of a budget as JSON', async () => {
    const { code, stdout } = await cli(['privacy', ...sampling, '--epsilon', '8', '--json']);
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as {
      schema: number;
      noiseMultiplier: number;
      spent: { epsilon: number }[];
    };
    expect(report).toMatchObject({
      schema: 1,
      command: 'privacy',
      sampleRate: 0.04,
      steps: 2250,
      delta: 1e-5,
    });
    expect(report.noiseMultiplier).toBeCloseTo(1.34765625, 2);
    expect(report.spent[0]?.epsilon).toBeLessThanOrEqual(8);
  });

  test.each([
    [['--noise', '1', '--epsilon', '8'], 'give --noise'],
    [[], 'give --noise'],
    [['--noise', '1', '--method', 'rdp'], '--method'],
    [['--noise', '0'], 'noise multiplier of 0'],
    [['--epsilon', '-1'], 'epsilon of -1'],
  ])('wrong usage: %j', async (flags, message) => {
    const { code, stderr } = await cli(['privacy', ...sampling, ...flags]);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});
