#include "measure/phases.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/blockrow.h"
#include "measure/numbers.h"
#include "measure/round_phases.h"
#include "measure/timing.h"
#include "measure/trellis_phases.h"
#include "measure/zstd_rates.h"
#include "model/rope_table.h"
#include "pass/device_layer.h"
#include "pass/layer.h"
#include "quant/moments.h"

enum { BITS = SB_ROUND_PHASES_BITS };

typedef struct phases {
  sb_model *m;
  sb_backend *b;
  size_t T, group;
  sb_device_layer *prepared;
  sb_layer_work *work;
  float *cos_sin;
  void *x, *y;           /* device, activations: [T, hidden] */
  void *wide;            /* device, operands: [T, widest input] */
  float *product;        /* device: the largest of a matrix' gradient and a panel of X'X */
  void *rounded;         /* device, operands: of the largest matrix */
  float *importance;     /* device, [widest input] of ones */
  float *ones;           /* the same on the host */
  uint8_t *fits;         /* device, of all groups */
  sb_stored_grid *grids; /* device, SB_MOVES a group */
  double *raise, *cut;   /* device */
  int64_t *sums;         /* device, of add_grams */
  uint8_t *bits;         /* [blocks of a matrix, at most] */

  /* packed block rows of all matrices, host and device */
  const void **rows; /* [matrices] of the image */
  size_t **offsets;  /* [matrices][block rows + 1] */
  size_t packed_bytes;
  uint8_t *packed, *packed_there;

  sb_round_phases *rounding;
  sb_trellis_phases *trellis;
} phases;

/* The layer that is timed. Rates are per unit of work, so that they hold for layers
 * of other shapes too. */
enum { LAYER = 0 };

static size_t matrices(const phases *p) {
  return sb_arch_matrices(&p->m->arch, LAYER);
}

static const sb_tiling *tiling_of(const phases *p, size_t which) {
  return &sb_model_matrix(p->m, LAYER, which)->tiling;
}

static sb_dtype dtype_of(const phases *p, size_t which) {
  return p->m->dtypes[sb_model_matrix(p->m, LAYER, which)->tensor];
}

/* Groups of the layer before a matrix; all of them for the number behind the last. */
static size_t group_start(const phases *p, size_t which) {
  const size_t first = sb_model_first_group(p->m, LAYER);
  return (which < matrices(p) ? sb_model_matrix(p->m, LAYER, which)->first_group
                              : sb_model_first_group(p->m, LAYER + 1)) -
         first;
}

/* ---- the timed work: each function does a whole layer ---- */

static sb_layer_call call_of(const phases *p, const sb_layer_hooks *hooks) {
  return (sb_layer_call){.backend = p->b,
                         .config = &p->m->config,
                         .weights = sb_device_layer_weights(p->prepared),
                         .cos_sin_dev = p->cos_sin,
                         .T = p->T,
                         .hooks = hooks};
}

static sb_status forward(void *context) {
  phases *p = context;
  const sb_layer_call call = call_of(p, NULL);
  SB_TRY(sb_layer_forward(&call, p->work, p->y, p->x));
  return p->b->op->sync(p->b, NULL);
}

/* So that gradients of matrices are made. */
static sb_status see_gradient(void *context, sb_stream stream, size_t which, const float *g) {
  (void)context, (void)stream, (void)which, (void)g;
  return SB_OK;
}

static sb_status backward(void *context) {
  phases *p = context;
  const sb_layer_hooks hooks = {.context = p, .gradient = see_gradient};
  /* dL/dy is overwritten: any numbers do */
  SB_TRY(p->b->op->copy(p->b, NULL, p->y, p->x,
                        p->T * p->m->config.hidden * sb_dtype_size(p->b->act)));
  const sb_layer_call call = call_of(p, &hooks);
  SB_TRY(sb_layer_backward(&call, p->work, p->y, p->x, false));
  return p->b->op->sync(p->b, NULL);
}

static sb_status x_products(void *context) {
  phases *p = context;
  for (size_t i = 0; i < sb_arch_inputs(&p->m->arch, LAYER); i++) {
    const size_t n = sb_arch_input_of(&p->m->arch, LAYER, i)->width,
                 panel = sb_min_size(n, SB_MOMENT_PANEL);
    SB_TRY(p->b->op->gemm(p->b, NULL,
                          &(sb_gemm_args){.m = panel,
                                          .n = n,
                                          .k = p->T,
                                          .a = sb_view_transposed(p->wide, p->b->operand, n),
                                          .b = sb_view(p->wide, p->b->operand, n),
                                          .c = p->product,
                                          .c_dtype = SB_F32,
                                          .ldc = n}));
  }
  return p->b->op->sync(p->b, NULL);
}

static sb_status x_grams(void *context) {
  phases *p = context;
  for (size_t i = 0; i < sb_arch_inputs(&p->m->arch, LAYER); i++)
    SB_TRY(p->b->op->add_grams(p->b, NULL, p->sums, p->wide, p->T,
                               sb_arch_input_of(&p->m->arch, LAYER, i)->width, p->m->blocking.cols,
                               -16));
  return p->b->op->sync(p->b, NULL);
}

static sb_block_weights blocks_of(const phases *p, size_t which) {
  return (sb_block_weights){.w = sb_device_layer_source(p->prepared, which),
                            .dtype = dtype_of(p, which),
                            .tiling = tiling_of(p, which),
                            .bits = p->bits,
                            .code_kind = p->m->blocking.code_kind};
}

static sb_status fit(void *context) {
  phases *p = context;
  for (size_t which = 0; which < matrices(p); which++) {
    const sb_block_weights w = blocks_of(p, which);
    SB_TRY(p->b->op->fit_blocks(p->b, NULL, p->fits + group_start(p, which), &w, p->importance));
  }
  return p->b->op->sync(p->b, NULL);
}

static sb_status move_grids(phases *p) {
  for (size_t which = 0; which < matrices(p); which++) {
    const sb_block_weights w = blocks_of(p, which);
    SB_TRY(p->b->op->move_grids(p->b, NULL, p->grids + SB_MOVES * group_start(p, which), &w,
                                p->importance, p->fits + group_start(p, which)));
  }
  return SB_OK;
}

static sb_status quantize(void *context) {
  phases *p = context;
  for (size_t which = 0; which < matrices(p); which++) {
    const sb_block_weights w = blocks_of(p, which);
    SB_TRY(p->b->op->quantize_blocks(p->b, NULL, p->rounded, p->b->operand, &w,
                                     p->fits + group_start(p, which)));
  }
  return p->b->op->sync(p->b, NULL);
}

static sb_status score(void *context) {
  phases *p = context;
  for (size_t which = 0; which < matrices(p); which++) {
    const sb_block_weights w = blocks_of(p, which);
    SB_TRY(p->b->op->block_moves(p->b, NULL, p->raise, p->cut, p->product,
                                 tiling_of(p, which)->cols, &w,
                                 p->grids + SB_MOVES * group_start(p, which), 2, SB_MAX_BITS));
  }
  return p->b->op->sync(p->b, NULL);
}

/* As quant/encode.c, the grids fitted. */
static sb_status pack(void *context) {
  phases *p = context;
  for (size_t which = 0; which < matrices(p); which++) {
    const sb_tiling *tiling = tiling_of(p, which);
    const size_t row_bytes = tiling->cols * sb_dtype_size(dtype_of(p, which));
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < sb_tiling_block_rows(tiling); i++)
      sb_blockrow_encode(p->packed + p->offsets[which][i],
                         (const char *)p->rows[which] + i * tiling->block_rows * row_bytes,
                         dtype_of(p, which), tiling, i, p->bits, p->m->blocking.code_kind, p->ones);
  }
  return SB_OK;
}

static sb_status unpack(void *context) {
  phases *p = context;
  for (size_t which = 0; which < matrices(p); which++)
    SB_TRY(p->b->op->unpack_blocks(p->b, NULL, p->rounded, p->b->operand, p->packed_there,
                                   p->offsets[which], tiling_of(p, which), p->bits,
                                   p->m->blocking.code_kind, NULL));
  return p->b->op->sync(p->b, NULL);
}

static sb_status gather(void *context) {
  phases *p = context;
  const void *image;
  SB_TRY(sb_store_acquire(p->m->store, p->group, &image));
  return sb_store_release(p->m->store, p->group);
}

/* ---- set-up ---- */

static size_t units_of_layer(const phases *p) {
  const sb_place *last = &p->m->places[p->m->group_place[p->group + 1] - 1];
  return last->first_unit + last->units;
}

static void find_rows(phases *p, const void *image) {
  for (size_t i = p->m->group_place[p->group]; i < p->m->group_place[p->group + 1]; i++) {
    const sb_place *place = &p->m->places[i];
    const size_t which = p->m->arch.tensors[place->tensor].matrix;
    if (which != SB_NONE) p->rows[which] = sb_place_image(p->m, place, image);
  }
}

static sb_status prepare_blocks(phases *p) {
  size_t bytes = 0, blocks = 0;
  SB_TRY(sb_alloc(&p->rows, matrices(p), sizeof *p->rows, "rows of a layer"));
  SB_TRY(sb_alloc(&p->offsets, matrices(p), sizeof *p->offsets, "offsets of packed rows"));
  for (size_t which = 0; which < matrices(p); which++) {
    const sb_tiling *tiling = tiling_of(p, which);
    const size_t columns = sb_tiling_block_cols(tiling);
    blocks = sb_max_size(blocks, sb_tiling_block_rows(tiling) * columns);
  }
  SB_TRY(sb_alloc(&p->bits, blocks, 1, "bits"));
  memset(p->bits, BITS, blocks);
  for (size_t which = 0; which < matrices(p); which++) {
    const sb_tiling *tiling = tiling_of(p, which);
    const size_t rows = sb_tiling_block_rows(tiling);
    SB_TRY(sb_alloc(&p->offsets[which], rows + 1, sizeof(size_t), "offsets of packed rows"));
    for (size_t i = 0; i < rows; i++) {
      p->offsets[which][i] = bytes;
      bytes += sb_blockrow_bytes(tiling, i, p->bits, p->m->blocking.code_kind);
    }
    p->offsets[which][rows] = bytes;
  }
  p->packed_bytes = bytes;
  SB_TRY(sb_alloc(&p->packed, bytes, 1, "packed layer"));
  SB_TRY(p->b->op->alloc(p->b, bytes, "packed layer", (void **)&p->packed_there));
  SB_TRY(p->b->op->alloc(p->b, group_start(p, matrices(p)), "fits of a layer", (void **)&p->fits));
  SB_TRY(p->b->op->alloc(p->b, group_start(p, matrices(p)) * SB_MOVES * sizeof *p->grids,
                         "grids of a layer", (void **)&p->grids));
  SB_TRY(p->b->op->alloc(p->b, blocks * sizeof(double), "scores", (void **)&p->raise));
  return p->b->op->alloc(p->b, blocks * sizeof(double), "scores", (void **)&p->cut);
}

static sb_status prepare_rope(phases *p) {
  const size_t count = p->T * p->m->config.head_dim;
  float *table = NULL;
  SB_TRY(p->b->op->alloc(p->b, count * sizeof *table, "RoPE table", (void **)&p->cos_sin));
  SB_TRY(sb_alloc(&table, count, sizeof *table, "RoPE table"));
  sb_rope_table(&p->m->config, p->T, table);
  sb_status status = p->b->op->upload(p->b, NULL, p->cos_sin, table, count * sizeof *table);
  SB_THEN(p->b->op->sync(p->b, NULL));
  sb_free(&table);
  return status;
}

static sb_status prepare_memory(phases *p) {
  const sb_config *c = &p->m->config;
  sb_backend *b = p->b;
  const size_t act = sb_dtype_size(b->act);
  size_t widest = 0, largest = 0;
  for (size_t which = 0; which < matrices(p); which++) {
    const sb_tiling *tiling = tiling_of(p, which);
    widest = sb_max_size(widest, tiling->cols);
    largest = sb_max_size(largest, tiling->rows * tiling->cols);
  }
  const size_t product = sb_max_size(largest, widest * SB_MOMENT_PANEL),
               grams = sb_grams_count(widest, p->m->blocking.cols) * 2 * sizeof(int64_t);
  SB_TRY(prepare_blocks(p));
  SB_TRY(sb_round_phases_create(b, &p->m->blocking, c->hidden, &p->rounding));
  SB_TRY(sb_trellis_phases_create(b, c->hidden, &p->trellis));
  SB_TRY(prepare_rope(p));
  SB_TRY(b->op->alloc(b, p->T * c->hidden * act, "activations", &p->x));
  SB_TRY(b->op->alloc(b, p->T * c->hidden * act, "activations", &p->y));
  SB_TRY(b->op->alloc(b, p->T * widest * sb_dtype_size(b->operand), "activations", &p->wide));
  SB_TRY(b->op->alloc(b, product * sizeof(float), "gradient of a matrix", (void **)&p->product));
  SB_TRY(b->op->alloc(b, largest * sizeof(float), "weights of a matrix", &p->rounded));
  SB_TRY(b->op->alloc(b, widest * sizeof(float), "importance", (void **)&p->importance));
  SB_TRY(b->op->alloc(b, grams, "second moments", (void **)&p->sums));
  SB_TRY(b->op->zero(b, NULL, p->sums, grams));
  SB_TRY(sb_alloc(&p->ones, widest, sizeof *p->ones, "importance"));
  for (size_t k = 0; k < widest; k++) p->ones[k] = 1.0f;
  SB_TRY(b->op->upload(b, NULL, p->importance, p->ones, widest * sizeof *p->ones));
  SB_TRY(sb_numbers_upload(b, p->x, b->act, p->T * c->hidden));
  SB_TRY(sb_numbers_upload(b, p->wide, b->operand, p->T * widest));
  SB_TRY(sb_numbers_upload(b, p->product, SB_F32, product));
  SB_TRY(sb_layer_work_create(b, &p->m->arch, p->T, true, false, &p->work));
  return sb_device_layer_create(p->m, b, false, &p->prepared);
}

static sb_status prepare(phases *p, const void *image) {
  sb_backend *b = p->b;
  SB_TRY(sb_device_agree(p->m->world, b, prepare_memory(p)));
  SB_TRY(sb_device_layer_load(p->prepared, NULL, 0, image));
  find_rows(p, image);
  SB_TRY(fit(p));
  SB_TRY(move_grids(p));
  SB_TRY(pack(p));
  SB_TRY(b->op->upload(b, NULL, p->packed_there, p->packed, p->packed_bytes));
  return b->op->sync(b, NULL);
}

static void release(phases *p) {
  sb_backend *b = p->b;
  void *device[] = {p->cos_sin,      p->x,          p->y,     p->wide, p->product,
                    p->rounded,      p->importance, p->raise, p->cut,  p->sums,
                    p->packed_there, p->fits,       p->grids};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) b->op->free(b, device[i]);
  for (size_t which = 0; p->offsets && which < matrices(p); which++) sb_free(&p->offsets[which]);
  sb_free(&p->offsets);
  sb_free(&p->rows);
  sb_free(&p->ones);
  sb_device_layer_free(&p->prepared);
  sb_layer_work_free(&p->work);
  sb_free(&p->bits);
  sb_free(&p->packed);
  sb_round_phases_free(&p->rounding);
  sb_trellis_phases_free(&p->trellis);
}

/* ---- rates ---- */

/* What each of them does, in units of its rate. */
static void count_work(const phases *p, double work[SB_FIGURES], double *bytes_a_weight) {
  const sb_arch *a = &p->m->arch;
  const double T = (double)p->T;
  double weights = 0, source = 0;
  for (size_t which = 0; which < matrices(p); which++) {
    const double count = (double)(tiling_of(p, which)->rows * tiling_of(p, which)->cols);
    weights += count;
    source += count * (double)sb_dtype_size(dtype_of(p, which));
  }
  work[SB_FIGURE_FORWARD] = sb_arch_layer_forward_flops(a, LAYER, p->T);
  work[SB_FIGURE_BACKWARD] = sb_arch_layer_gradient_flops(a, LAYER, p->T) - work[SB_FIGURE_FORWARD];
  for (size_t i = 0; i < sb_arch_inputs(a, LAYER); i++) {
    const double c = (double)sb_arch_input_of(a, LAYER, i)->width;
    work[SB_FIGURE_MOMENTS] += 2.0 * T * c * fmin(c, SB_MOMENT_PANEL);
    work[SB_FIGURE_GRAMS] += 2.0 * T * (double)sb_grams_count((size_t)c, p->m->blocking.cols);
  }
  sb_round_phases_work(p->rounding, work);
  sb_trellis_phases_work(p->trellis, work);
  work[SB_FIGURE_FIT] = work[SB_FIGURE_QUANTIZE] = work[SB_FIGURE_SCORE] = work[SB_FIGURE_PACK] =
      work[SB_FIGURE_UNPACK] = weights;
  *bytes_a_weight = source / weights;
}

static sb_status measure(phases *p, int rounds, bool trellis, sb_machine *out) {
  const double weight = (double)sb_dtype_size(p->b->operand), packed = BITS / 8.0;
  double work[SB_FIGURES] = {0}, source;
  count_work(p, work, &source);
  const sb_figure gemm = out->compute == SB_COMPUTE_BF16 ? SB_FIGURE_GEMM_BF16 : SB_FIGURE_GEMM_F32;
  const struct {
    sb_figure phase;
    sb_timed *run;
    void *context;
    sb_figure limit;
    double cost; /* of the limit: bytes a weight that must be read and written, or FLOP */
  } cases[] = {{SB_FIGURE_FORWARD, forward, p, gemm, 1},
               {SB_FIGURE_BACKWARD, backward, p, gemm, 1},
               {SB_FIGURE_MOMENTS, x_products, p, gemm, 1},
               {SB_FIGURE_GRAMS, x_grams, p, SB_FIGURE_GEMM_F32, 1},
               {SB_FIGURE_FACTOR, sb_round_phases_factorise, p->rounding, SB_FIGURE_GEMM_F32, 1},
               {SB_FIGURE_ROUNDING, sb_round_phases_round, p->rounding, SB_FIGURE_GEMM_F32, 1},
               {SB_FIGURE_REFINE, sb_round_phases_refine, p->rounding, SB_FIGURE_GEMM_F32, 1},
               {SB_FIGURE_FIT, fit, p, SB_FIGURE_MEMORY_COPY, source},
               {SB_FIGURE_QUANTIZE, quantize, p, SB_FIGURE_MEMORY_COPY, source + weight},
               {SB_FIGURE_SCORE, score, p, SB_FIGURE_MEMORY_COPY, source + 4},
               /* an addition and a comparison for each state */
               {SB_FIGURE_TRELLIS_12, sb_trellis_phases_12, p->trellis, SB_FIGURE_GEMM_F32, 0x1p13},
               {SB_FIGURE_TRELLIS_14, sb_trellis_phases_14, p->trellis, SB_FIGURE_GEMM_F32, 0x1p15},
               {SB_FIGURE_TRELLIS_16, sb_trellis_phases_16, p->trellis, SB_FIGURE_GEMM_F32, 0x1p17},
               {SB_FIGURE_PACK, pack, p, SB_FIGURE_MEMORY_READ, source},
               {SB_FIGURE_UNPACK, unpack, p, SB_FIGURE_MEMORY_COPY, packed + weight}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    double seconds;
    if (!trellis && cases[i].context == p->trellis) continue;
    SB_TRY(sb_time_best(p->m->world, rounds, cases[i].run, cases[i].context, &seconds));
    sb_machine_phase(out, cases[i].phase, work[cases[i].phase] / seconds, cases[i].limit,
                     cases[i].cost);
  }
  return SB_OK;
}

/* Frames of packed block rows, as shards hold them. */
static sb_status measure_zstd(phases *p, int rounds, sb_machine *out) {
  size_t frames = 0, all = 0, *starts = NULL;
  for (size_t which = 0; which < matrices(p); which++)
    frames += sb_tiling_block_rows(tiling_of(p, which));
  SB_AGREE(p->m->world, sb_alloc(&starts, frames + 1, sizeof *starts, "frames"));
  for (size_t which = 0; which < matrices(p); which++)
    for (size_t i = 0; i < sb_tiling_block_rows(tiling_of(p, which)); i++)
      starts[all++] = p->offsets[which][i];
  starts[all] = p->packed_bytes;
  const sb_status status = sb_zstd_rates(p->m->world, p->packed, starts, frames, rounds, out);
  sb_free(&starts);
  return status;
}

static sb_status measure_gather(phases *p, int rounds, sb_machine *out) {
  double seconds;
  if (p->m->world->size == 1) return SB_OK;
  SB_TRY(sb_time_best(p->m->world, rounds, gather, p, &seconds));
  const double bytes = (double)sb_store_offset(p->m->store, p->group, units_of_layer(p));
  /* read once, written once; the ranks of a node share that */
  sb_machine_phase(out, SB_FIGURE_GATHER, bytes / seconds, SB_FIGURE_MEMORY_COPY,
                   2.0 / (double)p->m->world->node_size);
  return SB_OK;
}

sb_status sb_phases_measure(sb_model *model, sb_backend *backend, size_t seqlen, int rounds,
                            bool trellis, sb_machine *out) {
  const sb_world *world = model->world;
  phases p = {.m = model, .b = backend, .T = seqlen, .group = model->layer_first};
  const void *image;
  SB_TRY(sb_store_acquire(model->store, p.group, &image));
  sb_status status = sb_world_agree(world, prepare(&p, image));
  SB_THEN(measure(&p, rounds, trellis, out));
  SB_THEN(measure_zstd(&p, rounds, out));
  const sb_status released = sb_store_release(model->store, p.group);
  SB_THEN(released);
  SB_THEN(measure_gather(&p, rounds, out));
  release(&p);
  return status;
}
