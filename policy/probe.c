#include "policy/probe.h"

#include <string.h>

#include "base/memory.h"
#include "base/random.h"

/* ---- places ---- */

void *sb_probe_x(const sb_probe *p, size_t sequence, size_t layer, size_t matrix) {
  const sb_arch *arch = &p->model->arch;
  const sb_arch_input *input =
      sb_arch_input_of(arch, layer, sb_arch_matrix(arch, layer, matrix)->input);
  const size_t at = p->sample * (sequence * arch->channels + input->first_channel);
  return p->x + at * sb_dtype_size(p->backend->operand);
}

void *sb_probe_dy(const sb_probe *p, size_t sequence, size_t layer, size_t matrix) {
  const size_t number = p->model->arch.layers[layer].first_matrix + matrix;
  const size_t at = p->sample * (sequence * p->rows + p->first_row[number]);
  return p->dy + at * sb_dtype_size(p->backend->operand);
}

/* Token i of a sequence's sample: (i (T - 1) + begin) / sample, with begin below T - 1. */
static sb_status choose_tokens(sb_probe *p, uint64_t seed) {
  const sb_world *world = p->model->world;
  sb_backend *b = p->backend;
  const size_t bytes = p->local * p->sample * sizeof(uint32_t);
  uint32_t *tokens;
  SB_TRY(sb_alloc(&tokens, p->local * p->sample, sizeof *tokens, "sampled tokens"));
  for (size_t s = 0; s < p->local; s++) {
    const uint64_t number = s * (uint64_t)world->size + (uint64_t)world->rank;
    const size_t begin = (size_t)(sb_mix64_with(seed, number) % (p->T - 1));
    for (size_t i = 0; i < p->sample; i++)
      tokens[s * p->sample + i] = (uint32_t)((i * (p->T - 1) + begin) / p->sample);
  }
  sb_status status = b->op->alloc(b, bytes, "sampled tokens", (void **)&p->tokens_dev);
  SB_THEN(b->op->upload(b, NULL, p->tokens_dev, tokens, bytes));
  SB_THEN(b->op->sync(b, NULL));
  sb_free(&tokens);
  return status;
}

static sb_status allocate(sb_probe *p) {
  const sb_arch *arch = &p->model->arch;
  const size_t size = sb_dtype_size(p->backend->operand);
  size_t widest = 0;
  SB_TRY(sb_alloc(&p->first_row, arch->matrix_count + 1, sizeof *p->first_row, "profile"));
  for (size_t m = 0; m < arch->matrix_count; m++) {
    const sb_model_tensor *t = &arch->tensors[arch->matrices[m]];
    p->first_row[m + 1] = p->first_row[m] + t->rows;
    widest = sb_max_size(widest, sb_max_size(t->rows, t->cols));
  }
  p->rows = p->first_row[arch->matrix_count];
  SB_TRY(sb_alloc(&p->seen, arch->config.layers, sizeof *p->seen, "profile"));
  SB_TRY(
      sb_alloc_raw(&p->x, p->local * p->sample * arch->channels, size, "inputs of the noise step"));
  SB_TRY(sb_alloc_raw(&p->dy, p->local * p->sample * p->rows, size, "gradients of the noise step"));
  return p->backend->op->alloc(p->backend, p->sample * widest * size, "sampled tokens",
                               &p->room_dev);
}

sb_status sb_probe_create(const sb_model *model, sb_backend *backend, const sb_pass *pass,
                          size_t sample, uint64_t seed, sb_probe *p) {
  *p = (sb_probe){.model = model,
                  .backend = backend,
                  .T = sb_pass_seqlen(pass),
                  .local = sb_pass_local(model->world, sb_pass_sequences(pass)),
                  .sample = sample};
  SB_TRY(allocate(p));
  return choose_tokens(p, seed);
}

void sb_probe_free(sb_probe *p) {
  sb_backend *b = p->backend;
  if (!b) return;
  b->op->free(b, p->tokens_dev);
  b->op->free(b, p->room_dev);
  sb_free(&p->first_row);
  sb_free(&p->x);
  sb_free(&p->dy);
  sb_free(&p->seen);
  *p = (sb_probe){0};
}

void sb_probe_begin(sb_probe *p) {
  memset(p->seen, 0, p->model->config.layers * sizeof *p->seen);
}

sb_status sb_probe_sampled(const sb_probe *p, sb_stream stream, size_t sequence, void *dst_dev,
                           const void *src_dev, sb_dtype dtype, size_t width) {
  return p->backend->op->gather_matrix(p->backend, stream, dst_dev, src_dev, dtype, p->sample,
                                       width, p->tokens_dev + sequence * p->sample, NULL);
}

/* ---- the pass ---- */

static sb_status keep(const sb_probe *p, sb_stream stream, size_t sequence, void *to,
                      const void *from_dev, size_t width) {
  sb_backend *b = p->backend;
  SB_TRY(sb_probe_sampled(p, stream, sequence, p->room_dev, from_dev, b->operand, width));
  return b->op->download(b, stream, to, p->room_dev, p->sample * width * sb_dtype_size(b->operand));
}

static sb_status factors(void *context, sb_stream stream, size_t layer, size_t matrix,
                         const void *x_dev, const void *dy_dev) {
  const sb_probe *p = context;
  const sb_arch *arch = &p->model->arch;
  const sb_model_tensor *t = sb_arch_matrix(arch, layer, matrix);
  const size_t s = p->seen[layer];
  if (sb_arch_input_of(arch, layer, t->input)->first_matrix == matrix)
    SB_TRY(keep(p, stream, s, sb_probe_x(p, s, layer, matrix), x_dev, t->cols));
  return keep(p, stream, s, sb_probe_dy(p, s, layer, matrix), dy_dev, t->rows);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  (void)context, (void)stream, (void)layer, (void)prepared;
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  sb_probe *p = context;
  p->seen[layer]++;
  return p->backend->op->sync(p->backend, stream);
}

static sb_status end_layer(void *context, size_t layer) {
  (void)context, (void)layer;
  return SB_OK;
}

sb_status sb_probe_measure(sb_probe *p, sb_pass *pass, double *loss) {
  const sb_pass_hooks hooks = {.context = p,
                               .begin_layer = begin_layer,
                               .factors = factors,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  sb_probe_begin(p);
  return sb_pass_gradients(pass, &hooks, loss);
}
