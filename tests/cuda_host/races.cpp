#include "tests/cuda_host/races.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <map>
#include <set>
#include <vector>

#include "tests/cuda_host/fibers.h"

extern "C" char __bss_start, _end; /* the linker's: variables that are zero at start */

namespace {

bool looking; /* some source reports its accesses */

enum kind : unsigned { READ, WRITE, ATOMIC };

/* An access to bytes of one word of four. */
struct access {
  uint32_t launch; /* 0: none */
  uint32_t block;
  unsigned thread : 10, bytes : 4, what : 2;
  uint32_t block_syncs, warp_syncs;
};

/* The last accesses to a word; those of more threads are forgotten one after another. */
struct word {
  access seen[4];
};

struct region {
  uintptr_t begin, end;
  word *words;
  size_t mapped;
};

std::vector<region>
    of_blocks; /* the dynamic one, and __shared__ variables, which are static ones here */
std::vector<region> of_device;
size_t latest[256]; /* of of_device: the one that a page belonged to; no page belongs to two */

/* Between blocks: at which atomic variables of this kernel a block left what it had done, and what
 * a block has come to know. */
struct {
  uint32_t launch, block;
  std::map<uintptr_t, std::set<uint32_t>> left;
  std::set<uint32_t> heard, known;
  std::set<uint32_t> fenced; /* threads of this block */
} between;

region make_region(uintptr_t begin, size_t bytes) {
  const size_t mapped = (bytes / 4 + 2) * sizeof(word);
  void *words = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (words == MAP_FAILED) sb_host_die("no memory to look for races");
  return {begin, begin + bytes, (word *)words, mapped};
}

/* During a kernel: before the first one there is no memory of blocks. */
const region *find(uintptr_t at, bool *shared) {
  if (of_blocks.empty()) {
    of_blocks.push_back(make_region((uintptr_t)sb_host_shared, SB_HOST_SHARED_BYTES));
    of_blocks.push_back(
        make_region((uintptr_t)&__bss_start / 4 * 4, (size_t)(&_end - &__bss_start) + 4));
  }
  *shared = true;
  for (const region &r : of_blocks)
    if (at >= r.begin && at < r.end) return &r;
  *shared = false;
  size_t &guess = latest[at >> 12 & 255];
  if (guess < of_device.size() && at >= of_device[guess].begin && at < of_device[guess].end)
    return &of_device[guess];
  for (size_t i = 0; i < of_device.size(); i++)
    if (at >= of_device[i].begin && at < of_device[i].end) {
      guess = i;
      return &of_device[i];
    }
  return NULL;
}

void at_block(const sb_host_place *here) {
  if (between.launch != here->launch) between.left.clear();
  if (between.launch == here->launch && between.block == here->block) return;
  between.launch = here->launch;
  between.block = here->block;
  between.heard.clear();
  between.known.clear();
  between.fenced.clear();
}

bool in_order(const access &before, const access &now) {
  if (before.launch != now.launch) return true;
  if (before.block != now.block) return between.known.count(before.block) > 0;
  if (before.thread == now.thread || before.block_syncs != now.block_syncs) return true;
  return before.thread / 32 == now.thread / 32 && before.warp_syncs != now.warp_syncs;
}

[[noreturn]] void report(const access &before, const access &now, const void *caller) {
  static const char *const names[] = {"reads", "writes", "changes atomically"},
                           *const past[] = {"read", "wrote", "changed atomically"};
  Dl_info info;
  const uintptr_t base = dladdr(caller, &info) ? (uintptr_t)info.dli_fbase : 0;
  char line[256];
  snprintf(
      line, sizeof line,
      "race: a thread %s what thread %u of block number %u %s, and nothing orders them (at %#zx)",
      names[now.what], (unsigned)before.thread, (unsigned)before.block, past[before.what],
      (size_t)((uintptr_t)caller - base));
  sb_host_die(line);
}

/* One word: compare, then keep it in place of one that it makes needless, or of the oldest. */
void touch(word *w, const access &now, bool shared, const void *caller) {
  int place = -1, oldest = 0;
  for (int i = 0; i < 4; i++) {
    const access &before = w->seen[i];
    if (before.launch != now.launch || (shared && before.block != now.block)) {
      place = i;
      continue;
    }
    if (before.block_syncs < w->seen[oldest].block_syncs) oldest = i;
    if (!(before.bytes & now.bytes)) continue;
    if ((before.what != now.what || now.what == WRITE) && !in_order(before, now))
      report(before, now, caller);
    if (before.thread == now.thread && before.block == now.block && before.bytes == now.bytes &&
        (before.what == now.what || now.what == WRITE))
      place = i;
  }
  w->seen[place >= 0 ? place : oldest] = now;
}

void record(const void *at, size_t bytes, kind what, const void *caller) {
  const sb_host_place *here = looking ? sb_host_here() : NULL;
  if (!here || bytes == 0 || sb_host_is_stack(at)) return;
  bool shared;
  const region *r = find((uintptr_t)at, &shared);
  if (!r) return;
  at_block(here);
  access now = {here->launch, here->block,       here->thread & 1023u, 0,
                what,         here->block_syncs, here->warp_syncs};
  size_t first = (uintptr_t)at - r->begin, end = first + bytes;
  while (first < end) {
    const size_t w = first / 4, until = end < 4 * w + 4 ? end : 4 * w + 4;
    now.bytes = 0;
    for (size_t i = first; i < until; i++) now.bytes |= 1u << (i % 4) & 15u;
    touch(&r->words[w], now, shared, caller);
    first = until;
  }
}

} // namespace

void sb_host_races_track(const void *memory, size_t bytes) {
  if (looking) of_device.push_back(make_region((uintptr_t)memory, bytes));
}

void sb_host_races_forget(const void *memory) {
  for (size_t i = 0; i < of_device.size(); i++)
    if (of_device[i].begin == (uintptr_t)memory) {
      munmap(of_device[i].words, of_device[i].mapped);
      of_device.erase(of_device.begin() + (long)i);
      return;
    }
}

void sb_host_races_read(const void *at, size_t bytes) {
  record(at, bytes, READ, __builtin_return_address(0));
}

void sb_host_races_write(const void *at, size_t bytes) {
  record(at, bytes, WRITE, __builtin_return_address(0));
}

void sb_host_races_atomic(const void *at, size_t bytes) {
  const sb_host_place *here = looking ? sb_host_here() : NULL;
  record(at, bytes, ATOMIC, __builtin_return_address(0));
  if (!here) return;
  at_block(here);
  std::set<uint32_t> &left = between.left[(uintptr_t)at];
  between.heard.insert(left.begin(), left.end());
  if (between.fenced.count(here->thread)) left.insert(here->block);
}

void sb_host_races_fence() {
  const sb_host_place *here = looking ? sb_host_here() : NULL;
  if (!here) return;
  at_block(here);
  between.fenced.insert(here->thread);
  between.known.insert(between.heard.begin(), between.heard.end());
}

/* ---- what the compiler calls ---- */
#define CALLS(bytes)                                                                               \
  extern "C" void __tsan_read##bytes(void *at) {                                                   \
    record(at, bytes, READ, __builtin_return_address(0));                                          \
  }                                                                                                \
  extern "C" void __tsan_write##bytes(void *at) {                                                  \
    record(at, bytes, WRITE, __builtin_return_address(0));                                         \
  }                                                                                                \
  extern "C" void __tsan_unaligned_read##bytes(void *at) {                                         \
    record(at, bytes, READ, __builtin_return_address(0));                                          \
  }                                                                                                \
  extern "C" void __tsan_unaligned_write##bytes(void *at) {                                        \
    record(at, bytes, WRITE, __builtin_return_address(0));                                         \
  }
CALLS(1)
CALLS(2)
CALLS(4)
CALLS(8)
CALLS(16)
extern "C" void __tsan_read_range(void *at, unsigned long bytes) {
  record(at, bytes, READ, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void *at, unsigned long bytes) {
  record(at, bytes, WRITE, __builtin_return_address(0));
}
extern "C" void __tsan_vptr_update(void *, void *) {}
extern "C" void __tsan_vptr_read(void *) {}
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit(void) {}
extern "C" void __tsan_init(void) {
  looking = true;
}
