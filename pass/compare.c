/* Two models on the same tokens: Kullback-Leibler divergence and top-1 agreement, chunk by chunk of
 * the vocabulary. */
#include "base/memory.h"
#include "mpi/exact.h"
#include "pass/group_walk.h"
#include "pass/pass_impl.h"

typedef struct compare {
  sb_pass *pass, *ref;
  double *kl_dev, *host_kl; /* [room, T] */
  float *whole_dev;         /* [T, largest chunk]: logits of a packed chunk that is cut */
  uint32_t *host_argmax;    /* [2, room, T] */
  sb_exact kl_sum, loss_sum, ref_loss_sum;
  int64_t agree;
} compare;

/* One model's way through its head. */
typedef struct side {
  sb_pass *pass;
  sb_group_walk walk;
  size_t group;
  const void *image;
  sb_vocab_chunk chunk; /* at hand */
} side;

static side begin_side(sb_pass *p) {
  const sb_model *m = p->setup.model;
  return (side){.pass = p,
                .walk = sb_group_walk_begin(m->store, m->head_first, m->head_count, false)};
}

static size_t end_of(const side *a) {
  return a->chunk.first + a->chunk.count;
}

/* Logits of the tokens [v, end) of the chunk at hand into the head's buffer. Rows are a part of the
 * chunk's; of a packed chunk, whose rows cannot be taken apart, the logits are. */
static sb_status logits_of(const compare *z, const side *a, size_t v, size_t end, size_t s) {
  const sb_head *head = &a->pass->head;
  const sb_wave *w = &a->pass->wave;
  sb_backend *b = w->backend;
  const size_t row = w->model->config.hidden * sb_dtype_size(a->chunk.dtype),
               before = v - a->chunk.first, count = end - v;
  sb_vocab_chunk part = a->chunk;
  if (part.packed && count < part.count) {
    SB_TRY(sb_vocab_logits(w, &part, head->states_dev, s, z->whole_dev));
    for (size_t t = 0; t < w->T; t++)
      SB_TRY(b->op->copy(b, w->stream, head->logits_dev + t * count,
                         z->whole_dev + t * part.count + before, count * sizeof(float)));
    return SB_OK;
  }
  part.count = count;
  if (!part.packed) part.rows_dev = (const char *)part.rows_dev + before * row;
  return sb_vocab_logits(w, &part, head->states_dev, s, head->logits_dev);
}

static sb_status add_piece(const compare *z, const side *ours, const side *theirs, size_t v,
                           size_t end) {
  sb_pass *p = z->pass, *r = z->ref;
  const sb_wave *w = &p->wave;
  for (size_t s = 0; s < w->count; s++) {
    const size_t row = s * w->T;
    SB_TRY(logits_of(z, ours, v, end, s));
    SB_TRY(logits_of(z, theirs, v, end, s));
    SB_TRY(w->backend->op->kl_chunk(w->backend, w->stream, z->kl_dev + row, r->head.logits_dev,
                                    r->tokens.lse_dev + row, p->head.logits_dev,
                                    p->tokens.lse_dev + row, w->T, end - v));
  }
  return w->backend->op->sync(w->backend, w->stream);
}

/* Both models' heads side by side. Chunks end where blocks, and the size of a layer, let them: not
 * always at the same token in both. So they go on piece by piece, to the nearer end. */
static sb_status sweep(compare *z) {
  sb_pass *p = z->pass, *r = z->ref;
  side ours = begin_side(p), theirs = begin_side(r);
  for (size_t v = 0, end; v < p->setup.model->config.vocab; v = end) {
    const bool enter_ours = v == end_of(&ours), enter_theirs = v == end_of(&theirs);
    sb_status status =
        enter_ours ? sb_group_walk_enter(&ours.walk, &ours.group, &ours.image) : SB_OK;
    if (status == SB_OK && enter_theirs)
      status = sb_group_walk_enter(&theirs.walk, &theirs.group, &theirs.image);
    if (status == SB_OK && enter_ours)
      status = sb_vocab_operands(&p->vocab, ours.group, ours.image, &ours.chunk);
    if (status == SB_OK && enter_theirs)
      status = sb_vocab_operands(&r->vocab, theirs.group, theirs.image, &theirs.chunk);
    end = sb_min_size(end_of(&ours), end_of(&theirs));
    SB_THEN(add_piece(z, &ours, &theirs, v, end));
    SB_AGREE(p->setup.model->world, status);
    if (end == end_of(&ours)) SB_TRY(sb_group_walk_leave(&ours.walk));
    if (end == end_of(&theirs)) SB_TRY(sb_group_walk_leave(&theirs.walk));
  }
  return SB_OK;
}

static sb_status add_up(compare *z) {
  const sb_wave *w = &z->pass->wave;
  sb_backend *b = w->backend;
  const size_t rows = sb_wave_rows(w);
  uint32_t *ours = z->host_argmax, *theirs = ours + rows;
  SB_TRY(b->op->download(b, w->stream, z->host_kl, z->kl_dev, rows * sizeof *z->host_kl));
  SB_TRY(b->op->download(b, w->stream, ours, z->pass->tokens.argmax_dev, rows * sizeof *ours));
  SB_TRY(b->op->download(b, w->stream, theirs, z->ref->tokens.argmax_dev, rows * sizeof *theirs));
  SB_TRY(b->op->sync(b, w->stream));
  for (size_t i = 0; i < rows; i++) {
    if (i % w->T == w->T - 1) continue; /* has no target */
    SB_TRY(sb_exact_add(&z->kl_sum, z->host_kl[i]));
    z->agree += ours[i] == theirs[i];
  }
  return SB_OK;
}

static sb_status one_wave(compare *z, size_t wave) {
  const sb_wave *w = &z->pass->wave;
  const sb_world *world = w->model->world;
  sb_backend *b = w->backend;
  SB_TRY(sb_pass_forward_wave(z->pass, wave, false));
  SB_TRY(sb_pass_forward_wave(z->ref, wave, false));
  SB_AGREE(world, b->op->zero(b, w->stream, z->kl_dev, w->room * w->T * sizeof(double)));
  SB_TRY(sweep(z));
  return sb_world_agree(world, add_up(z));
}

/* A wave of both is what the smaller one's memory carries. */
static void settle_waves(sb_pass *p, sb_pass *ref) {
  p->wave.room = ref->wave.room = sb_min_size(p->wave.room, ref->wave.room);
  p->waves = ref->waves = sb_max_size(p->waves, ref->waves);
}

static sb_status add_losses(compare *z) {
  for (size_t s = 0; s < z->pass->local; s++) {
    SB_TRY(sb_exact_add(&z->loss_sum, z->pass->losses[s].nll));
    SB_TRY(sb_exact_add(&z->ref_loss_sum, z->ref->losses[s].nll));
  }
  return SB_OK;
}

static sb_status finish(compare *z, sb_comparison *out) {
  const sb_pass *p = z->pass;
  const sb_world *world = p->setup.model->world;
  SB_AGREE(world, add_losses(z));
  sb_exact sums[4] = {z->kl_sum, z->loss_sum, z->ref_loss_sum, {0, z->agree}};
  SB_TRY(sb_exact_allreduce(sums, 4, world->comm));
  const size_t count = p->setup.sequences * (p->wave.T - 1);
  const double sequences = (double)p->setup.sequences, targets = (double)count;
  *out = (sb_comparison){.loss = sb_exact_value(&sums[1]) / sequences,
                         .ref_loss = sb_exact_value(&sums[2]) / sequences,
                         .mean_kl = sb_exact_value(&sums[0]) / targets,
                         .top1_agreement = (double)sums[3].low / targets,
                         .targets = count};
  return SB_OK;
}

static sb_status allocate(compare *z) {
  const sb_wave *w = &z->pass->wave;
  const size_t rows = w->room * w->T;
  SB_TRY(
      w->backend->op->alloc(w->backend, rows * sizeof(double), "divergences", (void **)&z->kl_dev));
  const size_t largest = sb_max_size(z->pass->vocab.largest, z->ref->vocab.largest);
  if (z->pass->vocab.keep_packed || z->ref->vocab.keep_packed)
    SB_TRY(w->backend->op->alloc(w->backend, w->T * largest * sizeof(float), "logits",
                                 (void **)&z->whole_dev));
  SB_TRY(sb_alloc(&z->host_kl, rows, sizeof *z->host_kl, "divergences"));
  return sb_alloc(&z->host_argmax, 2 * rows, sizeof *z->host_argmax, "most likely tokens");
}

sb_status sb_pass_compare(sb_pass *p, sb_pass *ref, sb_comparison *out) {
  compare z = {.pass = p, .ref = ref};
  if (p->setup.model->config.vocab != ref->setup.model->config.vocab || p->wave.T != ref->wave.T ||
      p->setup.sequences != ref->setup.sequences)
    return sb_fail(SB_ERR_INTERNAL, "models compared on other tokens, or of other vocabularies");
  settle_waves(p, ref);
  sb_pass_expect(p, 1);
  sb_pass_expect(ref, 1);
  sb_status status = sb_world_agree(p->setup.model->world, allocate(&z));
  for (size_t wave = 0; status == SB_OK && wave < p->waves; wave++) status = one_wave(&z, wave);
  SB_THEN(finish(&z, out));
  p->setup.backend->op->free(p->setup.backend, z.kl_dev);
  p->setup.backend->op->free(p->setup.backend, z.whole_dev);
  sb_free(&z.host_kl);
  sb_free(&z.host_argmax);
  return status;
}
