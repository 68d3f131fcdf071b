#include "mpi/select.h"

#include "base/memory.h"
#include "base/trace.h"
#include "mpi/large.h"
#include "mpi/world.h"

enum { BIN_BITS = 13, BINS = 1 << BIN_BITS };

/* The items still in question on this rank. All of them come before or after every decided
 * item as a whole. */
typedef struct candidates {
  const uint64_t *values; /* ordered ascending by values[i] ^ flip */
  uint64_t flip;
  const uint64_t *weights;
  size_t *index; /* positions of the candidates; NULL: all positions */
  size_t count;
  uint64_t taken_weight, taken_count; /* decided and taken, on this rank */
} candidates;

static inline size_t position(const candidates *c, size_t i) {
  return c->index ? c->index[i] : i;
}

/* Smallest and largest value over all ranks, and whether some rank has failed. Collective. */
static sb_status value_range(const candidates *c, sb_status mine, MPI_Comm comm, uint64_t *low,
                             uint64_t *high) {
  uint64_t smallest = UINT64_MAX, largest = 0, all[3];
  for (size_t i = 0; i < c->count; i++) {
    const uint64_t value = c->values[position(c, i)] ^ c->flip;
    smallest = value < smallest ? value : smallest;
    largest = value > largest ? value : largest;
  }
  all[0] = ~smallest;
  all[1] = largest;
  all[2] = mine != SB_OK;
  SB_TRY(sb_mpi_max_u64(all, 3, comm));
  *low = ~all[0];
  *high = all[1];
  if (mine != SB_OK) return mine;
  return all[2] ? sb_fail(SB_ERR_MEMORY,
                          "selection: another rank ran out of memory; use more ranks or nodes")
                : SB_OK;
}

static int bits_of(uint64_t value) {
  return value ? 64 - __builtin_clzll(value) : 0;
}

/* Keeps the candidates of interval `cut`; those before it are taken. Local. */
static sb_status keep_interval(candidates *c, uint64_t low, int shift, uint64_t cut, size_t keep) {
  size_t *kept = c->index;
  size_t n = 0;
  if (!kept) SB_TRY(sb_alloc_raw(&kept, keep, sizeof *kept, "candidates of a selection"));
  for (size_t i = 0; i < c->count; i++) {
    const size_t at = position(c, i);
    const uint64_t bin = ((c->values[at] ^ c->flip) - low) >> shift;
    if (bin == cut) {
      kept[n++] = at; /* n <= i: in place when the list exists */
    } else if (bin < cut) {
      c->taken_weight += c->weights[at];
      c->taken_count++;
    }
  }
  c->index = kept;
  c->count = n;
  return SB_OK;
}

/* Narrows the candidates to those of one value: the value of the first item that does not fit into
 * *left. Takes what comes before it and lowers *left accordingly. Candidates' total weight must
 * exceed *left. Collective. */
static sb_status narrow(candidates *c, uint64_t *left, uint64_t *histogram, MPI_Comm comm,
                        uint64_t *value) {
  sb_status mine = SB_OK;
  for (;;) {
    uint64_t low, high, cut = 0, own = 0;
    int shift;
    SB_TRY(value_range(c, mine, comm, &low, &high));
    if (low == high) {
      *value = low ^ c->flip;
      return SB_OK;
    }
    shift = bits_of(high - low) > BIN_BITS ? bits_of(high - low) - BIN_BITS : 0;
    memset(histogram, 0, BINS * sizeof *histogram);
    for (size_t i = 0; i < c->count; i++) {
      const size_t at = position(c, i);
      histogram[((c->values[at] ^ c->flip) - low) >> shift] += c->weights[at];
    }
    SB_TRY(sb_mpi_sum_u64(histogram, BINS, comm));
    while (cut < BINS && histogram[cut] <= *left) *left -= histogram[cut++];
    if (cut == BINS)
      return sb_fail(SB_ERR_INTERNAL,
                     "selection: the weights changed while they were being selected");
    for (size_t i = 0; !c->index && i < c->count; i++)
      own += ((c->values[i] ^ c->flip) - low) >> shift == cut;
    mine = keep_interval(c, low, shift, cut, own);
    if (mine != SB_OK) c->count = 0;
  }
}

/* Total weight and number of items over all ranks; refuses weights the
 * method cannot add. Collective. */
static sb_status totals(const uint64_t *weights, size_t n, MPI_Comm comm, uint64_t *weight,
                        uint64_t *count) {
  uint64_t sum = 0, all[4] = {0}; /* faults, items, high and low halves of the weight */
  for (size_t i = 0; i < n; i++) {
    all[0] += weights[i] == 0;
    all[0] += __builtin_add_overflow(sum, weights[i], &sum);
  }
  all[1] = n;
  all[2] = sum >> 32;
  all[3] = sum & UINT32_MAX;
  SB_TRY(sb_mpi_sum_u64(all, 4, comm));
  all[2] += all[3] >> 32;
  if (all[0] || all[2] >> 31)
    return sb_fail(SB_ERR_INTERNAL,
                   "selection: weights must be positive and add up to less than 2^63");
  *weight = all[2] << 32 | (all[3] & UINT32_MAX);
  *count = all[1];
  return SB_OK;
}

sb_status sb_select_prefix(const uint64_t *keys, const uint64_t *ids, const uint64_t *weights,
                           size_t n, uint64_t budget, MPI_Comm comm, sb_selection *out) {
  SB_SPAN(SB_TRACE_EXCHANGE, "select", SB_TRACE_NONE);
  candidates c = {.values = keys, .flip = UINT64_MAX, .weights = weights, .count = n};
  uint64_t *histogram = NULL;
  uint64_t left = budget, final[3], total = 0, count = 0;
  sb_status status;
  *out = (sb_selection){0};
  SB_GO(totals(weights, n, comm, &total, &count));
  if (total <= budget) {
    *out = (sb_selection){.all = true, .taken_weight = total, .taken_count = count};
    return SB_OK;
  }
  SB_GO(sb_comm_agree(
      comm, sb_alloc_raw(&histogram, BINS, sizeof *histogram, "histogram of a selection")));
  SB_GO(narrow(&c, &left, histogram, comm, &out->key)); /* best key first: ascending complement */
  c.values = ids;
  c.flip = 0;
  SB_GO(narrow(&c, &left, histogram, comm, &out->id));
  final[0] = c.taken_weight;
  final[1] = c.taken_count;
  final[2] = c.count;
  SB_GO(sb_mpi_sum_u64(final, 3, comm));
  out->taken_weight = final[0];
  out->taken_count = final[1];
  if (final[2] != 1)
    SB_GO(sb_fail(SB_ERR_INTERNAL, "selection: %llu items share id %llu",
                  (unsigned long long) final[2], (unsigned long long)out->id));
done:
  sb_free(&c.index);
  sb_free(&histogram);
  return status;
}
