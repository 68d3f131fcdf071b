/* Two models on the same tokens: Kullback-Leibler divergence and top-1 agreement, chunk by chunk of
 * the vocabulary. */
#include "base/memory.h"
#include "pass/pass_impl.h"
#include "mpi/exact.h"

typedef struct compare {
  sb_pass *pass, *ref;
  double *kl; /* device, [wave, T] */
  double *host_kl;
  uint32_t *host_argmax; /* [2, wave, T] */
  sb_exact kl_sum, loss_sum, ref_loss_sum;
  int64_t agree;
} compare;

static sb_status chunk(compare *z, size_t wave, const void *ours, const void *theirs, size_t nv) {
  sb_pass *p = z->pass;
  for (size_t s = 0; s < sb_pass_wave_count(p, wave); s++) {
    size_t row = s * p->T;
    SB_TRY(sb_head_logits(p, p->normed, ours, nv, s, p->logits));
    SB_TRY(sb_head_logits(z->ref, z->ref->normed, theirs, nv, s, z->ref->logits));
    SB_TRY(p->backend->op->kl_chunk(p->backend, p->stream, z->kl + row, z->ref->logits,
                                    z->ref->lse + row, p->logits, p->lse + row, p->T, nv));
  }
  return p->backend->op->sync(p->backend, p->stream);
}

/* One model's way through its head. */
typedef struct side {
  sb_pass *pass;
  sb_group_walk walk;
  size_t v0, end; /* tokens of the chunk at hand */
  const void *image, *weights;
  size_t group;
} side;

static sb_status unfold(side *a) {
  size_t rows;
  SB_TRY(sb_head_chunk(a->pass, a->group, a->image, &a->v0, &rows, &a->weights));
  a->end = a->v0 + rows;
  return SB_OK;
}

/* Rows of the chunk from token v on. */
static const void *rows_from(const side *a, size_t v) {
  return (const char *)a->weights +
         (v - a->v0) * a->pass->model->config.hidden * sb_dtype_size(a->pass->backend->operand);
}

/* Both models' heads side by side. Chunks end where blocks, and the size of a layer, let them: not
 * always at the same token in both. So they go on piece by piece, to the nearer end. */
static sb_status sweep(compare *z, size_t wave) {
  sb_pass *p = z->pass, *r = z->ref;
  side ours = {.pass = p,
               .walk = sb_group_walk_begin(p->model->store, p->model->head_first,
                                           p->model->head_count, false)};
  side theirs = {.pass = r,
                 .walk = sb_group_walk_begin(r->model->store, r->model->head_first,
                                             r->model->head_count, false)};
  for (size_t v = 0, end; v < p->model->config.vocab; v = end) {
    const bool enter_ours = v == ours.end, enter_theirs = v == theirs.end;
    sb_status status =
        enter_ours ? sb_group_walk_enter(&ours.walk, &ours.group, &ours.image) : SB_OK;
    if (status == SB_OK && enter_theirs)
      status = sb_group_walk_enter(&theirs.walk, &theirs.group, &theirs.image);
    if (status == SB_OK && enter_ours) status = unfold(&ours);
    if (status == SB_OK && enter_theirs) status = unfold(&theirs);
    end = sb_min_size(ours.end, theirs.end);
    if (status == SB_OK)
      status = chunk(z, wave, rows_from(&ours, v), rows_from(&theirs, v), end - v);
    SB_AGREE(p->model->world, status);
    if (end == ours.end) SB_TRY(sb_group_walk_leave(&ours.walk));
    if (end == theirs.end) SB_TRY(sb_group_walk_leave(&theirs.walk));
  }
  return SB_OK;
}

static sb_status add_up(compare *z, size_t wave) {
  sb_pass *p = z->pass;
  sb_backend *b = p->backend;
  size_t rows = sb_pass_wave_count(p, wave) * p->T;
  uint32_t *ours = z->host_argmax, *theirs = ours + rows;
  SB_TRY(b->op->download(b, p->stream, z->host_kl, z->kl, rows * sizeof *z->kl));
  SB_TRY(b->op->download(b, p->stream, ours, p->argmax, rows * sizeof *ours));
  SB_TRY(b->op->download(b, p->stream, theirs, z->ref->argmax, rows * sizeof *theirs));
  SB_TRY(b->op->sync(b, p->stream));
  for (size_t i = 0; i < rows; i++) {
    if (i % p->T == p->T - 1) continue;
    SB_TRY(sb_exact_add(&z->kl_sum, z->host_kl[i]));
    z->agree += ours[i] == theirs[i];
  }
  return SB_OK;
}

static sb_status one_wave(compare *z, size_t wave) {
  sb_pass *p = z->pass, *r = z->ref;
  const sb_world *world = p->model->world;
  sb_backend *b = p->backend;
  SB_TRY(sb_pass_forward_wave(p, wave, false));
  SB_TRY(sb_head_forward(p, wave));
  SB_TRY(sb_pass_forward_wave(r, wave, false));
  SB_TRY(sb_head_forward(r, wave));
  SB_AGREE(world, b->op->zero(b, p->stream, z->kl, p->wave * p->T * sizeof *z->kl));
  SB_TRY(sweep(z, wave));
  return sb_world_agree(world, add_up(z, wave));
}

/* A wave of both is what the smaller one's memory carries. */
static void settle_waves(sb_pass *p, sb_pass *ref) {
  p->wave = ref->wave = sb_min_size(p->wave, ref->wave);
  p->waves = ref->waves = sb_max_size(p->waves, ref->waves);
}

sb_status sb_pass_compare(sb_pass *p, sb_pass *ref, sb_comparison *out) {
  const sb_world *world = p->model->world;
  sb_backend *b = p->backend;
  compare z = {.pass = p, .ref = ref};
  sb_status status = SB_OK;
  if (p->model->config.vocab != ref->model->config.vocab || p->T != ref->T ||
      p->setup.sequences != ref->setup.sequences)
    return sb_fail(SB_ERR_INTERNAL, "models compared on other tokens, or of other vocabularies");
  settle_waves(p, ref);
  size_t rows = p->wave * p->T;
  sb_pass_start_ticks(p, 1, 0);
  sb_pass_start_ticks(ref, 1, 0);
  SB_GO(b->op->alloc(b, rows * sizeof *z.kl, "divergences", (void **)&z.kl));
  SB_GO(sb_alloc(&z.host_kl, rows, sizeof *z.host_kl, "divergences"));
  SB_GO(sb_alloc(&z.host_argmax, 2 * rows, sizeof *z.host_argmax, "most likely tokens"));
done:
  status = sb_world_agree(world, status);
  for (size_t wave = 0; status == SB_OK && wave < p->waves; wave++) status = one_wave(&z, wave);
  if (status == SB_OK) {
    for (size_t s = 0; s < p->local && status == SB_OK; s++) {
      status = sb_exact_add(&z.loss_sum, p->sequence_loss[s]);
      if (status == SB_OK) status = sb_exact_add(&z.ref_loss_sum, ref->sequence_loss[s]);
    }
    status = sb_world_agree(world, status);
  }
  sb_exact sums[4] = {z.kl_sum, z.loss_sum, z.ref_loss_sum, {0, z.agree}};
  if (status == SB_OK) status = sb_exact_allreduce(sums, 4, world->comm);
  if (status == SB_OK) {
    double sequences = (double)p->setup.sequences, targets = sequences * (double)(p->T - 1);
    *out = (sb_comparison){.loss = sb_exact_value(&sums[1]) / sequences,
                           .ref_loss = sb_exact_value(&sums[2]) / sequences,
                           .mean_kl = sb_exact_value(&sums[0]) / targets,
                           .top1_agreement = (double)sums[3].low / targets,
                           .targets = p->setup.sequences * (p->T - 1)};
  }
  b->op->free(b, z.kl);
  sb_free(&z.host_kl);
  sb_free(&z.host_argmax);
  return status;
}
