/* The ends of the model: embedding, final norm, LM head with the cross-entropy, in chunks of the
 * vocabulary. No rank ever holds more than a chunk of the table or of the logits. */
#include <string.h>

#include "base/memory.h"
#include "pass/pass_impl.h"

static const sb_place *place_of(const sb_model *m, size_t group) {
  return &m->places[m->group_place[group]];
}

size_t sb_head_largest_chunk(const sb_model *m) {
  size_t largest = 0;
  for (size_t i = 0; i < m->head_count; i++)
    largest = sb_max_size(largest, place_of(m, m->head_first + i)->rows);
  for (size_t i = 0; i < m->embed_count; i++)
    largest = sb_max_size(largest, place_of(m, m->embed_first + i)->rows);
  return largest;
}

/* The chunk's rows on the device in the source's type. */
static sb_status chunk_on_device(sb_pass *p, const sb_place *place, const void *image,
                                 const void **out) {
  sb_backend *b = p->backend;
  *out = sb_place_image(p->model, place, image);
  if (b->unified) return SB_OK;
  SB_TRY(b->op->upload(b, p->stream, p->chunk_source, *out,
                       place->rows * sb_model_row_bytes(p->model, place->tensor)));
  *out = p->chunk_source;
  return SB_OK;
}

static sb_status upload_tokens(sb_pass *p, size_t wave) {
  sb_backend *b = p->backend;
  size_t count = sb_pass_wave_count(p, wave), rows = count * p->T;
  uint32_t *ids = p->host_ids, *targets = p->host_ids + rows;
  if (rows == 0) return SB_OK;
  memcpy(ids, p->setup.tokens + (p->first + wave * p->wave) * p->T, rows * sizeof *ids);
  for (size_t i = 0; i < rows; i++) targets[i] = (i + 1) % p->T == 0 ? SB_NO_TARGET : ids[i + 1];
  SB_TRY(b->op->upload(b, p->stream, p->ids, ids, rows * sizeof *ids));
  SB_TRY(b->op->upload(b, p->stream, p->targets, targets, rows * sizeof *targets));
  return b->op->sync(b, p->stream);
}

static sb_status embed_chunk(sb_pass *p, size_t wave, const sb_place *place, const void *image) {
  size_t h = p->model->config.hidden;
  const void *table;
  SB_TRY(chunk_on_device(p, place, image, &table));
  for (size_t s = 0; s < sb_pass_wave_count(p, wave); s++)
    SB_TRY(p->backend->op->embed(p->backend, p->stream, sb_pass_at(p, p->inputs[0], s, h),
                                 p->ids + s * p->T, table, p->model->dtypes[place->tensor], p->T, h,
                                 place->first_row, place->rows));
  return p->backend->op->sync(p->backend, p->stream);
}

sb_status sb_head_embed(sb_pass *p, size_t wave) {
  sb_model *m = p->model;
  sb_status status = upload_tokens(p, wave);
  SB_AGREE(m->world, status);
  sb_group_walk walk = sb_group_walk_begin(m->store, m->embed_first, m->embed_count, false);
  while (sb_group_walk_more(&walk)) {
    size_t group;
    const void *image;
    status = sb_group_walk_enter(&walk, &group, &image);
    if (status == SB_OK) status = embed_chunk(p, wave, place_of(m, group), image);
    SB_AGREE(m->world, status);
    SB_TRY(sb_group_walk_leave(&walk));
  }
  return SB_OK;
}

static sb_status norm(sb_pass *p, size_t wave, void *x, const void *image) {
  sb_backend *b = p->backend;
  const sb_place *place = place_of(p->model, p->model->norm_group);
  size_t h = p->model->config.hidden;
  SB_TRY(b->op->upload(b, p->stream, p->raw_norm, sb_place_image(p->model, place, image),
                       sb_model_row_bytes(p->model, place->tensor)));
  SB_TRY(b->op->convert(b, p->stream, p->final_norm, SB_F32, p->raw_norm,
                        p->model->dtypes[place->tensor], h));
  for (size_t s = 0; s < sb_pass_wave_count(p, wave); s++)
    SB_TRY(b->op->rmsnorm(b, p->stream, sb_pass_operand_at(p, p->normed, s, h), p->rstd + s * p->T,
                          sb_pass_at(p, x, s, h), p->final_norm, p->T, h,
                          (float)p->model->config.rms_eps));
  return b->op->sync(b, p->stream);
}

sb_status sb_head_norm(sb_pass *p, size_t wave, void *x) {
  const void *image;
  sb_store *store = p->model->store;
  sb_status status = sb_store_acquire(store, p->model->norm_group, &image);
  if (status == SB_OK) status = norm(p, wave, x, image);
  SB_AGREE(p->model->world, status);
  return sb_store_release(store, p->model->norm_group);
}

sb_status sb_head_chunk(sb_pass *p, size_t group, const void *image, size_t *v0, size_t *nv,
                        const void **weights) {
  sb_backend *b = p->backend;
  const sb_place *place = place_of(p->model, group);
  sb_dtype dtype = p->model->dtypes[place->tensor];
  *v0 = place->first_row;
  *nv = place->rows;
  SB_TRY(chunk_on_device(p, place, image, weights));
  if (dtype == b->operand) return SB_OK;
  SB_TRY(b->op->convert(b, p->stream, p->chunk, b->operand, *weights, dtype,
                        place->rows * p->model->config.hidden));
  *weights = p->chunk;
  return SB_OK;
}

sb_status sb_head_logits(sb_pass *p, void *states, const void *weights, size_t nv, size_t s,
                         float *logits) {
  sb_backend *b = p->backend;
  size_t h = p->model->config.hidden;
  return b->op->gemm(b, p->stream, false, true, p->T, nv, h, 1.0f,
                     sb_pass_operand_at(p, states, s, h), b->operand, h, weights, b->operand, h,
                     0.0f, logits, SB_F32, nv);
}

/* What a sweep over the chunks of the head does with each. */
typedef sb_status (*chunk_work)(sb_pass *p, size_t wave, const void *weights, size_t v0, size_t nv);

static sb_status sweep(sb_pass *p, size_t wave, chunk_work work) {
  sb_model *m = p->model;
  sb_group_walk walk = sb_group_walk_begin(m->store, m->head_first, m->head_count, false);
  while (sb_group_walk_more(&walk)) {
    size_t group, v0, nv;
    const void *image, *weights;
    sb_status status = sb_group_walk_enter(&walk, &group, &image);
    if (status == SB_OK) status = sb_head_chunk(p, group, image, &v0, &nv, &weights);
    if (status == SB_OK) status = work(p, wave, weights, v0, nv);
    if (status == SB_OK) status = p->backend->op->sync(p->backend, p->stream);
    SB_AGREE(m->world, status);
    SB_TRY(sb_group_walk_leave(&walk));
  }
  return SB_OK;
}

static sb_status xent_forward(sb_pass *p, size_t wave, const void *weights, size_t v0, size_t nv) {
  for (size_t s = 0; s < sb_pass_wave_count(p, wave); s++) {
    size_t row = s * p->T;
    SB_TRY(sb_head_logits(p, p->normed, weights, nv, s, p->logits));
    SB_TRY(p->backend->op->xent_chunk(p->backend, p->stream, p->row_max + row, p->row_sum + row,
                                      p->target_logit + row, p->argmax + row, p->logits,
                                      p->targets + row, p->T, v0, nv));
    if (p->reference.learnt) SB_TRY(sb_reference_forward(p, weights, nv, s));
    SB_TRY(sb_store_progress(p->model->store));
    sb_pass_tick(p, 1.0 / (double)p->model->head_count);
  }
  return SB_OK;
}

static sb_status begin_rows(sb_pass *p, size_t wave, size_t rows) {
  sb_backend *b = p->backend;
  if (p->reference.learnt) SB_TRY(sb_reference_begin(p, wave));
  return b->op->xent_begin(b, p->stream, p->row_max, p->row_sum, p->target_logit, p->argmax, rows);
}

/* The mean of a sequence's rows, added up in the order of its tokens; the last one has no target
 * and is 0. */
static double mean_of(const sb_pass *p, const double *rows) {
  double sum = 0;
  for (size_t t = 0; t < p->T; t++) sum += rows[t];
  return sum / (double)(p->T - 1);
}

/* Log-sum-exp of every row, which stays on the device, and each sequence's mean loss. */
static sb_status end_rows(sb_pass *p, size_t wave, size_t rows) {
  sb_backend *b = p->backend;
  const double *losses = p->reference.learnt ? p->reference.host_kl : p->host_nll;
  SB_TRY(b->op->xent_end(b, p->stream, p->lse, p->nll, p->row_max, p->row_sum, p->target_logit,
                         p->targets, rows));
  SB_TRY(b->op->download(b, p->stream, p->host_nll, p->nll, rows * sizeof *p->nll));
  SB_TRY(b->op->sync(b, p->stream));
  if (p->reference.learnt) SB_TRY(sb_reference_end(p, wave));
  for (size_t s = 0; s < rows / p->T; s++) {
    p->sequence_nll[wave * p->wave + s] = mean_of(p, p->host_nll + s * p->T);
    p->sequence_loss[wave * p->wave + s] = mean_of(p, losses + s * p->T);
  }
  return SB_OK;
}

sb_status sb_head_forward(sb_pass *p, size_t wave) {
  size_t rows = sb_pass_wave_count(p, wave) * p->T;
  SB_AGREE(p->model->world, begin_rows(p, wave, rows));
  SB_TRY(sweep(p, wave, xent_forward));
  return sb_world_agree(p->model->world, end_rows(p, wave, rows));
}

static sb_status xent_backward(sb_pass *p, size_t wave, const void *weights, size_t v0, size_t nv) {
  sb_backend *b = p->backend;
  size_t h = p->model->config.hidden;
  float scale = (float)(1.0 / (double)(p->T - 1)), beta = v0 == 0 ? 0.0f : 1.0f;
  for (size_t s = 0; s < sb_pass_wave_count(p, wave); s++) {
    size_t row = s * p->T;
    SB_TRY(sb_head_logits(p, p->normed, weights, nv, s, p->logits));
    SB_TRY(p->reference.learnt ? sb_reference_backward(p, weights, nv, s, scale)
                               : b->op->xent_back_chunk(b, p->stream, p->logits, p->lse + row,
                                                        p->targets + row, scale, p->T, v0, nv));
    SB_TRY(b->op->gemm(b, p->stream, false, false, p->T, h, nv, 1.0f, p->logits, SB_F32, nv,
                       weights, b->operand, h, beta, sb_pass_at(p, p->normed_grads, s, h), b->act,
                       h));
    SB_TRY(sb_store_progress(p->model->store));
    sb_pass_tick(p, 3.0 / (double)p->model->head_count);
  }
  return SB_OK;
}

static sb_status norm_back(sb_pass *p, size_t wave, void *x) {
  sb_backend *b = p->backend;
  size_t h = p->model->config.hidden, count = sb_pass_wave_count(p, wave);
  SB_TRY(b->op->zero(b, p->stream, p->grads, count * p->T * h * sb_dtype_size(b->act)));
  for (size_t s = 0; s < count; s++)
    SB_TRY(b->op->rmsnorm_back(b, p->stream, sb_pass_at(p, p->grads, s, h), NULL,
                               sb_pass_at(p, p->normed_grads, s, h), sb_pass_at(p, x, s, h),
                               p->final_norm, p->rstd + s * p->T, p->T, h));
  return b->op->sync(b, p->stream);
}

sb_status sb_head_backward(sb_pass *p, size_t wave, void *x) {
  SB_TRY(sweep(p, wave, xent_backward));
  return sb_world_agree(p->model->world, norm_back(p, wave, x));
}
