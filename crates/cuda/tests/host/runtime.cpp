// Runs kernels on the host: a block at a time, its threads as fibers of one operating-system thread.
//
// A fiber runs until it reaches a barrier or an operation of its warp, and goes on when all that must meet there have
// come. Which of those that may run goes first is up to the order: ascending, descending, or at random; a kernel whose
// result depends on it lacks a barrier. A block in which nobody can run, a warp whose lanes meet in different places,
// and a misaligned access end the launch with a message.

#include "cuda_host.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a call must keep, and goes on where the other fiber left off.
extern "C" void cuda_host_switch(void** save, void* load);
#if defined(__x86_64__)
asm(R"(
.text
.globl cuda_host_switch
.hidden cuda_host_switch
.type cuda_host_switch,@function
cuda_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_host_switch,.-cuda_host_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl cuda_host_switch
.hidden cuda_host_switch
.type cuda_host_switch,%function
cuda_host_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size cuda_host_switch,.-cuda_host_switch
)");
#else
#error "no fibers for this processor"
#endif

namespace cuda_host {
namespace {

constexpr std::uint32_t LANES = 32;
constexpr std::size_t STACK = 64 * 1024;

// A copy that is under way.
struct Copy {
  void* to;
  const void* from;
  std::uint32_t bytes;
  std::uint32_t group;
};

enum class State { Ready, AtBarrier, InWarp, Ended };

struct Fiber {
  void* registers = nullptr;
  void* fake_stack = nullptr;  // Of the address sanitizer.
  unsigned char* stack = nullptr;
  Dim3 index = {0, 0, 0};
  State state = State::Ended;
  const char* meeting = nullptr;  // The operation for which it waits in its warp.
  std::uint32_t met = 0;          // How many operations of its warp it has been through.
  std::uint32_t group = 0;        // Of copies, the one that is not committed yet.
  std::vector<Copy> copies;
};

// What lanes lay out for each other; two sets in turn, since a lane can be one operation ahead of another.
struct Warp {
  std::uint32_t waiting = 0;
  std::uint32_t words[2][LANES];
  const void* rows[2][LANES];
  float a[2][LANES][8];
  float b[2][LANES][4];
};

struct Machine {
  void (*kernel)(const void*) = nullptr;
  const void* args = nullptr;
  Dim3 grid = {1, 1, 1}, block = {1, 1, 1}, block_at = {0, 0, 0};
  std::uint32_t threads = 0, alive = 0, at_barrier = 0;
  unsigned char* shared = nullptr;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Fiber* running = nullptr;
  void* scheduler = nullptr;
  void* scheduler_fake_stack = nullptr;
  const void* scheduler_stack = nullptr;
  std::size_t scheduler_stack_size = 0;
  std::string error;
  std::uint64_t order = 0, random = 1;
};

// That of this thread while it runs kernels. A pointer at a place that is known when the library is loaded: anything else
// would be looked up by a call at each of the many uses.
__attribute__((tls_model("initial-exec"))) thread_local Machine* machine = nullptr;

Machine& own_machine() {
  thread_local Machine own;
  return own;
}

void enter(void** save_fake, const void* stack, std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(save_fake, stack, size);
#else
  (void)save_fake, (void)stack, (void)size;
#endif
}
void entered(void* fake, const void** stack, std::size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, stack, size);
#else
  (void)fake, (void)stack, (void)size;
#endif
}

void to_scheduler(bool for_good) {
  Fiber& f = *machine->running;
  enter(for_good ? nullptr : &f.fake_stack, machine->scheduler_stack, machine->scheduler_stack_size);
  cuda_host_switch(&f.registers, machine->scheduler);
  entered(f.fake_stack, &machine->scheduler_stack, &machine->scheduler_stack_size);
}

void release_barrier() {
  if (machine->alive == 0 || machine->at_barrier < machine->alive) return;
  for (Fiber& f : machine->fibers)
    if (f.state == State::AtBarrier) f.state = State::Ready;
  machine->at_barrier = 0;
}

extern "C" void cuda_host_body() {
  Machine& m = *machine;
  entered(nullptr, &m.scheduler_stack, &m.scheduler_stack_size);
  m.kernel(m.args);
  m.running->state = State::Ended;
  m.alive--;
  release_barrier();
  to_scheduler(true);
  std::abort();
}

void run(Fiber& f) {
  Machine& m = *machine;
  m.running = &f;
  enter(&m.scheduler_fake_stack, f.stack, STACK);
  cuda_host_switch(&m.scheduler, f.registers);
  entered(m.scheduler_fake_stack, nullptr, nullptr);
}

void prepare(Fiber& f, std::uint32_t thread) {
  if (!f.stack) {
    void* p = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    f.stack = static_cast<unsigned char*>(p);
  }
  // As a call of cuda_host_body would have left it: on x86-64 the return address lies on a 16-byte boundary plus 8.
  void** top = reinterpret_cast<void**>(f.stack + STACK);
#if defined(__x86_64__)
  top -= 2;
  top[0] = reinterpret_cast<void*>(&cuda_host_body);
  top -= 6;
  std::fill(top, top + 6, nullptr);
#else
  top -= 20;
  std::fill(top, top + 20, nullptr);
  top[11] = reinterpret_cast<void*>(&cuda_host_body);
#endif
  f.registers = top;
  f.index = {thread % machine->block.x, thread / machine->block.x % machine->block.y,
             thread / machine->block.x / machine->block.y};
  f.state = State::Ready;
  f.met = 0;
  f.group = 0;
  f.copies.clear();
}

std::uint64_t draw() {
  std::uint64_t& x = machine->random;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return x;
}

void arrange(std::vector<std::uint32_t>& order) {
  if (machine->order < 2) return;
  for (std::size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[draw() % i]);
}

std::string explain() {
  for (std::uint32_t i = 0; i < machine->threads; i++) {
    const Fiber& f = machine->fibers[i];
    if (f.state == State::Ended) continue;
    char text[160];
    std::snprintf(text, sizeof text, "nobody can go on: thread %u waits %s, %u of %u threads have not ended", i,
                  f.state == State::InWarp ? f.meeting : "at a barrier", machine->alive, machine->threads);
    return text;
  }
  return "nobody can go on";
}

void run_block(std::size_t shared_bytes) {
  Machine& m = *machine;
  // A block of its own for each, so that the address sanitizer knows its end.
  void* shared = nullptr;
  if (shared_bytes > 0 && posix_memalign(&shared, 16, shared_bytes) != 0) std::abort();
  if (shared) std::memset(shared, 0xFF, shared_bytes);
  m.shared = static_cast<unsigned char*>(shared);
  m.alive = m.threads;
  m.at_barrier = 0;
  std::vector<std::uint32_t> order(m.threads);
  for (std::uint32_t i = 0; i < m.threads; i++) {
    prepare(m.fibers[i], i);
    order[i] = m.order == 1 ? m.threads - 1 - i : i;
  }
  for (Warp& w : m.warps) w.waiting = 0;
  while (m.alive > 0 && m.error.empty()) {
    bool ran = false;
    arrange(order);
    for (std::uint32_t i : order) {
      if (m.fibers[i].state != State::Ready || !m.error.empty()) continue;
      ran = true;
      run(m.fibers[i]);
    }
    if (!ran && m.error.empty()) m.error = explain();
  }
  std::free(shared);
}

// Waits until all lanes of the warp are at this operation; returns which of the two sets it uses.
std::uint32_t turn() { return machine->running->met % 2; }
Warp& own_warp() { return machine->warps[(machine->running - machine->fibers.data()) / LANES]; }
std::uint32_t own_lane() { return std::uint32_t(machine->running - machine->fibers.data()) % LANES; }

void meet(const char* operation) {
  Machine& m = *machine;
  Fiber& f = *m.running;
  Warp& w = own_warp();
  Fiber* lanes = m.fibers.data() + (&w - m.warps.data()) * LANES;
  f.met++;
  f.meeting = operation;
  f.state = State::InWarp;
  if (++w.waiting < LANES) {
    to_scheduler(false);
    return;
  }
  w.waiting = 0;
  for (std::uint32_t i = 0; i < LANES; i++) {
    if (lanes[i].meeting != operation) fail("lanes of a warp meet in different operations");
    lanes[i].state = State::Ready;
  }
}

}  // namespace

void fail(const char* message) {
  machine->error = message;
  to_scheduler(false);
  std::abort();
}

const Dim3& thread_index() { return machine->running->index; }
const Dim3& block_index() { return machine->block_at; }
const Dim3& grid_dim() { return machine->grid; }
unsigned char* shared_memory() { return machine->shared; }

void sync_block() {
  machine->running->state = State::AtBarrier;
  machine->at_barrier++;
  release_barrier();
  to_scheduler(false);
}

std::uint32_t exchange(std::uint32_t x, std::uint32_t from) {
  Warp& w = own_warp();
  const std::uint32_t set = turn();
  w.words[set][own_lane()] = x;
  meet("in a shuffle");
  return w.words[set][from];
}

std::uint32_t atomic_add(std::uint32_t* at, std::uint32_t x) {
  const std::uint32_t before = *at;
  *at = before + x;
  return before;
}
void atomic_max(std::uint32_t* at, std::uint32_t x) { *at = std::max(*at, x); }

void copy_async(void* shared, const void* global, std::uint32_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(shared) % 16 != 0 || reinterpret_cast<std::uintptr_t>(global) % 16 != 0)
    fail("a misaligned asynchronous copy");
  std::memset(shared, 0xFF, 16);
  Fiber& f = *machine->running;
  f.copies.push_back({shared, global, bytes, f.group});
}
void copy_async_commit() { machine->running->group++; }
void copy_async_wait(std::uint32_t pending) {
  Fiber& f = *machine->running;
  std::size_t done = 0;
  for (; done < f.copies.size() && f.copies[done].group + pending < f.group; done++) {
    const Copy& c = f.copies[done];
    std::memset(c.to, 0, 16);
    std::memcpy(c.to, c.from, c.bytes);
  }
  f.copies.erase(f.copies.begin(), f.copies.begin() + std::ptrdiff_t(done));
}

void load_matrices(std::uint32_t (&r)[4], const void* row, bool transposed) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) fail("a misaligned row of a matrix");
  Warp& w = own_warp();
  const std::uint32_t set = turn(), lane = own_lane();
  w.rows[set][lane] = row;
  meet(transposed ? "in a transposed load of matrices" : "in a load of matrices");
  const auto element = [&](std::uint32_t matrix, std::uint32_t i, std::uint32_t j) {
    std::uint16_t x;
    std::memcpy(&x, static_cast<const unsigned char*>(w.rows[set][matrix * 8 + i]) + 2 * j, 2);
    return std::uint32_t(x);
  };
  for (std::uint32_t m = 0; m < 4; m++) {
    const std::uint32_t i = lane / 4, j = lane % 4 * 2;
    r[m] = transposed ? element(m, j, i) | element(m, j + 1, i) << 16 : element(m, i, j) | element(m, i, j + 1) << 16;
  }
}

// The fragments of mma.m16n8k16 (PTX ISA 8.0, section 9.7.13.4.8).
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                  float (*to_float)(std::uint16_t)) {
  Warp& w = own_warp();
  const std::uint32_t set = turn(), lane = own_lane();
  for (std::uint32_t i = 0; i < 8; i++) w.a[set][lane][i] = to_float(std::uint16_t(a[i / 2] >> (i % 2 * 16)));
  for (std::uint32_t i = 0; i < 4; i++) w.b[set][lane][i] = to_float(std::uint16_t(b[i / 2] >> (i % 2 * 16)));
  meet("in a product of fragments");
  for (std::uint32_t e = 0; e < 4; e++) {
    const std::uint32_t row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
    float sum = c[e];
    for (std::uint32_t k = 0; k < 16; k++) {
      const float left = w.a[set][row % 8 * 4 + k % 8 / 2][(k / 8 * 2 + row / 8) * 2 + k % 2];
      const float right = w.b[set][column * 4 + k % 8 / 2][k / 8 * 2 + k % 2];
      sum += left * right;
    }
    c[e] = sum;
  }
}

void sincos_pi(float x, float* s, float* c) {
  const double angle = 3.14159265358979323846 * double(x);
  *s = float(std::sin(angle));
  *c = float(std::cos(angle));
}

namespace {

// Rounds a float to fewer digits, to nearest with ties to even: `exponent` bits from `bias`, `digits` after the point.
std::uint16_t narrow(float x, int digits, int bias) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(x), sign = bits >> 31 << 15;
  const std::uint32_t infinity = std::uint32_t(2 * bias + 1) << digits;
  const double size = std::fabs(double(x));
  if (x != x) return std::uint16_t(sign | infinity | 1u << (digits - 1));
  if (std::isinf(x)) return std::uint16_t(sign | infinity);
  int e = 0;
  std::frexp(size, &e);
  // The unit of the last digit; below the normal numbers it stays the same.
  const int unit = std::max(e - 1, 1 - bias) - digits;
  const double units = std::nearbyint(std::ldexp(size, -unit));
  const double value = std::ldexp(units, unit);
  if (value >= std::ldexp(2.0, bias)) return std::uint16_t(sign | infinity);
  if (value == 0.0) return std::uint16_t(sign);
  std::frexp(value, &e);
  if (e - 1 < 1 - bias) return std::uint16_t(sign | std::uint32_t(std::ldexp(value, bias - 1 + digits)));
  const std::uint32_t mantissa = std::uint32_t(std::ldexp(value, digits - (e - 1))) - (1u << digits);
  return std::uint16_t(sign | std::uint32_t(e - 1 + bias) << digits | mantissa);
}

}  // namespace

std::uint16_t float_to_half(float x) { return narrow(x, 10, 15); }
std::uint16_t float_to_bfloat(float x) { return narrow(x, 7, 127); }

float half_to_float(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float sign = bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? std::nanf("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(float(mantissa), -24);
  return sign * std::ldexp(float(mantissa + 1024), exponent - 25);
}

}  // namespace cuda_host

// ------------------------------------------------------------------------------------------------ entry points

using namespace cuda_host;

// 0: threads and blocks ascending; 1: descending; otherwise at random, by this seed.
extern "C" __attribute__((visibility("default"))) void cuda_host_order(std::uint64_t order) {
  own_machine().order = order;
  own_machine().random = order * 0x9E3779B97F4A7C15u | 1;
}

// Runs a kernel; returns null, or why it could not end, until the next launch of this thread.
extern "C" __attribute__((visibility("default"))) const char* cuda_host_launch(
    void (*kernel)(const void*), const void* args, const std::uint32_t* grid, std::uint32_t threads,
    std::size_t shared) {
  Machine& m = own_machine();
  machine = &m;
  m.kernel = kernel;
  m.args = args;
  m.grid = {grid[0], grid[1], grid[2]};
  m.block = {threads, 1, 1};
  m.threads = threads;
  m.error.clear();
  if (threads == 0 || threads % LANES != 0 || threads > 1024) return "a block that is not of whole warps";
  if (m.fibers.size() < threads) m.fibers.resize(threads);
  if (m.warps.size() < threads / LANES) m.warps.resize(threads / LANES);
  const std::uint64_t blocks = std::uint64_t(grid[0]) * grid[1] * grid[2];
  const std::uint64_t first = m.order < 2 ? 0 : draw() % blocks;
  for (std::uint64_t i = 0; i < blocks && m.error.empty(); i++) {
    const std::uint64_t block = m.order == 1 ? blocks - 1 - i : (first + i) % blocks;
    m.block_at = {std::uint32_t(block % grid[0]), std::uint32_t(block / grid[0] % grid[1]),
                  std::uint32_t(block / grid[0] / grid[1])};
    run_block(shared);
  }
  return m.error.empty() ? nullptr : m.error.c_str();
}
