/* Linked into a program by --wrap, fails one allocation of one rank: the first one at the k-th
 * place in the code that allocates, counted as the rank comes to them. SHARDBITS_TEST_FAIL=K:RANK.
 * With K:RANK:again all later ones at that place fail, too. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

sb_status __real_sb_alloc(void *out_pointer, size_t count, size_t size, const char *what);
sb_status __real_sb_alloc_raw(void *out_pointer, size_t count, size_t size, const char *what);
sb_status __wrap_sb_alloc(void *out_pointer, size_t count, size_t size, const char *what);
sb_status __wrap_sb_alloc_raw(void *out_pointer, size_t count, size_t size, const char *what);

enum { MOST = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const void *places[MOST];
static int seen, wanted = -1;
static bool again;

/* 0: this rank fails nothing. */
static int place_to_fail(void) {
  const char *text = getenv("SHARDBITS_TEST_FAIL"), *mine = getenv("OMPI_COMM_WORLD_RANK");
  int k = 0, rank = -1;
  char word[8] = "";
  if (!text || sscanf(text, "%d:%d:%7s", &k, &rank, word) < 2) return 0;
  again = strcmp(word, "again") == 0;
  return rank == (mine ? atoi(mine) : 0) ? k : 0;
}

static bool fails(const void *place) {
  bool failing = false;
  pthread_mutex_lock(&lock);
  if (wanted < 0) wanted = place_to_fail();
  int i = 0;
  while (i < seen && places[i] != place) i++;
  if (wanted > 0 && i < MOST && (i == seen || again)) failing = i + 1 == wanted;
  if (i == seen && seen < MOST) places[seen++] = place;
  pthread_mutex_unlock(&lock);
  return failing;
}

static sb_status refuse(void *out_pointer, const char *what) {
  memset(out_pointer, 0, sizeof(void *));
  return sb_fail(SB_ERR_MEMORY, "%s: could not be allocated, as the test wants it", what);
}

sb_status __wrap_sb_alloc(void *out_pointer, size_t count, size_t size, const char *what) {
  if (fails(__builtin_return_address(0))) return refuse(out_pointer, what);
  return __real_sb_alloc(out_pointer, count, size, what);
}

sb_status __wrap_sb_alloc_raw(void *out_pointer, size_t count, size_t size, const char *what) {
  if (fails(__builtin_return_address(0))) return refuse(out_pointer, what);
  return __real_sb_alloc_raw(out_pointer, count, size, what);
}
