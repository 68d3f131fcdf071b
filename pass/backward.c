/* The way back: head, layers (last one first), embedding, with the hooks told what each has. */
#include "pass/embedding.h"
#include "pass/pass_impl.h"

/* A backward pass through the layers. */
typedef struct run {
  sb_pass *pass;
  const sb_pass_hooks *hooks;
  size_t layer;
} run;

/* The hooks of a layer do not know which one it is; these add it. */
static sb_status relay_matrix(void *context, sb_stream stream, size_t matrix, const float *g) {
  const run *r = context;
  return r->hooks->matrix(r->hooks->context, stream, r->layer, matrix, g);
}

static sb_status relay_factors(void *context, sb_stream stream, size_t matrix, const void *x,
                               const void *dy) {
  const run *r = context;
  return r->hooks->factors(r->hooks->context, stream, r->layer, matrix, x, dy);
}

static sb_status relay_norm(void *context, sb_stream stream, sb_role norm, const float *g) {
  const run *r = context;
  const size_t tensor = sb_arch_index(&r->pass->setup.model->arch, norm, r->layer);
  return r->hooks->parameter(r->hooks->context, stream, tensor, 0, 1, g);
}

static sb_status begin_layer(void *context, size_t layer) {
  const run *r = context;
  return r->hooks->begin_layer(r->hooks->context, r->pass->wave.stream, layer, r->pass->prepared);
}

static sb_status backward_sequence(void *context, size_t layer, size_t s) {
  run *r = context;
  sb_pass *p = r->pass;
  const sb_pass_hooks *hooks = r->hooks;
  const size_t h = p->setup.model->config.hidden;
  r->layer = layer;
  const sb_layer_hooks layer_hooks = {.context = r,
                                      .factors = hooks->factors ? relay_factors : NULL,
                                      .gradient = hooks->matrix ? relay_matrix : NULL,
                                      .norm = hooks->parameter ? relay_norm : NULL};
  SB_TRY(sb_kept_inputs_restore(&p->inputs, layer, s));
  const sb_layer_call call = sb_layers_call(&p->layers, p->prepared, s, &layer_hooks);
  sb_layer_work *kept = p->states.fresh ? sb_kept_states_work(&p->states, layer, s) : NULL;
  SB_TRY(sb_layer_backward(&call, kept ? kept : p->layers.work,
                           sb_wave_act(&p->wave, p->grads_dev, s, h),
                           sb_wave_act(&p->wave, p->inputs.dev[layer], s, h), kept != NULL));
  SB_TRY(hooks->end_sequence(hooks->context, p->wave.stream, layer));
  return sb_wave_progress(&p->wave, 3);
}

static sb_status end_layer(void *context, size_t layer) {
  const run *r = context;
  return r->hooks->end_layer(r->hooks->context, layer);
}

static sb_status head_use(void *context, const sb_vocab_chunk *chunk, size_t s, float *g_dev) {
  sb_pass *p = context;
  return sb_head_chunk_gradient(&p->head, p->loss, chunk, s, g_dev);
}

static sb_status tell_embedding(sb_pass *p) {
  const sb_table_hooks *hooks = p->tables;
  const sb_wave *w = &p->wave;
  const size_t h = p->setup.model->config.hidden;
  for (size_t s = 0; hooks && s < w->count; s++) {
    SB_TRY(sb_kept_inputs_restore(&p->inputs, 0, s));
    const sb_embedding_use use = {.count = w->T,
                                  .tokens = w->host_ids + s * w->T,
                                  .x = sb_wave_act(w, p->inputs.dev[0], s, h),
                                  .dx = sb_wave_act(w, p->grads_dev, s, h)};
    SB_TRY(hooks->embedding(hooks->context, w->stream, &use));
  }
  return SB_OK;
}

static sb_status backward_wave(sb_pass *p, const sb_pass_hooks *hooks) {
  run r = {.pass = p, .hooks = hooks};
  const sb_layer_visitor visitor = {&r, begin_layer, backward_sequence, end_layer};
  const sb_parameter_hook parameter = {hooks->context, hooks->parameter, hooks->end_parameter,
                                       !p->setup.all_gradients};
  SB_TRY(sb_head_backward(&p->head, p->loss, p->grads_dev,
                          p->inputs.dev[p->setup.model->config.layers], &parameter, p->tables));
  SB_TRY(sb_layers_walk(&p->wave, p->prepared, true, &visitor));
  p->states.fresh = false; /* used up */
  SB_AGREE(p->setup.model->world, tell_embedding(p));
  const sb_embedding_head head = {p, head_use, !sb_head_has_gradients(&p->head)};
  return sb_parameter_tables(&parameter)
             ? sb_embedding_backward(&p->vocab, p->grads_dev, &parameter, &head)
             : SB_OK;
}

void sb_pass_tell_tables(sb_pass *p, const sb_table_hooks *hooks) {
  p->tables = hooks;
}

sb_status sb_pass_gradients(sb_pass *p, const sb_pass_hooks *hooks, double *loss) {
  const bool have = p->kept;
  if (!p->setup.gradients ||
      (hooks->parameter && !p->setup.all_gradients && !p->setup.norm_gradients))
    return sb_fail(SB_ERR_INTERNAL, "a pass was not set up for these gradients");
  sb_pass_expect(p, have ? 3 : 4);
  for (size_t wave = 0; wave < p->waves; wave++) {
    if (!have) SB_TRY(sb_pass_forward_wave(p, wave, true));
    if (p->learn_next)
      SB_AGREE(p->setup.model->world, sb_loss_divergence_keep(&p->divergence, p->head.states_dev));
    SB_TRY(backward_wave(p, hooks));
  }
  p->kept = have || p->waves == 1;
  if (p->learn_next) sb_pass_take_loss_of_divergence(p);
  p->learn_next = false;
  return sb_pass_mean_loss(p, loss);
}
