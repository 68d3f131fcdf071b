/* The way forward: embedding, layers, head; and the losses of sequences added up over ranks. */
#include "base/log.h"
#include "base/memory.h"
#include "mpi/exact.h"
#include "pass/embedding.h"
#include "pass/pass_impl.h"

void sb_pass_expect(sb_pass *p, double passes) {
  const double layers = (double)p->setup.model->config.layers + 1; /* the head counts as one */
  sb_wave_expect(&p->wave, (double)p->local * layers * passes);
}

static sb_status enter_wave(sb_pass *p, size_t wave) {
  const size_t before = wave * p->wave.room, first = p->first + before;
  const size_t count = p->local > before ? sb_min_size(p->wave.room, p->local - before) : 0;
  const uint32_t *tokens = count > 0 ? p->setup.tokens + first * p->wave.T : NULL;
  return sb_wave_enter(&p->wave, tokens, first, count);
}

/* A forward pass through the layers. */
typedef struct run {
  sb_pass *pass;
  bool keep; /* every layer's input has a place of its own */
  size_t layer;
} run;

/* Carries the layer to the observer. */
static sb_status relay_input(void *context, sb_stream stream, size_t input, const void *x) {
  const run *r = context;
  const sb_pass_observer *o = r->pass->observer;
  return o->input(o->context, stream, r->layer, input, x);
}

static sb_status forward_sequence(void *context, size_t layer, size_t s) {
  run *r = context;
  sb_pass *p = r->pass;
  const size_t h = p->setup.model->config.hidden;
  void *const *inputs = p->inputs.dev;
  void *x = sb_wave_act(&p->wave, inputs[r->keep ? layer : 0], s, h),
       *y = sb_wave_act(&p->wave, inputs[r->keep ? layer + 1 : 0], s, h);
  r->layer = layer;
  const sb_layer_hooks hooks = {.context = r, .input = p->observer ? relay_input : NULL};
  const sb_layer_call call = sb_layers_call(&p->layers, p->prepared, s, &hooks);
  sb_layer_work *kept = r->keep ? sb_kept_states_work(&p->states, layer, s) : NULL;
  SB_TRY(sb_layer_forward(&call, kept ? kept : p->layers.work, y, x));
  if (r->keep) SB_TRY(sb_kept_inputs_save(&p->inputs, layer, s));
  return sb_wave_progress(&p->wave, 1);
}

sb_status sb_pass_forward_layers(sb_pass *p, size_t wave, bool keep) {
  const sb_model *m = p->setup.model;
  run r = {.pass = p, .keep = keep};
  const sb_layer_visitor visitor = {.context = &r, .sequence = forward_sequence};
  p->kept = false; /* until the caller says that this forward part may stand for another */
  p->states.fresh = false;
  SB_AGREE(m->world, enter_wave(p, wave));
  SB_TRY(sb_embedding_forward(&p->vocab, p->inputs.dev[0]));
  SB_TRY(sb_layers_walk(&p->wave, p->prepared, false, &visitor));
  p->states.fresh = keep;
  return sb_head_norm(&p->head, p->inputs.dev[keep ? m->config.layers : 0]);
}

sb_status sb_pass_forward_wave(sb_pass *p, size_t wave, bool keep) {
  SB_TRY(sb_pass_forward_layers(p, wave, keep));
  return sb_head_forward(&p->head, p->loss, p->losses + (p->wave.first - p->first));
}

sb_status sb_pass_mean_loss(sb_pass *p, double *loss) {
  const sb_world *world = p->setup.model->world;
  sb_exact sums[2] = {{0}, {0}};
  sb_status status = SB_OK;
  for (size_t s = 0; s < p->local && status == SB_OK; s++) {
    status = sb_exact_add(&sums[0], p->losses[s].loss);
    SB_THEN(sb_exact_add(&sums[1], p->losses[s].nll));
  }
  if (status != SB_OK)
    status = sb_fail(
        SB_ERR_NUMERIC,
        "the loss is not a number: the weights, as they are quantized now, overflow in this model");
  SB_AGREE(world, status);
  SB_TRY(sb_exact_allreduce(sums, 2, world->comm));
  *loss = sb_exact_value(&sums[0]) / (double)p->setup.sequences;
  p->token_loss = sb_exact_value(&sums[1]) / (double)p->setup.sequences;
  return SB_OK;
}

sb_status sb_pass_loss(sb_pass *p, double *loss) {
  const bool keep = p->setup.gradients && p->waves == 1;
  sb_pass_expect(p, 1);
  for (size_t wave = 0; wave < p->waves; wave++) SB_TRY(sb_pass_forward_wave(p, wave, keep));
  SB_TRY(sb_pass_mean_loss(p, loss));
  p->kept = keep;
  sb_log_debug("pass", "loss %.9g", *loss);
  return SB_OK;
}

sb_status sb_pass_observe(sb_pass *p, const sb_pass_observer *observer, double *loss) {
  p->observer = observer;
  const sb_status status = sb_pass_loss(p, loss);
  p->observer = NULL;
  return status;
}

sb_status sb_pass_logits(sb_pass *p, size_t index, float *out) {
  SB_TRY(sb_pass_forward_layers(p, index / p->wave.room, false));
  return sb_head_logits(&p->head, index % p->wave.room, out);
}
