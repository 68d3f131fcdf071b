#include "pass/coded_weights.h"

#include "base/memory.h"

enum { FPROP, DGRAD, COPIES };

typedef struct slot {
  void *data_dev[COPIES]; /* NULL where no layer needs one */
  sb_emulation emulation; /* of the matrix at hand */
} slot;

struct sb_coded_weights {
  const sb_model *model;
  sb_backend *backend;
  sb_precision_map map;
  sb_lowprec_options options;
  slot *slots;       /* [arch.most_matrices] */
  float *scales_dev; /* [arch.most_matrices, COPIES] */
};

/* How a matrix is coded: in which copies. */
typedef struct need {
  bool copy[COPIES];
  sb_operand_coding coding[COPIES];
} need;

static need need_of(const sb_emulation *e) {
  need n = {
      .copy = {e->gemms[SB_FPROP] != SB_PRECISION_HIGH, e->gemms[SB_DGRAD] != SB_PRECISION_HIGH}};
  n.coding[FPROP] = sb_operand_coding_of(e, SB_FPROP, SB_LOWPREC_W);
  n.coding[DGRAD] = sb_operand_coding_of(e, SB_DGRAD, SB_LOWPREC_W);
  if (n.copy[FPROP] && n.copy[DGRAD] && n.coding[FPROP].dtype == n.coding[DGRAD].dtype &&
      sb_lowprec_rules_equal(&n.coding[FPROP].rule, &n.coding[DGRAD].rule))
    n.copy[DGRAD] = false;
  return n;
}

static sb_emulation emulation_of(const sb_arch *arch, const sb_precision_map *map,
                                 const sb_lowprec_options *options, size_t layer, size_t matrix) {
  sb_emulation e = {.options = *options, .layer = layer, .matrix = matrix};
  for (int g = 0; g < SB_GEMM_KINDS; g++)
    e.gemms[g] = sb_precision_map_of(map, arch, layer, matrix)[g];
  return e;
}

/* Most bytes of each copy of matrix number `matrix` in any layer. */
static void room_of(const sb_arch *arch, const sb_precision_map *map,
                    const sb_lowprec_options *options, size_t matrix, size_t bytes[COPIES]) {
  bytes[FPROP] = bytes[DGRAD] = 0;
  for (size_t layer = 0; layer < arch->config.layers; layer++) {
    if (matrix >= sb_arch_matrices(arch, layer)) continue;
    const sb_model_tensor *t = sb_arch_matrix(arch, layer, matrix);
    const sb_emulation e = emulation_of(arch, map, options, layer, matrix);
    const need n = need_of(&e);
    for (int copy = 0; copy < COPIES; copy++)
      if (n.copy[copy])
        bytes[copy] =
            sb_max_size(bytes[copy], t->rows * t->cols * sb_dtype_size(n.coding[copy].dtype));
  }
}

static sb_status allocate(sb_coded_weights *w, const sb_precision_map *map) {
  const sb_arch *arch = &w->model->arch;
  sb_backend *b = w->backend;
  SB_TRY(sb_precision_map_create(arch, SB_PRECISION_HIGH, &w->map));
  sb_precision_map_copy(&w->map, map);
  SB_TRY(sb_alloc(&w->slots, arch->most_matrices, sizeof *w->slots, "coded weights"));
  SB_TRY(b->op->alloc(b, arch->most_matrices * COPIES * sizeof(float), "coded weights",
                      (void **)&w->scales_dev));
  for (size_t i = 0; i < arch->most_matrices; i++) {
    size_t bytes[COPIES];
    room_of(arch, map, &w->options, i, bytes);
    for (int copy = 0; copy < COPIES; copy++)
      if (bytes[copy] > 0)
        SB_TRY(b->op->alloc(b, bytes[copy], "coded weights of one layer",
                            &w->slots[i].data_dev[copy]));
  }
  return SB_OK;
}

sb_status sb_coded_weights_create(const sb_model *model, sb_backend *backend,
                                  const sb_precision_map *map, const sb_lowprec_options *options,
                                  sb_coded_weights **out) {
  SB_TRY(sb_alloc(out, 1, sizeof **out, "coded weights"));
  (*out)->model = model;
  (*out)->backend = backend;
  (*out)->options = *options;
  const sb_status status = allocate(*out, map);
  if (status != SB_OK) sb_coded_weights_free(out);
  return status;
}

void sb_coded_weights_free(sb_coded_weights **weights) {
  sb_coded_weights *w = *weights;
  if (!w) return;
  sb_backend *b = w->backend;
  for (size_t i = 0; w->slots && i < w->model->arch.most_matrices; i++)
    for (int copy = 0; copy < COPIES; copy++) b->op->free(b, w->slots[i].data_dev[copy]);
  b->op->free(b, w->scales_dev);
  sb_free(&w->slots);
  sb_precision_map_free(&w->map);
  sb_free(weights);
}

sb_status sb_coded_weights_load(sb_coded_weights *w, sb_stream stream, size_t layer, size_t matrix,
                                const void *w_dev, const sb_emulation **out) {
  const sb_arch *arch = &w->model->arch;
  const sb_model_tensor *t = sb_arch_matrix(arch, layer, matrix);
  slot *s = &w->slots[matrix];
  sb_coded coded[COPIES] = {{0}};
  bool low = false;
  s->emulation = emulation_of(arch, &w->map, &w->options, layer, matrix);
  for (int g = 0; g < SB_GEMM_KINDS; g++) low = low || s->emulation.gemms[g] != SB_PRECISION_HIGH;
  *out = low ? &s->emulation : NULL;
  const need n = need_of(&s->emulation);
  for (int copy = 0; copy < COPIES; copy++)
    if (n.copy[copy])
      SB_TRY(sb_operand_code(w->backend, stream, &n.coding[copy], w_dev, w->backend->operand,
                             t->rows, t->cols, 0, s->data_dev[copy],
                             w->scales_dev + matrix * COPIES + (size_t)copy, &coded[copy]));
  s->emulation.fprop = coded[FPROP];
  s->emulation.dgrad = n.copy[DGRAD] ? coded[DGRAD] : coded[FPROP];
  return SB_OK;
}
