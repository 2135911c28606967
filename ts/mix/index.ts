/** Deciding the mix: mixtures, skills, laws and subsets. */

export * from './laws.js';
export * from './regression.js';
export * from './search.js';
export * from './skills.js';
export * from './subset.js';
export type * from './types.js';
