#include "tests/cuda_host/fibers.h"

#include "tests/cuda_host/races.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <map>
#include <tuple>
#include <vector>

#include <cuda_runtime.h>

extern "C" {
#include "base/dtype.h"
}

/* Not among what is zero at start, for the same reason as below. */
uint3 sb_host_thread_index = {1, 1, 1}, sb_host_block_index = {1, 1, 1};
dim3 sb_host_block_dim, sb_host_grid_dim;
unsigned char *sb_host_shared;

namespace {

enum { MOST_THREADS = 1024, STACK = 256 << 10, SLOT = 64 };

/* Where threads wait for each other. Those that have left count no more. */
struct barrier {
  unsigned live, arrived, generation;

  bool arrive() { /* true: all are there */
    if (++arrived < live) return false;
    open();
    return true;
  }
  void leave() {
    live--;
    if (live > 0 && arrived == live) open();
  }
  void open() {
    arrived = 0;
    generation++;
  }
};

struct warp {
  barrier meeting;
  unsigned syncs; /* meetings that order accesses to memory */
  int what[2];
  alignas(16) unsigned char slots[2][32][SLOT];
};

struct copy {
  void *to;
  const void *from;
  unsigned valid;
};

struct fiber {
  void *stack_top, *sp;
  uint3 index;
  warp *home;
  int lane;
  unsigned meetings;
  const barrier *waits;
  unsigned generation;
  bool done;
  std::vector<std::vector<copy>> copies; /* the last group is open */
};

fiber fibers[MOST_THREADS];
warp *warps; /* on the heap, as races.cpp takes variables for memory of blocks */
barrier block;
fiber *now;
sb_host_place place;
char *stacks;
bool watched;
void *scheduler;
const std::function<void()> *body;

} // namespace

/* Saves what a function may expect to find again, changes stacks, goes on there. */
extern "C" void sb_host_switch(void **save, void *load);
asm(".pushsection .text\n"
    ".globl sb_host_switch\n"
    "sb_host_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".popsection\n");

void sb_host_die(const char *what) {
  fprintf(stderr, "cuda_host: %s (block %u %u, thread %u %u)\n", what, sb_host_block_index.x,
          sb_host_block_index.y, sb_host_thread_index.x, sb_host_thread_index.y);
  abort();
}

static void wait_for(const barrier *b, unsigned generation) {
  now->waits = b;
  now->generation = generation;
  sb_host_switch(&now->sp, scheduler);
}

static void thread_main() {
  (*body)();
  now->done = true;
  for (const std::vector<copy> &group : now->copies)
    if (!group.empty()) sb_host_die("a thread ends with asynchronous copies under way");
  now->home->meeting.leave();
  block.leave();
  sb_host_switch(&now->sp, scheduler);
  abort();
}

const sb_host_place *sb_host_here() {
  if (!now || !watched) return NULL;
  place.block_syncs = block.generation;
  place.warp_syncs = now->home->syncs;
  return &place;
}

bool sb_host_is_stack(const void *at) {
  return (const char *)at >= stacks && (const char *)at < stacks + (size_t)MOST_THREADS * STACK;
}

int sb_host_lane() {
  return now->lane;
}

void *sb_host_slot(int lane) {
  return now->home->slots[now->meetings % 2][lane];
}

const void *sb_host_read(int lane) {
  return now->home->slots[(now->meetings + 1) % 2][lane];
}

/* Two sets of slots take turns: nobody gets past the next meeting before all have read what was
 * left for this one. */
void sb_host_warp_sync(sb_host_meeting what) {
  warp *w = now->home;
  int *agreed = &w->what[now->meetings % 2];
  const unsigned generation = w->meeting.generation;
  now->meetings++;
  if (w->meeting.arrived == 0) *agreed = what;
  if (*agreed != what) sb_host_die("lanes of a warp are at different operations");
  if (w->meeting.live < 32)
    sb_host_die("a lane has left the warp before an operation of the whole warp");
  if (!w->meeting.arrive())
    wait_for(&w->meeting, generation);
  else if (what == SB_HOST_SYNC)
    w->syncs++;
}

void sb_host_block_sync() {
  const unsigned generation = block.generation;
  if (!block.arrive()) wait_for(&block, generation);
}

void sb_host_copy16(void *shared, const void *global, unsigned valid) {
  if ((uintptr_t)shared % 16 != 0 || (uintptr_t)global % 16 != 0)
    sb_host_die("cp.async of 16 bytes at an address that is not 16-byte aligned");
  if (now->copies.empty()) now->copies.emplace_back();
  now->copies.back().push_back({shared, global, valid});
  sb_host_races_read(global, valid);
  sb_host_races_write(shared, 16);
  memset(shared, 0xff, 16); /* from now on it may be anything */
}

void sb_host_copy_commit() {
  if (now->copies.empty()) now->copies.emplace_back();
  now->copies.emplace_back();
}

void sb_host_copy_wait(int left) {
  if (now->copies.empty()) return;
  while (now->copies.size() > (size_t)left + 1) {
    for (const copy &c : now->copies.front()) {
      sb_host_races_write(c.to, 16);
      memset(c.to, 0, 16);
      if (c.valid > 0) memcpy(c.to, c.from, c.valid);
    }
    now->copies.erase(now->copies.begin());
  }
}

float sb_host_fp16(uint16_t bits) {
  return sb_f16_to_f32(bits);
}

static void make_ready() {
  if (sb_host_shared) return;
  sb_host_shared = (unsigned char *)aligned_alloc(128, SB_HOST_SHARED_BYTES);
  warps = new warp[MOST_THREADS / 32];
  stacks = (char *)mmap(NULL, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (!sb_host_shared || stacks == MAP_FAILED) sb_host_die("no memory");
  for (int i = 0; i < MOST_THREADS; i++) fibers[i].stack_top = stacks + (size_t)(i + 1) * STACK;
}

static void run_block(dim3 shape) {
  const unsigned count = shape.x * shape.y * shape.z;
  block = {count, 0, 0};
  for (unsigned w = 0; w < count / 32; w++) warps[w].meeting = {32, 0, 0}, warps[w].syncs = 0;
  for (unsigned i = 0; i < count; i++) {
    fiber *f = &fibers[i];
    f->index = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
    f->home = &warps[i / 32];
    f->lane = (int)(i % 32);
    f->meetings = 0;
    f->waits = NULL;
    f->done = false;
    f->copies.clear();
    void **top = (void **)f->stack_top;
    *--top = NULL;                /* keeps the stack as a call would find it */
    *--top = (void *)thread_main; /* where the first switch returns to */
    for (int saved = 0; saved < 6; saved++) *--top = NULL;
    f->sp = top;
  }
  for (unsigned left = count; left > 0;) {
    bool moved = false;
    for (unsigned i = 0; i < count; i++) {
      fiber *f = &fibers[i];
      if (f->done || (f->waits && f->waits->generation == f->generation)) continue;
      moved = true;
      f->waits = NULL;
      now = f;
      place.thread = i;
      sb_host_thread_index = f->index;
      sb_host_switch(&scheduler, f->sp);
      now = NULL;
      if (f->done) left--;
    }
    if (!moved) sb_host_die("deadlock: every thread waits for another");
  }
}

/* Looking for races takes ten times as long as running. So of launches that are alike, and of their
 * blocks, the first few are watched, then one of 32. */
static bool is_one_of_some(unsigned i) {
  return i < 2 || i % 32 == 2;
}

static unsigned alike_before(const void *kernel, dim3 grid, dim3 shape) {
  static std::map<std::tuple<const void *, unsigned, unsigned, unsigned, unsigned>, unsigned>
      launches;
  return launches[{kernel, grid.x, grid.y, grid.z, shape.x * shape.y * shape.z}]++;
}

void sb_host_run(const void *kernel, dim3 grid, dim3 shape, size_t shared,
                 const std::function<void()> &thread) {
  const bool launch_watched = is_one_of_some(alike_before(kernel, grid, shape));
  make_ready();
  body = &thread;
  place.launch++;
  place.block = 0;
  sb_host_grid_dim = grid;
  sb_host_block_dim = shape;
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x++) {
        sb_host_block_index = {x, y, z};
        memset(sb_host_shared, 0xff, shared);
        watched = launch_watched && is_one_of_some(place.block);
        run_block(shape);
        place.block++;
      }
}
