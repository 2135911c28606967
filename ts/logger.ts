/** Where the library says what nobody asked for: nowhere, unless a logger is given. */
export interface Logger {
  /** Something that will hurt later, such as a tensor that was collected and not disposed of. */
  warn: (message: string) => void;
}

/**
 * The logger that was given, else standard error where the environment variable `GRISTMILL_LOG` is `warn`.
 *
 * @internal
 */
export function loggerOr(given: Logger | undefined): Logger | undefined {
  if (given || process.env['GRISTMILL_LOG'] !== 'warn') return given;
  return { warn: (message) => process.stderr.write(`gristmill: ${message}\n`) };
}

const leaks = new FinalizationRegistry<{ logger: Logger; what: string }>(({ logger, what }) =>
  logger.warn(`${what} was collected and not disposed of: its memory was held until now`),
);

/**
 * Warns when `owner` is collected before {@link disposedOf} is told of it.
 *
 * @internal
 */
export function watch(owner: object, logger: Logger | undefined, what: string): void {
  if (logger) leaks.register(owner, { logger, what }, owner);
}

/** @internal */
export function disposedOf(owner: object): void {
  leaks.unregister(owner);
}
