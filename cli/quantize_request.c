#include "cli/quantize_request.h"

#include <math.h>

#include "alloc/size_budget.h"
#include "cli/quantize_readers.h"
#include "model/effective_bits.h"
#include "model/exl3.h"

const char *const sb_method_names[] = {[SB_METHOD_SCALEBITS] = "scalebits",
                                       [SB_METHOD_TABLE] = "table",
                                       [SB_METHOD_LAYER] = "layer",
                                       [SB_METHOD_RTN] = "rtn",
                                       NULL};
const char *const sb_quantizer_names[] = {
    [SB_QUANTIZER_RTN] = "rtn", [SB_QUANTIZER_GPTQ] = "gptq", NULL};
const char *const sb_codes_names[] = {
    [SB_CODES_GRID] = "grid", [SB_CODES_TRELLIS] = "trellis", NULL};
const char *const sb_trellis_states_names[] = {[SB_TRELLIS_STATES_12] = "12",
                                               [SB_TRELLIS_STATES_14] = "14",
                                               [SB_TRELLIS_STATES_16] = "16",
                                               NULL};
const char *const sb_scale_type_names[] = {
    [SB_SCALES_FP16] = "fp16", [SB_SCALES_BF16] = "bf16", [SB_SCALES_6BIT] = "6bit", NULL};
const char *const sb_yes_no_names[] = {[SB_NO] = "no", [SB_YES] = "yes", NULL};

/* With --size, what layers get is known when tables have their widths. Below this guess they may
 * get less than uniform 2 bits take, so 1 bit is among the widths. */
static const double SURE_OF_2_BITS = 3.0;

sb_quantize_request sb_quantize_defaults(void) {
  sb_quantize_request request = {.max_bits = 8,
                                 .tensor_parallel = 1,
                                 .trades = 8,
                                 .first_share = 0.03,
                                 .refine = SB_REFINE_PASSES,
                                 .round_seqs = 256,
                                 .level = 1,
                                 .common = SB_COMMON_DEFAULTS};
  request.common.calibrates = true;
  return request;
}

/* Widths of the tables that are not given: chosen where a size is the budget of everything, or
 * where sensitivities are known. */
static void choose_tables(sb_quantize_request *r, bool calibrates) {
  const bool chosen = r->widths_for != SB_WIDTHS_FOR_EXL3 &&
                      (r->size.bytes > 0 || (calibrates && r->method != SB_METHOD_RTN));
  const sb_width_rules *rules = sb_width_rules_for(r->widths_for);
  if (!r->given.embed_bits) r->embed_bits = chosen && rules->embed ? 0 : SB_SOURCE_BITS;
  if (!r->given.head_bits) r->head_bits = chosen && rules->head ? 0 : SB_SOURCE_BITS;
}

static void choose_search(sb_quantize_request *r) {
  if (!r->given.estimator)
    r->estimator = r->codes == SB_CODES_GRID && r->quantizer == SB_QUANTIZER_GPTQ
                       ? SB_ESTIMATOR_FISHER
                       : SB_ESTIMATOR_DIVERGENCE;
  const bool from_costs = r->estimator == SB_ESTIMATOR_DIVERGENCE ||
                          (r->method == SB_METHOD_SCALEBITS && sb_quantize_for_server(r));
  if (!r->given.strides) r->strides = from_costs && r->start_bits == 0 ? 0 : 2;
  if (r->codes == SB_CODES_GRID) return;
  r->refine = 0;              /* it moves levels of grids */
  r->strides = r->trades = 0; /* alloc/allocate_trellis.h */
  if (r->min_bits == 0) r->min_bits = 1;
}

static void choose_open(sb_quantize_request *r, bool calibrates) {
  const bool learns = calibrates && r->method != SB_METHOD_RTN;
  const bool sorted = r->method == SB_METHOD_SCALEBITS || r->method == SB_METHOD_TABLE ||
                      (learns && sb_quantize_for_server(r));
  if (!r->given.quantizer) r->quantizer = learns ? SB_QUANTIZER_GPTQ : SB_QUANTIZER_RTN;
  if (!r->given.tune_seqs) r->tune_seqs = r->quantizer == SB_QUANTIZER_GPTQ ? r->round_seqs : 0;
  if (!r->given.tune_epochs) r->tune_epochs = r->codes == SB_CODES_TRELLIS ? 2 : 1;
  if (!r->given.tune_norms) r->tune_norms = r->codes == SB_CODES_TRELLIS ? SB_YES : SB_NO;
  if (!r->given.reorder) r->reorder = sorted ? SB_REORDER_FUSED : SB_REORDER_NONE;
  if (r->grid == SB_GRID_AUTO)
    r->grid = learns && r->codes == SB_CODES_GRID ? SB_GRID_FITTED : SB_GRID_PLAIN;
  choose_tables(r, calibrates);
  choose_search(r);
}

static bool needs_tokens(const sb_quantize_request *r) {
  const bool searches = r->method != SB_METHOD_RTN && !r->allocation;
  const bool reorders = r->reorder != SB_REORDER_NONE && !r->allocation;
  return searches || reorders || r->quantizer == SB_QUANTIZER_GPTQ || r->grid == SB_GRID_FITTED ||
         r->tune_seqs > 0;
}

bool sb_quantize_fits_tables(const sb_quantize_request *r) {
  return r->grid == SB_GRID_FITTED || r->codes == SB_CODES_TRELLIS;
}

int sb_quantize_table_refine(const sb_quantize_request *r) {
  return r->codes == SB_CODES_TRELLIS ? SB_REFINE_PASSES : r->refine;
}

sb_code_kind sb_quantize_code_kind(const sb_quantize_request *r) {
  static const sb_code_kind trellises[] = {[SB_TRELLIS_STATES_12] = SB_TRELLIS_12,
                                           [SB_TRELLIS_STATES_14] = SB_TRELLIS_14,
                                           [SB_TRELLIS_STATES_16] = SB_TRELLIS_16};
  if (r->widths_for == SB_WIDTHS_FOR_EXL3) return SB_TRELLIS_EXL3;
  if (r->codes == SB_CODES_TRELLIS) return trellises[r->trellis_states];
  return sb_grid_with_scales(r->grid_kind, r->scale_type);
}

sb_trained sb_quantize_trained(const sb_quantize_request *r, const unsigned table_bits[SB_TABLES]) {
  sb_trained out = {.norms = r->tune_norms == SB_YES};
  for (int i = 0; i < SB_TABLES; i++)
    out.tables[i] = r->tune_tables == SB_YES && table_bits[i] < SB_SOURCE_BITS;
  return out;
}

size_t sb_quantize_roundings(const sb_quantize_request *r) {
  if (r->codes == SB_CODES_GRID || r->allocation) return 1;
  return r->method == SB_METHOD_SCALEBITS ? 3 : r->method == SB_METHOD_LAYER ? 2 : 1;
}

/* EXL3 leaves less to choose: what is open follows from it, what was chosen otherwise is refused.
 */
static sb_status settle_exl3(sb_quantize_request *r, const char *command) {
  if (r->widths_for != SB_WIDTHS_FOR_EXL3) return SB_OK;
  if (r->given.codes && r->codes != SB_CODES_TRELLIS)
    return sb_fail(SB_ERR_USAGE, "%s: --widths-for exl3 is of --codes trellis, not of grids",
                   command);
  if (r->given.trellis_states)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --trellis-states %s does not go with --widths-for exl3, whose trellis has "
                   "2^16 states",
                   command, sb_trellis_states_names[r->trellis_states]);
  if (r->given.method && r->method != SB_METHOD_LAYER && r->method != SB_METHOD_RTN)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --method %s gives each block a width, and --widths-for exl3 has one for "
                   "each matrix: choose %s or %s",
                   command, sb_method_names[r->method], sb_method_names[SB_METHOD_LAYER],
                   sb_method_names[SB_METHOD_RTN]);
  if (r->reorder == SB_REORDER_INDEXED)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --reorder indexed does not go with --widths-for exl3, which has no place "
                   "for orders; fused needs none",
                   command);
  for (int side = 0; side < 2; side++)
    if (r->common.block[side] % SB_EXL3_RUN != 0)
      return sb_fail(SB_ERR_USAGE,
                     "%s: --block %zux%zu does not go with --widths-for exl3, whose transforms "
                     "want multiples of %d",
                     command, r->common.block[0], r->common.block[1], SB_EXL3_RUN);
  r->codes = SB_CODES_TRELLIS;
  if (!r->given.method) r->method = SB_METHOD_LAYER;
  return SB_OK;
}

/* The kind of grids: --symmetric is a short form, and signed grids begin at 2 bits. */
static sb_status settle_grids(sb_quantize_request *r, const char *command) {
  if (r->symmetric && r->given.grid_kind && r->grid_kind != SB_GRID_SYMMETRIC)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --symmetric and --grid-kind %s contradict each other: drop one", command,
                   sb_grid_kind_names[r->grid_kind]);
  if (r->symmetric) r->grid_kind = SB_GRID_SYMMETRIC;
  if (r->codes != SB_CODES_GRID) return SB_OK;
  if (!sb_grid_may_have_scales(r->grid_kind, r->scale_type))
    return sb_fail(SB_ERR_USAGE,
                   "%s: --scale-type %s has no sign, as scales of --grid-kind %s need; choose fp16 "
                   "or bf16, or asymmetric or symmetric grids",
                   command, sb_scale_type_names[r->scale_type], sb_grid_kind_names[r->grid_kind]);
  if (r->grid_kind != SB_GRID_SIGNED) return SB_OK;
  if (r->min_bits == 1 || r->embed_bits == 1 || r->head_bits == 1 || r->max_bits == 1)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --grid-kind signed has at least 2 bits: with 1 it would have a level at 0 "
                   "and one beside it; choose 2, or --grid-kind symmetric",
                   command);
  if (r->min_bits == 0) r->min_bits = 2;
  return SB_OK;
}

/* What speaks of grids does not go with trellises, and the other way about. */
static sb_status check_codes(const sb_quantize_request *r, const char *command) {
  if (r->codes == SB_CODES_GRID)
    return r->given.trellis_states
               ? sb_fail(SB_ERR_USAGE,
                         "%s: --trellis-states is of --codes trellis, and codes are of grids",
                         command)
               : SB_OK;
  if (r->symmetric)
    return sb_fail(SB_ERR_USAGE, "%s: --symmetric is of grids, which --codes trellis has not",
                   command);
  if (r->given.grid_kind || r->given.scale_type)
    return sb_fail(SB_ERR_USAGE, "%s: --%s is of grids, which --codes trellis has not", command,
                   r->given.grid_kind ? "grid-kind" : "scale-type");
  if (r->grid != SB_GRID_AUTO)
    return sb_fail(SB_ERR_USAGE, "%s: --grid %s is of grids, which --codes trellis has not",
                   command, sb_grid_names[r->grid]);
  if (r->given.strides || r->given.trades || r->start_bits != 0)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --strides, --trades and --start-bits are of --codes grid: with trellis the "
                   "costs of all widths are known at once",
                   command);
  if (r->given.first_share)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --trade-share is of trades, which --codes trellis has not: the costs of "
                   "all widths are known at once",
                   command);
  if (r->given.refine)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --refine moves levels of grids, which --codes trellis has not", command);
  if (r->given.estimator && !sb_estimator_of_trellis(r->estimator))
    return sb_fail(SB_ERR_USAGE,
                   "%s: --sensitivity %s looks at single roundings, and errors of --codes trellis "
                   "are known as a whole: choose %s or %s",
                   command, sb_estimator_names[r->estimator],
                   sb_estimator_names[SB_ESTIMATOR_DIVERGENCE],
                   sb_estimator_names[SB_ESTIMATOR_DIAGONAL]);
  return SB_OK;
}

static sb_status check_width(const char *command, const char *option, unsigned bits,
                             sb_widths_for widths_for) {
  if (bits > SB_MAX_BITS && bits != SB_SOURCE_BITS)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --%s %u: 1 to %d bits are expected, or %d, which leaves it as it is",
                   command, option, bits, SB_MAX_BITS, SB_SOURCE_BITS);
  if (bits < SB_SOURCE_BITS && widths_for == SB_WIDTHS_FOR_EXL3)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --%s %u does not go with --widths-for exl3, which takes embedding and head "
                   "as they are: %d",
                   command, option, bits, SB_SOURCE_BITS);
  return SB_OK;
}

static sb_status check_sizes(const sb_quantize_request *r, const char *command) {
  if (r->given.bits && r->size.bytes > 0)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --bits is the budget of the layers, --size that of the whole file: give "
                   "one of them",
                   command);
  if (r->bits == 0.0 && r->size.bytes == 0)
    return sb_fail(SB_ERR_USAGE, "%s: --bits B or --size SIZE is missing", command);
  if (r->given.embed_bits) SB_TRY(check_width(command, "embed-bits", r->embed_bits, r->widths_for));
  if (r->given.head_bits) SB_TRY(check_width(command, "head-bits", r->head_bits, r->widths_for));
  return SB_OK;
}

/* Options of a training that there is not would be idle. */
static sb_status check_tuning(const sb_quantize_request *r, const char *command) {
  const struct {
    bool given;
    const char *name;
  } options[] = {{r->given.tune_batch, "batch"},
                 {r->given.tune_rate, "rate"},
                 {r->given.tune_epochs, "epochs"},
                 {r->given.tune_norms, "norms"},
                 {r->given.tune_tables, "tables"}};
  for (size_t i = 0; r->tune_seqs == 0 && i < sizeof options / sizeof *options; i++)
    if (options[i].given)
      return sb_fail(SB_ERR_USAGE,
                     "%s: --tune-%s is of the training of scales, which --tune-seqs 0%s leaves "
                     "out: give --tune-seqs N, or leave it away",
                     command, options[i].name,
                     r->given.tune_seqs ? "" : ", the default with --quantizer rtn,");
  if (r->given.tune_tables && r->tune_tables == SB_YES && r->embed_bits == SB_SOURCE_BITS &&
      r->head_bits == SB_SOURCE_BITS)
    return sb_fail(
        SB_ERR_USAGE,
        "%s: --tune-tables yes trains the scales of embedding and LM head, which stay as "
        "they are: give them widths (--embed-bits, --head-bits)",
        command);
  return SB_OK;
}

sb_status sb_quantize_settle(sb_quantize_request *r, const char *command, bool calibrates) {
  if (r->min_bits > r->max_bits)
    return sb_fail(SB_ERR_USAGE, "%s: --min-bits %u is above --max-bits %u", command, r->min_bits,
                   r->max_bits);
  SB_TRY(check_sizes(r, command));
  SB_TRY(settle_exl3(r, command));
  SB_TRY(sb_quantize_settle_reader(r, command));
  SB_TRY(check_codes(r, command));
  SB_TRY(settle_grids(r, command));
  choose_open(r, calibrates);
  SB_TRY(check_tuning(r, command));
  if (r->start_bits != 0 && r->strides == 0)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --start-bits is where --strides start from, and --strides 0 takes none",
                   command);
  if (!calibrates && needs_tokens(r))
    return sb_fail(SB_ERR_USAGE,
                   "%s: --calib TOKENS is needed (only --method rtn with --quantizer rtn, --grid "
                   "plain, --reorder none and --tune-seqs 0 do without)",
                   command);
  return SB_OK;
}

sb_status sb_quantize_table_bits(const sb_quantize_request *r, const char *command, bool tied,
                                 unsigned out[SB_TABLES]) {
  if (tied && r->given.embed_bits && r->given.head_bits && r->embed_bits != r->head_bits)
    return sb_fail(SB_ERR_USAGE,
                   "%s: --embed-bits %u and --head-bits %u: the LM head of %s is tied to its "
                   "embedding, so they have one width; give one of them",
                   command, r->embed_bits, r->head_bits, r->model);
  out[0] = tied && r->given.head_bits ? r->head_bits : r->embed_bits;
  out[1] = tied ? SB_SOURCE_BITS : r->head_bits;
  return SB_OK;
}

void sb_quantize_guess_tables(double bits, unsigned table_bits[SB_TABLES]) {
  const unsigned guess = (unsigned)ceil(bits) + SB_TABLE_LEAD;
  for (int i = 0; i < SB_TABLES; i++)
    if (table_bits[i] == 0) table_bits[i] = guess < SB_MAX_BITS ? guess : SB_MAX_BITS;
}

/* On grids one bit a block serves only budgets that leave no choice: rounded to nearest, it costs
 * more than it saves. */
void sb_quantize_choose_least(sb_quantize_request *r, const sb_arch *arch) {
  const size_t rows = r->common.block[0], cols = r->common.block[1];
  if (r->min_bits == 0) {
    const double orders = 8.0 * (double)sb_orders_stored_bytes(arch, r->reorder, rows, cols) /
                          (double)arch->linear_parameters;
    const double two =
        sb_effective_bits_uniform(arch, rows, cols, 2, sb_quantize_code_kind(r)) + orders;
    r->min_bits = r->bits < two ? 1 : 2;
  }
  r->min_bits = sb_width_at_least(sb_width_rules_for(r->widths_for)->widths, r->min_bits);
  if (r->min_bits > r->max_bits) r->min_bits = r->max_bits;
}

sb_budget sb_quantize_budget(const sb_quantize_request *r) {
  return (sb_budget){r->bits, r->min_bits, r->max_bits, sb_quantize_scope(r)};
}

sb_size_budget sb_quantize_size_budget(const sb_quantize_request *r,
                                       const unsigned table_bits[SB_TABLES]) {
  const sb_budget layers = sb_quantize_budget(r);
  return (sb_size_budget){.size = r->size,
                          .min_bits = layers.min_bits > 0 ? layers.min_bits : 1,
                          .max_bits = layers.max_bits,
                          .scope = layers.scope,
                          .table_bits = {table_bits[0], table_bits[1]},
                          .widths = sb_quantize_widths(r),
                          .table_widths = sb_quantize_table_widths(r)};
}

sb_status sb_quantize_settle_budget(sb_quantize_request *r, const sb_file_shape *shape,
                                    const unsigned table_bits[SB_TABLES]) {
  if (r->size.bytes == 0) {
    sb_quantize_choose_least(r, shape->arch);
    if (r->method == SB_METHOD_RTN)
      return SB_OK; /* its largest width is within any larger budget */
    const sb_budget budget = sb_quantize_budget(r);
    return sb_budget_check(shape->arch, &shape->blocking, r->reorder, &budget);
  }
  sb_size_budget budget = sb_quantize_size_budget(r, table_bits);
  const bool open = r->min_bits == 0; /* then the range is that of the least widths */
  r->bits = sb_size_guess(shape, &budget);
  if (open) r->min_bits = r->bits < SURE_OF_2_BITS ? 1 : 2;
  if (r->min_bits > r->max_bits) r->min_bits = r->max_bits;
  budget.min_bits = open ? SB_MIN_BITS : r->min_bits;
  return sb_size_check(shape, &budget);
}
