/* The fields of what the command line of `quantize` asks for. cli/quantize_request.h fills them. */
#ifndef SB_CLI_QUANTIZE_ASKED_H
#define SB_CLI_QUANTIZE_ASKED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/byte_size.h"
#include "cli/common.h"
#include "kernels/shared/grid_types.h"
#include "model/model.h"
#include "model/width_rules.h"
#include "quant/moments.h"
#include "sensitivity/channels.h"
#include "sensitivity/estimator.h"

/* The ways to find bits. */
typedef enum sb_method {
  SB_METHOD_SCALEBITS, /* a search */
  SB_METHOD_TABLE,     /* a width for each block, at once */
  SB_METHOD_LAYER,     /* a width for each matrix, at once */
  SB_METHOD_RTN        /* one width for all */
} sb_method;
extern const char *const sb_method_names[]; /* NULL behind the last, as in all tables of names */

/* The ways to round weights to the bits found. */
typedef enum sb_quantizer { SB_QUANTIZER_RTN, SB_QUANTIZER_GPTQ } sb_quantizer;
extern const char *const sb_quantizer_names[];

/* What codes stand for: levels of grids, or steps of a walk over the states of a trellis. */
typedef enum sb_codes { SB_CODES_GRID, SB_CODES_TRELLIS } sb_codes;
extern const char *const sb_codes_names[];

/* The types of scales, by sb_scale_type. */
extern const char *const sb_scale_type_names[];

/* The states of a trellis, as the power of two. */
typedef enum sb_trellis_states {
  SB_TRELLIS_STATES_12,
  SB_TRELLIS_STATES_14,
  SB_TRELLIS_STATES_16
} sb_trellis_states;
extern const char *const sb_trellis_states_names[];

typedef enum sb_yes_no { SB_NO, SB_YES } sb_yes_no;
extern const char *const sb_yes_no_names[];

typedef struct sb_quantize_request {
  const char *model, *calib, *out;
  const char *allocation, *checkpoint; /* NULL: none */
  double bits;       /* effective bits of the layers; with --size a guess until they are chosen */
  sb_byte_size size; /* of the weights that are written; 0 bytes: --bits counts */
  sb_codes codes;
  sb_trellis_states trellis_states;
  sb_widths_for widths_for;
  size_t tensor_parallel; /* ranks of the server among which matrices are cut */
  sb_method method;
  sb_grid_choice grid;
  sb_reorder reorder;
  sb_channel_score channel_score;
  sb_code_kind grid_kind; /* SB_GRID_ASYMMETRIC, _SYMMETRIC, _SIGNED or _BY_WIDTH */
  sb_scale_type scale_type;
  bool symmetric, overwrite; /* symmetric: another way to give grid_kind */
  int level;                 /* of zstd */

  sb_estimator estimator;
  unsigned min_bits, max_bits, start_bits; /* min 0: as the budget asks; start 0: just above it */
  unsigned embed_bits, head_bits; /* of the tables of the vocabulary: 0 chosen; SB_SOURCE_BITS as
                                     they are */
  int strides, trades;
  double first_share;
  size_t check_seqs;

  sb_quantizer quantizer;
  sb_factor_mode factor;
  int refine; /* passes */
  size_t round_seqs;

  size_t tune_seqs, tune_batch; /* batch 0: sb_tune_batch (quant/tune_scales.h) */
  double tune_rate;             /* 0: sb_tune_rate */
  int tune_epochs;
  sb_yes_no tune_norms, tune_tables; /* trained beside the scales of layers */

  struct {
    bool bits, embed_bits, head_bits, codes, trellis_states, grid_kind, scale_type, method,
        quantizer, reorder, estimator, strides, trades, first_share, refine, tune_seqs, tune_batch,
        tune_rate, tune_epochs, tune_norms, tune_tables;
  } given; /* on the command line; else sb_quantize_settle chooses */
  sb_common common;
} sb_quantize_request;

#endif
