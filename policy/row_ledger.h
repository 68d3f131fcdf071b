/* Sums over rows that a device makes (kernels/ops/rows.h), and what the host makes of them: work is
 * queued for a whole matrix, then settled with one transfer. Local. */
#ifndef SB_POLICY_ROW_LEDGER_H
#define SB_POLICY_ROW_LEDGER_H

#include <stddef.h>

#include "base/status.h"
#include "kernels/backend.h"

enum { SB_LEDGER_ENTRIES = 160 };

typedef struct sb_row_ledger {
  sb_backend *backend;
  double *sums_dev, *sums; /* [room], equal on a unified backend */
  size_t room, used;
  struct {
    size_t left, right, rows; /* where row sums begin; right may be SB_NONE */
    double scale, *target;
  } entries[SB_LEDGER_ENTRIES];
  size_t count;
} sb_row_ledger;

/* Room for `room` row sums between two settlements. SB_ERR_MEMORY. sb_row_ledger_free also releases
 * what a failed call has allocated. */
sb_status sb_row_ledger_create(sb_backend *backend, size_t room, sb_row_ledger *out);
void sb_row_ledger_free(sb_row_ledger *ledger);

/* Queues the products of `args`, whose `out` is the ledger's; *at = where the first pair's row sums
 * begin, args->rows of each. */
sb_status sb_row_ledger_queue(sb_row_ledger *ledger, sb_stream stream, sb_row_products_args args,
                              size_t *at);

/* When the ledger is settled, *target += scale times the sum over rows of
 *
 *   sb_row_ledger_sum       left[row]
 *   sb_row_ledger_product   left[row] right[row]
 *
 * in the order of rows. */
void sb_row_ledger_sum(sb_row_ledger *ledger, size_t left, size_t rows, double scale,
                       double *target);
void sb_row_ledger_product(sb_row_ledger *ledger, size_t left, size_t right, size_t rows,
                           double scale, double *target);

/* Waits for the queued products, does what is due, and forgets all. */
sb_status sb_row_ledger_settle(sb_row_ledger *ledger, sb_stream stream);

#endif
