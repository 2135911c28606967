import type * as Native from '../../bindings/node/index.js';
import { json } from '../args.js';
import { GristmillError } from '../errors.js';
import { ask } from '../job.js';

/** Which skills help which, as {@link skillGraph} makes it. Plain data: it survives JSON. */
export interface SkillGraph {
  /** Training skills by evaluated skills: how much training on the one lowers the loss on the other. */
  readonly weights: readonly (readonly number[])[];
  /** The training skill that each column evaluates, where it is one. */
  readonly evaluates: readonly (number | null)[];
  /** Whether the columns were chosen by `targets`. */
  readonly targets: boolean;
}

/** What {@link skillGraph} takes: one of four sources, and which skills count. */
export type SkillGraphOptions = (
  | {
      /** How many skills. */
      skills: number;
      /** Which help which, as pairs of numbers: 0.5 along an edge, 1 from each skill to itself. */
      edges: readonly (readonly [number, number])[];
    }
  | {
      /** The weights as they are. */
      weights: readonly (readonly number[])[];
    }
  | {
      /** The loss on each skill after training on it alone. */
      alone: readonly number[];
      /** Entry `[i][j]`: the loss on skill j after training on i and j, half and half. */
      together: readonly (readonly number[])[];
      /** An edge needs a loss that is lower by more than this share. @defaultValue 0 */
      margin?: number;
    }
  | {
      /** The loss on each evaluated skill before training. */
      before: readonly number[];
      /** Entry `[i][j]`: the loss on skill j after training on skill i. */
      after: readonly (readonly number[])[];
    }
) & {
  /** Only these skills count; losses are then told for them, in this order. */
  targets?: readonly number[];
};

/**
 * Builds a skill graph: from edges, from weights, or learnt from runs on pairs or on single skills.
 *
 * @example
 * ```ts
 * const chain = skillGraph({ skills: 3, edges: [[0, 1], [1, 2]] });
 * ```
 */
export function skillGraph(options: SkillGraphOptions): SkillGraph {
  const { targets, ...rest } = options;
  const from =
    'edges' in rest
      ? { edges: rest }
      : 'weights' in rest
        ? { weights: rest }
        : 'alone' in rest
          ? { pairs: { margin: 0, ...rest } }
          : { singleRuns: rest };
  return ask((addon) => JSON.parse(addon.skillGraph(json('skillGraph', { from, targets }))) as SkillGraph);
}

/** The rule of Skill-It's update. */
export interface SkillOptions {
  /** The step: 0 stays at the prior. Published: 0.5 for LEGO, 0.1 for addition. @defaultValue 0.5 */
  eta?: number;
  /** How many of the latest evaluations count. @defaultValue 3 */
  window?: number;
  /** The weights that every update starts from, of any scale. @defaultValue uniform */
  prior?: readonly number[];
  /** Divide each loss by that of the baseline evaluation. @defaultValue false */
  normalize?: boolean;
  /** Divide `eta` by the sum of the latest losses over that of the baseline's. @defaultValue false */
  scaleEta?: boolean;
  /** Which evaluation is the baseline. @defaultValue 0 */
  baseline?: number;
  /** Keep a skill that neither helps nor is helped at `1 / k`. @defaultValue false */
  fixIsolated?: boolean;
}

/**
 * The mixture of Skill-It: `p_i ∝ prior_i · exp(eta · Σ_j A_ij ℓ_j)`, with `ℓ_j` the sum of the losses of the last
 * evaluations on skill j (their mean when the graph has targets). `losses` holds one row per evaluation, oldest first.
 */
export function skillMixture(
  options: { graph: SkillGraph; losses: readonly (readonly number[])[] } & SkillOptions,
): number[] {
  const { graph, losses, ...rule } = options;
  return ask(
    (addon) =>
      JSON.parse(addon.skillMixture(json('skillMixture', { graph, losses, options: rule }))) as number[],
  );
}

/** What {@link MixtureSampler} takes: a graph whose skills' losses it follows, or weights that stay. */
export type MixtureSamplerOptions =
  | (SkillOptions & {
      graph: SkillGraph;
      /** After so many batches the mixture is updated from the losses told so far; 0 leaves it to `update`. @defaultValue 0 */
      updateEvery?: number;
      /** Halve what skills do for others after each update. @defaultValue false */
      dampen?: boolean;
      /** @defaultValue 0 */
      seed?: number;
    })
  | {
      /** A mixture of any scale. */
      weights: readonly number[];
      /** @defaultValue 0 */
      seed?: number;
    };

/** The state of a {@link MixtureSampler} as plain data. */
export interface MixtureSamplerState {
  readonly format: string;
  readonly [field: string]: unknown;
}

/**
 * Tells a training loop which domain each example of the next batch comes from, and moves its mixture by the losses
 * that the loop reports. The sequence depends on the seed and the losses alone; a sampler that is saved with
 * `JSON.stringify` and restored goes on as if nothing had happened.
 *
 * @example
 * ```ts
 * const graph = skillGraph({ skills: 3, edges: [[0, 1], [1, 2]] });
 * const sampler = new MixtureSampler({ graph, updateEvery: 100 });
 * for (const domain of sampler.nextBatch(32)) console.log(domain);
 * sampler.tell([0.2, 1.5, 2.5]);
 * const restored = MixtureSampler.fromJSON(JSON.parse(JSON.stringify(sampler)));
 * ```
 */
export class MixtureSampler {
  readonly #native: Native.DomainSampler;

  constructor(options: MixtureSamplerOptions) {
    this.#native = create(options);
  }

  /** The sampler of a state that `toJSON` gave. */
  static fromJSON(state: MixtureSamplerState): MixtureSampler {
    return new MixtureSampler({ [STATE]: state } as unknown as MixtureSamplerOptions);
  }

  /** The mixture that the next batch is drawn from, unless an update is due before it. */
  get weights(): Float64Array {
    return ask(() => this.#native.weights());
  }

  /** How many batches were drawn, evaluations told and updates made. */
  get counts(): { batches: number; evaluations: number; updates: number } {
    const [batches = 0, evaluations = 0, updates = 0] = ask(() => this.#native.counts());
    return { batches, evaluations, updates };
  }

  /**
   * The domain of each of the next `size` examples: `size · p_i` of domain i, rounded at random so that the mean is
   * exact, in random order.
   */
  nextBatch(size: number): Uint32Array {
    if (!Number.isSafeInteger(size) || size < 0 || size > 0xffffffff) {
      throw new GristmillError('INVALID_ARGUMENT', `${size} is no number of examples`, {
        details: { column: 'size' },
      });
    }
    return ask(() => this.#native.nextBatch(size));
  }

  /** Reports the losses of an evaluation, one per evaluated skill. */
  tell(losses: readonly number[]): void {
    ask(() => this.#native.tell([...losses]));
  }

  /** Moves the mixture to that of the losses told so far, and returns it. */
  update(): Float64Array {
    ask(() => this.#native.update());
    return this.weights;
  }

  /** The state, for `JSON.stringify`. */
  toJSON(): MixtureSamplerState {
    return ask(() => JSON.parse(this.#native.state()) as MixtureSamplerState);
  }
}

const STATE = Symbol('state');

function create(options: MixtureSamplerOptions & { [STATE]?: MixtureSamplerState }): Native.DomainSampler {
  const state = options[STATE];
  let how: object;
  if (state !== undefined) how = { state: { state } };
  else if ('weights' in options) how = { fixed: options };
  else {
    const { graph, updateEvery, dampen, seed, ...skill } = options;
    how = { skillIt: { graph, options: { skill, updateEvery, dampen, seed } } };
  }
  return ask((addon) => new addon.DomainSampler(json('MixtureSampler', how)));
}
