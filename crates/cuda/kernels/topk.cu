// topk: the k entries of greatest magnitude of every chunk, exactly, ties to the lowest position.
//
// A chunk's entries get keys, magnitude before reversed position, that are all different: so there is one k-th greatest,
// and whatever order threads work in, the sorted result is the same. It is found by radix select, 11 digits of the key
// at a time from the top, until a prefix cuts off exactly k; what is above goes to a list, which is sorted.
//
// Chunks of up to 8,192 entries stay in the shared memory of one block. Longer ones, and longer lists, are read by many
// blocks, with the histogram in device memory and a kernel for each step.
#include "common.cuh"

constexpr u32 BINS = 2048, DIGITS = 11, SORTED = 4096;

struct TopkArgs {
  const u32* x;  // f32 by its bits.
  u32* values;
  u32* indices;
  u64 n;
  u64 chunk;
  u64 k;
  u32 index_bits;
  u32 blocks;    // Of each chunk, in the steps for long chunks.
  void* states;  // [chunks] State
  u32* bins;     // [chunks, BINS]
  u64* lists;    // [chunks, padded]
  u64 padded;    // k up to a power of two.
  u64 size;      // Of the sequences that a step of sorting makes, and how far apart it compares.
  u64 distance;
};

// Entries whose key begins with more than `prefix`, at `shift`, are in; `remaining` of those that begin with it still.
struct State {
  u64 prefix;
  u32 shift;
  u32 remaining;
  u32 done;
  u32 listed;
};

DEVICE u64 key_of(u32 bits, u64 index, u32 index_bits) {
  return u64(bits & 0x7FFFFFFFu) << index_bits | (((1ull << index_bits) - 1) - index);
}
DEVICE u64 index_of(u64 key, u32 index_bits) { return ((1ull << index_bits) - 1) - (key & ((1ull << index_bits) - 1)); }

struct Chunk {
  u64 begin;
  u64 n;
  u32 take;
  DEVICE Chunk(const TopkArgs& args, u64 number)
      : begin(number * args.chunk), n(least(args.chunk, args.n - begin)), take(u32(least(args.k, n))) {}
};

DEVICE State begin_state(const TopkArgs& args, u32 take) { return State{0, 31 + args.index_bits, take, 0, 0}; }

DEVICE u32 next_shift(const State& state) { return state.shift > DIGITS ? state.shift - DIGITS : 0; }

// Counts a key by its next digits, if it begins with the prefix.
DEVICE void count(u32* bins, const State& state, u64 key) {
  const u32 shift = next_shift(state);
  if (key >> state.shift == state.prefix) atomic_add(bins + ((key >> shift) & ((1u << (state.shift - shift)) - 1)), 1);
}

// Finds the digits at which the count from the top reaches what remains. `scratch` has room for BLOCK counts.
DEVICE State pick(const State& state, const u32* bins, u32* scratch, State* shared) {
  constexpr u32 EACH = BINS / BLOCK;
  const u32 top = BINS - threadIdx.x * EACH;  // The thread's bins are top - 1 down to top - EACH.
  u32 own = 0;
  for (u32 i = 1; i <= EACH; i++) own += bins[top - i];
  scratch[threadIdx.x] = own;
  sync_block();
  for (u32 reach = 1; reach < BLOCK; reach *= 2) {
    const u32 before = threadIdx.x >= reach ? scratch[threadIdx.x - reach] : 0;
    sync_block();
    scratch[threadIdx.x] += before;
    sync_block();
  }
  u32 above = scratch[threadIdx.x] - own;
  if (above < state.remaining && state.remaining <= above + own) {
    u32 bin = top - 1;
    while (above + bins[bin] < state.remaining) above += bins[bin--];
    const u32 shift = next_shift(state), remaining = state.remaining - above;
    const u64 prefix = state.prefix << (state.shift - shift) | bin;
    *shared = State{prefix, shift, remaining, bins[bin] == remaining, state.listed};
  }
  sync_block();
  const State result = *shared;
  sync_block();
  return result;
}

// Descending, by compare-and-exchange of a bitonic network: one step over `n` keys, of which the first has number
// `first` in the whole sequence.
DEVICE void sort_step(u64* keys, u64 n, u64 first, u64 size, u64 distance, u64 thread, u64 threads) {
  for (u64 pair = thread; pair < n / 2; pair += threads) {
    const u64 i = pair / distance * 2 * distance + pair % distance, j = i + distance;
    const u64 a = keys[i], b = keys[j];
    const bool descending = ((first + i) & size) == 0;
    if (descending ? a < b : a > b) {
      keys[i] = b;
      keys[j] = a;
    }
  }
}

DEVICE void write_entries(const TopkArgs& args, u64 number, const Chunk& chunk, const u64* keys, u64 thread, u64 threads) {
  for (u64 i = thread; i < args.k; i += threads) {
    const bool there = i < chunk.take;
    const u64 index = there ? index_of(keys[i], args.index_bits) : 0;
    args.values[number * args.k + i] = there ? args.x[chunk.begin + index] : 0;
    args.indices[number * args.k + i] = there ? u32(index) : 0xFFFFFFFFu;
  }
}

// A whole chunk in one block. Shared memory: the list [padded], the chunk, the bins, scratch, the state.
DEVICE void small(const TopkArgs& args) {
  u64* list = reinterpret_cast<u64*>(shared_memory());
  State* shared_state = reinterpret_cast<State*>(list + args.padded);
  u32* bins = reinterpret_cast<u32*>(shared_state + 1);
  u32* scratch = bins + BINS;
  u32* entries = scratch + BLOCK;
  const Chunk chunk(args, blockIdx.x);
  for (u64 i = threadIdx.x; i < chunk.n; i += BLOCK) entries[i] = args.x[chunk.begin + i];
  State state = begin_state(args, chunk.take);
  while (!state.done) {
    for (u32 i = threadIdx.x; i < BINS; i += BLOCK) bins[i] = 0;
    sync_block();
    for (u64 i = threadIdx.x; i < chunk.n; i += BLOCK) count(bins, state, key_of(entries[i], i, args.index_bits));
    sync_block();
    state = pick(state, bins, scratch, shared_state);
  }
  for (u64 i = threadIdx.x; i < args.padded; i += BLOCK) list[i] = 0;
  sync_block();
  for (u64 i = threadIdx.x; i < chunk.n; i += BLOCK) {
    const u64 key = key_of(entries[i], i, args.index_bits);
    if (key >> state.shift >= state.prefix) list[atomic_add(&shared_state->listed, 1)] = key;
  }
  sync_block();
  for (u64 size = 2; size <= args.padded; size *= 2) {
    for (u64 distance = size / 2; distance > 0; distance /= 2) {
      sort_step(list, args.padded, 0, size, distance, threadIdx.x, BLOCK);
      sync_block();
    }
  }
  write_entries(args, blockIdx.x, chunk, list, threadIdx.x, BLOCK);
}

// ------------------------------------------------------------------------------------------------ long chunks

struct Place {  // Which chunk the block works at, and the number of the thread among those of the chunk.
  u64 number;
  u64 thread;
  u64 threads;
  DEVICE Place(const TopkArgs& args)
      : number(blockIdx.x / args.blocks),
        thread(u64(blockIdx.x % args.blocks) * BLOCK + threadIdx.x),
        threads(u64(args.blocks) * BLOCK) {}
};

DEVICE void start(const TopkArgs& args) {
  const Place place(args);
  const Chunk chunk(args, place.number);
  for (u64 i = place.thread; i < args.padded; i += place.threads) args.lists[place.number * args.padded + i] = 0;
  for (u64 i = place.thread; i < BINS; i += place.threads) args.bins[place.number * BINS + i] = 0;
  if (place.thread == 0) static_cast<State*>(args.states)[place.number] = begin_state(args, chunk.take);
}

DEVICE void histogram(const TopkArgs& args) {
  u32* bins = reinterpret_cast<u32*>(shared_memory());
  const Place place(args);
  const Chunk chunk(args, place.number);
  const State state = static_cast<const State*>(args.states)[place.number];
  if (state.done) return;
  for (u32 i = threadIdx.x; i < BINS; i += BLOCK) bins[i] = 0;
  sync_block();
  for (u64 i = place.thread; i < chunk.n; i += place.threads)
    count(bins, state, key_of(args.x[chunk.begin + i], i, args.index_bits));
  sync_block();
  for (u32 i = threadIdx.x; i < BINS; i += BLOCK)
    if (bins[i] > 0) atomic_add(args.bins + place.number * BINS + i, bins[i]);
}

// A block a chunk; leaves the bins empty for the next digits.
DEVICE void narrow(const TopkArgs& args) {
  State* shared_state = reinterpret_cast<State*>(shared_memory());
  u32* scratch = reinterpret_cast<u32*>(shared_state + 1);
  State* own = static_cast<State*>(args.states) + blockIdx.x;
  u32* bins = args.bins + u64(blockIdx.x) * BINS;
  const State state = *own;
  if (state.done) return;
  const State next = pick(state, bins, scratch, shared_state);
  for (u32 i = threadIdx.x; i < BINS; i += BLOCK) bins[i] = 0;
  if (threadIdx.x == 0) *own = next;
}

DEVICE void list(const TopkArgs& args) {
  const Place place(args);
  const Chunk chunk(args, place.number);
  State* own = static_cast<State*>(args.states) + place.number;
  const u32 shift = own->shift;
  const u64 prefix = own->prefix;
  u64* keys = args.lists + place.number * args.padded;
  for (u64 i = place.thread; i < chunk.n; i += place.threads) {
    const u64 key = key_of(args.x[chunk.begin + i], i, args.index_bits);
    if (key >> shift >= prefix) keys[atomic_add(&own->listed, 1)] = key;
  }
}

// Pieces of at most 4,096 keys in shared memory: all steps of sorting with smaller distances, for sequences of up to
// `size` from those of `distance` on (2: from the start).
DEVICE void sort_pieces(const TopkArgs& args) {
  u64* piece = reinterpret_cast<u64*>(shared_memory());
  const u64 n = least<u64>(args.padded, SORTED), first = u64(blockIdx.x) * n;
  for (u64 i = threadIdx.x; i < n; i += BLOCK) piece[i] = args.lists[first + i];
  sync_block();
  for (u64 size = args.distance; size <= args.size; size *= 2) {
    for (u64 distance = least(size, n) / 2; distance > 0; distance /= 2) {
      sort_step(piece, n, first % args.padded, size, distance, threadIdx.x, BLOCK);
      sync_block();
    }
  }
  for (u64 i = threadIdx.x; i < n; i += BLOCK) args.lists[first + i] = piece[i];
}

// One step with a distance that no piece holds.
DEVICE void sort_far(const TopkArgs& args) {
  const Place place(args);
  sort_step(args.lists + place.number * args.padded, args.padded, 0, args.size, args.distance, place.thread,
            place.threads);
}

DEVICE void write(const TopkArgs& args) {
  const Place place(args);
  write_entries(args, place.number, Chunk(args, place.number), args.lists + place.number * args.padded, place.thread,
                place.threads);
}

KERNEL(topk_small, TopkArgs, small(args))
KERNEL(topk_start, TopkArgs, start(args))
KERNEL(topk_histogram, TopkArgs, histogram(args))
KERNEL(topk_narrow, TopkArgs, narrow(args))
KERNEL(topk_list, TopkArgs, list(args))
KERNEL(topk_sort_pieces, TopkArgs, sort_pieces(args))
KERNEL(topk_sort_far, TopkArgs, sort_far(args))
KERNEL(topk_write, TopkArgs, write(args))
