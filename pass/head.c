#include "pass/head.h"

#include "base/memory.h"
#include "base/trace.h"
#include "pass/device_layer.h"

sb_status sb_head_allocate(sb_head *d, sb_vocab *vocab, bool gradients, bool keep_logits) {
  const sb_wave *w = vocab->wave;
  sb_backend *b = w->backend;
  const size_t h = w->model->config.hidden, rows = w->room * w->T;
  d->vocab = vocab;
  d->wave = vocab->wave;
#define DEVICE(field, bytes) SB_TRY(b->op->alloc(b, (bytes), "activations", (void **)&d->field))
  DEVICE(states_dev, rows * h * sb_dtype_size(b->operand));
  if (gradients) DEVICE(state_grads_dev, rows * h * sb_dtype_size(b->act));
  if (gradients) DEVICE(norm_gradient_dev, h * sizeof(float));
  DEVICE(rstd_dev, rows * sizeof(float));
  DEVICE(norm_dev, h * sizeof(float));
  DEVICE(source_norm_dev, h * sizeof(float));
  DEVICE(logits_dev, w->T * vocab->largest * sizeof(float));
  if (keep_logits) DEVICE(kept_logits_dev, rows * w->model->config.vocab * sizeof(float));
#undef DEVICE
  return SB_OK;
}

size_t sb_head_bytes(const sb_wave_sizes *w, bool gradients) {
  const size_t operand = sb_dtype_size(w->backend->operand), act = sb_dtype_size(w->backend->act);
  return sb_wave_sizes_states(w) * (operand + (gradients ? act : 0)) +
         (sb_wave_sizes_rows(w) + (gradients ? 3 : 2) * w->model->arch->config.hidden) *
             sizeof(float);
}

size_t sb_head_logits_bytes(const sb_wave_sizes *w) {
  return w->T * w->chunk * sizeof(float);
}

void sb_head_free(sb_head *d) {
  if (!d->wave) return;
  sb_backend *b = d->wave->backend;
  void *device[] = {d->states_dev, d->state_grads_dev, d->norm_gradient_dev, d->rstd_dev,
                    d->norm_dev,   d->source_norm_dev, d->logits_dev,        d->kept_logits_dev};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) b->op->free(b, device[i]);
}

static sb_status norm(sb_head *d, void *x, const void *image) {
  const sb_wave *w = d->wave;
  const sb_model *m = w->model;
  sb_backend *b = w->backend;
  const sb_place *place = sb_vocab_place(m, m->norm_group);
  const size_t h = m->config.hidden;
  SB_TRY(b->op->upload(b, w->stream, d->source_norm_dev, sb_place_image(m, place, image),
                       sb_model_row_bytes(m, place->tensor)));
  SB_TRY(b->op->convert(b, w->stream, d->norm_dev, SB_F32, d->source_norm_dev,
                        m->dtypes[place->tensor], h));
  for (size_t s = 0; s < w->count; s++)
    SB_TRY(b->op->rmsnorm(b, w->stream, sb_wave_operand(w, d->states_dev, s, h),
                          d->rstd_dev + s * w->T, sb_wave_act(w, x, s, h), d->norm_dev, w->T, h,
                          (float)m->config.rms_eps));
  return b->op->sync(b, w->stream);
}

sb_status sb_head_norm(sb_head *d, void *x) {
  SB_SPAN(SB_TRACE_COMPUTE, "final norm", SB_TRACE_NONE);
  const sb_model *m = d->wave->model;
  const void *image;
  d->kept = SB_HEAD_NOTHING; /* what was kept belongs to other states */
  sb_status status = sb_store_acquire(m->store, m->norm_group, &image);
  SB_THEN(norm(d, x, image));
  SB_AGREE(m->world, status);
  return sb_store_release(m->store, m->norm_group);
}

/* The head and the loss that is asked for. */
typedef struct sweep {
  sb_head *head;
  sb_loss loss;
  double work;                   /* of a sequence in a chunk */
  const sb_parameter_hook *hook; /* on the way back */
  const sb_table_hooks *tables;  /* the same; NULL: nobody */
} sweep;

/* Where the logits of sequence s in a chunk go. */
static float *logits_of(const sb_head *d, const sb_vocab_chunk *chunk, size_t s) {
  const size_t T = d->wave->T;
  if (!d->kept_logits_dev) return d->logits_dev;
  return d->kept_logits_dev + T * (s * d->wave->model->config.vocab + chunk->first);
}

static sb_status chunk_forward(void *context, const sb_vocab_chunk *chunk) {
  const sweep *z = context;
  const sb_head *d = z->head;
  for (size_t s = 0; s < d->wave->count; s++) {
    float *logits = logits_of(d, chunk, s);
    SB_TRY(sb_vocab_logits(d->wave, chunk, d->states_dev, s, logits));
    SB_TRY(z->loss.op->chunk_forward(z->loss.state, chunk, s, logits));
    SB_TRY(sb_wave_progress(d->wave, z->work));
  }
  return SB_OK;
}

sb_status sb_head_forward(sb_head *d, sb_loss loss, sb_sequence_loss *out) {
  SB_SPAN(SB_TRACE_COMPUTE, "head forward", SB_TRACE_NONE);
  const sb_model *m = d->wave->model;
  sweep z = {d, loss, 1.0 / (double)m->head_count, NULL, NULL};
  SB_AGREE(m->world, loss.op->begin(loss.state));
  SB_TRY(sb_vocab_each_of_head(d->vocab, chunk_forward, NULL, &z));
  d->kept = d->kept_logits_dev ? SB_HEAD_LOGITS : SB_HEAD_NOTHING;
  return sb_world_agree(m->world, loss.op->end(loss.state, out));
}

/* The logits, kept or made again, become their gradients. */
static sb_status logit_gradients(const sb_head *d, sb_loss loss, const sb_vocab_chunk *chunk,
                                 size_t s) {
  float *logits = logits_of(d, chunk, s);
  if (d->kept == SB_HEAD_GRADIENTS) return SB_OK;
  if (d->kept != SB_HEAD_LOGITS) SB_TRY(sb_vocab_logits(d->wave, chunk, d->states_dev, s, logits));
  return loss.op->chunk_backward(loss.state, chunk, s, logits);
}

/* g = dlogits' states */
static sb_status rows_gradient(const sb_head *d, const sb_vocab_chunk *chunk, size_t s, float *g) {
  const sb_wave *w = d->wave;
  sb_backend *b = w->backend;
  const size_t h = w->model->config.hidden;
  return b->op->gemm(
      b, w->stream,
      &(sb_gemm_args){.m = chunk->count,
                      .n = h,
                      .k = w->T,
                      .a = sb_view_transposed(logits_of(d, chunk, s), SB_F32, chunk->count),
                      .b = sb_view(sb_wave_operand(w, d->states_dev, s, h), b->operand, h),
                      .c = g,
                      .c_dtype = SB_F32,
                      .ldc = h});
}

sb_status sb_head_chunk_gradient(sb_head *d, sb_loss loss, const sb_vocab_chunk *chunk, size_t s,
                                 float *g_dev) {
  SB_TRY(logit_gradients(d, loss, chunk, s));
  return rows_gradient(d, chunk, s, g_dev);
}

static sb_status tell_logits(const sweep *z, const sb_vocab_chunk *chunk, size_t s) {
  const sb_head *d = z->head;
  const sb_wave *w = d->wave;
  if (!z->tables) return SB_OK;
  const sb_head_use use = {.first_row = chunk->first,
                           .rows = chunk->count,
                           .tokens = w->T,
                           .weights = chunk->rows_dev,
                           .states = sb_wave_operand(w, d->states_dev, s, w->model->config.hidden),
                           .dlogits = logits_of(d, chunk, s)};
  return z->tables->head(z->tables->context, w->stream, &use);
}

/* The gradient of the chunk's rows, where somebody wants it and it is not
 * made with the embedding's. */
static sb_status tell_rows(const sweep *z, const sb_vocab_chunk *chunk, size_t s) {
  const sb_wave *w = z->head->wave;
  float *g = z->head->vocab->gradient_dev;
  if (!sb_parameter_tables(z->hook) || sb_vocab_is_tied(w->model)) return SB_OK;
  SB_TRY(rows_gradient(z->head, chunk, s, g));
  return z->hook->gradient(z->hook->context, w->stream, chunk->tensor, chunk->first, chunk->count,
                           g);
}

static sb_status chunk_backward(void *context, const sb_vocab_chunk *chunk) {
  const sweep *z = context;
  const sb_head *d = z->head;
  sb_wave *w = d->wave;
  sb_backend *b = w->backend;
  const size_t h = w->model->config.hidden, nv = chunk->count;
  for (size_t s = 0; s < w->count; s++) {
    SB_TRY(logit_gradients(d, z->loss, chunk, s));
    SB_TRY(tell_logits(z, chunk, s));
    SB_TRY(tell_rows(z, chunk, s));
    SB_TRY(b->op->gemm(b, w->stream,
                       &(sb_gemm_args){.m = w->T,
                                       .n = h,
                                       .k = nv,
                                       .a = sb_view(logits_of(d, chunk, s), SB_F32, nv),
                                       .b = sb_view(chunk->rows_dev, b->operand, h),
                                       .c = sb_wave_act(w, d->state_grads_dev, s, h),
                                       .c_dtype = b->act,
                                       .ldc = h,
                                       .add = chunk->first != 0}));
    SB_TRY(sb_wave_progress(w, z->work));
  }
  return SB_OK;
}

/* A tied table's rows are done with the embedding. Collective. */
static sb_status end_rows(void *context, const sb_vocab_chunk *chunk) {
  const sweep *z = context;
  if (!sb_parameter_tables(z->hook) || sb_vocab_is_tied(z->head->wave->model)) return SB_OK;
  return sb_parameter_end(z->hook, chunk->tensor, chunk->first, chunk->count);
}

static sb_status norm_back(sb_head *d, void *dx, void *x, const sb_parameter_hook *hook) {
  const sb_wave *w = d->wave;
  const sb_model *m = w->model;
  sb_backend *b = w->backend;
  const size_t h = m->config.hidden, tensor = sb_vocab_place(m, m->norm_group)->tensor;
  float *g = hook->gradient ? d->norm_gradient_dev : NULL;
  SB_TRY(b->op->zero(b, w->stream, dx, sb_wave_rows(w) * h * sb_dtype_size(b->act)));
  for (size_t s = 0; s < w->count; s++) {
    if (g) SB_TRY(b->op->zero(b, w->stream, g, h * sizeof *g));
    SB_TRY(b->op->rmsnorm_back(b, w->stream, sb_wave_act(w, dx, s, h), g,
                               sb_wave_act(w, d->state_grads_dev, s, h), sb_wave_act(w, x, s, h),
                               d->norm_dev, d->rstd_dev + s * w->T, w->T, h));
    if (g) SB_TRY(hook->gradient(hook->context, w->stream, tensor, 0, 1, g));
  }
  return b->op->sync(b, w->stream);
}

sb_status sb_head_backward(sb_head *d, sb_loss loss, void *dx, void *x,
                           const sb_parameter_hook *hook, const sb_table_hooks *tables) {
  SB_SPAN(SB_TRACE_COMPUTE, "head backward", SB_TRACE_NONE);
  const sb_model *m = d->wave->model;
  sweep z = {d, loss, 3.0 / (double)m->head_count, hook, tables};
  if (d->kept == SB_HEAD_GRADIENTS) d->kept = SB_HEAD_NOTHING; /* of a way back before this one */
  SB_TRY(sb_vocab_each_of_head(d->vocab, chunk_backward, end_rows, &z));
  d->kept = d->kept_logits_dev ? SB_HEAD_GRADIENTS : SB_HEAD_NOTHING;
  SB_AGREE(m->world, norm_back(d, dx, x, hook));
  return sb_parameter_end(hook, sb_vocab_place(m, m->norm_group)->tensor, 0, 1);
}

/* Where logits go. */
typedef struct host_logits {
  sb_head *head;
  size_t s;
  float *out;
} host_logits;

static sb_status download_chunk(void *context, const sb_vocab_chunk *chunk) {
  const host_logits *to = context;
  const sb_head *d = to->head;
  const sb_wave *w = d->wave;
  sb_backend *b = w->backend;
  if (to->s >= w->count) return SB_OK;
  SB_TRY(sb_vocab_logits(w, chunk, d->states_dev, to->s, d->logits_dev));
  for (size_t t = 0; t < w->T; t++)
    SB_TRY(b->op->download(b, w->stream, to->out + t * w->model->config.vocab + chunk->first,
                           d->logits_dev + t * chunk->count, chunk->count * sizeof(float)));
  return SB_OK;
}

sb_status sb_head_logits(sb_head *d, size_t s, float *out) {
  host_logits to = {d, s, out};
  return sb_vocab_each_of_head(d->vocab, download_chunk, NULL, &to);
}
