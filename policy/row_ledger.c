#include "policy/row_ledger.h"

#include "base/check.h"
#include "base/memory.h"
#include "model/arch.h"

sb_status sb_row_ledger_create(sb_backend *b, size_t room, sb_row_ledger *l) {
  *l = (sb_row_ledger){.backend = b, .room = room};
  SB_TRY(b->op->alloc(b, room * sizeof *l->sums, "sums of errors", (void **)&l->sums_dev));
  if (b->unified) l->sums = l->sums_dev;
  return b->unified ? SB_OK : sb_alloc(&l->sums, room, sizeof *l->sums, "sums of errors");
}

void sb_row_ledger_free(sb_row_ledger *l) {
  sb_backend *b = l->backend;
  if (!b) return;
  if (!b->unified) sb_free(&l->sums);
  b->op->free(b, l->sums_dev);
  l->sums = l->sums_dev = NULL;
}

sb_status sb_row_ledger_queue(sb_row_ledger *l, sb_stream stream, sb_row_products_args args,
                              size_t *at) {
  SB_ASSERT(l->used + args.pair_count * args.rows <= l->room);
  *at = l->used;
  args.out = l->sums_dev + l->used;
  l->used += args.pair_count * args.rows;
  return l->backend->op->row_products(l->backend, stream, &args);
}

void sb_row_ledger_product(sb_row_ledger *l, size_t left, size_t right, size_t rows, double scale,
                           double *target) {
  SB_ASSERT(l->count < SB_LEDGER_ENTRIES);
  l->entries[l->count].left = left;
  l->entries[l->count].right = right;
  l->entries[l->count].rows = rows;
  l->entries[l->count].scale = scale;
  l->entries[l->count].target = target;
  l->count++;
}

void sb_row_ledger_sum(sb_row_ledger *l, size_t left, size_t rows, double scale, double *target) {
  sb_row_ledger_product(l, left, SB_NONE, rows, scale, target);
}

sb_status sb_row_ledger_settle(sb_row_ledger *l, sb_stream stream) {
  sb_backend *b = l->backend;
  SB_TRY(b->op->download(b, stream, l->sums, l->sums_dev, l->used * sizeof *l->sums));
  SB_TRY(b->op->sync(b, stream));
  for (size_t e = 0; e < l->count; e++) {
    const double *left = l->sums + l->entries[e].left;
    const double *right = l->entries[e].right == SB_NONE ? NULL : l->sums + l->entries[e].right;
    double sum = 0;
    for (size_t r = 0; r < l->entries[e].rows; r++) sum += right ? left[r] * right[r] : left[r];
    *l->entries[e].target += l->entries[e].scale * sum;
  }
  l->used = l->count = 0;
  return SB_OK;
}
