/* How fast a GEMM runs at a precision, as a multiple of its speed in bf16: what predicted times are
 * made of. Local.
 *
 *   name    fp8-tensor  fp8-128  mxfp8  nvfp4, mxfp4, fp4-128  source
 *   theory  2           2        2      4                      peak rates of tensor cores
 *   b300    -           -        1.44   2.03 (nvfp4 alone)     a 5B model's training, measured
 *   h200    1.57        1.41     -      -                      the same
 *
 * or a file, whose "linears" say what differs by name (shell patterns; the first that matches and
 * has the precision counts):
 *
 *   {"format": "shardbits-rates", "version": 1, "rates": {"nvfp4": 3.1, "fp8-128": 1.6},
 *    "linears": {"*.o_proj": {"nvfp4": 0.95}}}
 *
 * Times are whole numbers: a GEMM of w multiply-adds per token takes `w round(2^16 / rate)`. So
 * they are added exactly, and a table's rates are kept to 5 digits. */
#ifndef SB_POLICY_RATES_H
#define SB_POLICY_RATES_H

#include <jansson.h>
#include <stdint.h>

#include "kernels/lowprec.h"
#include "policy/linears.h"

typedef struct sb_rates {
  const char *name;                /* of a table above, or the path; borrowed */
  double rate[SB_PRECISION_COUNT]; /* 1 for the high precision; 0: not known */
  json_t *linears;                 /* of a file, or NULL */
} sb_rates;

extern const char *const sb_rates_names[]; /* of the tables; NULL behind the last */

/* A table by name, or a file. SB_ERR_IO, SB_ERR_FORMAT. Release with sb_rates_free. */
sb_status sb_rates_read(const char *name, sb_rates *out);
void sb_rates_free(sb_rates *rates);

/* The time of one GEMM of a linear. SB_ERR_RANGE, with the way out, for a rate that is not known.
 * O(patterns). */
sb_status sb_rates_time(const sb_rates *rates, const sb_linear *linear, sb_precision precision,
                        uint64_t *time);

#endif
