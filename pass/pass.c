/* Creates a pass and answers for it. The passes themselves are in forward.c and backward.c. */
#include "pass/pass.h"

#include "base/log.h"
#include "base/memory.h"
#include "pass/pass_impl.h"

size_t sb_pass_local(const sb_world *world, size_t sequences) {
  size_t rank = (size_t)world->rank, size = (size_t)world->size;
  return sequences > rank ? (sequences - rank - 1) / size + 1 : 0;
}

static sb_status set_precisions(sb_pass *p, const sb_precision_map *map,
                                const sb_lowprec_options *options) {
  const sb_lowprec_options usual = sb_lowprec_options_default();
  if (map) SB_TRY(sb_layers_emulate(&p->layers));
  return sb_device_layer_emulate(p->prepared, map, options ? options : &usual);
}

static sb_status allocate(sb_pass *p, sb_keeper keeper) {
  const sb_pass_setup *setup = &p->setup;
  const sb_wave *w = &p->wave;
  sb_backend *b = setup->backend;
  SB_TRY(sb_kept_inputs_allocate(&p->inputs, w, keeper));
  if (setup->gradients)
    SB_TRY(b->op->alloc(b, w->room * w->T * setup->model->config.hidden * sb_dtype_size(b->act),
                        "activations", &p->grads_dev));
  SB_TRY(sb_wave_allocate(&p->wave));
  SB_TRY(sb_layers_allocate(&p->layers, w, setup->gradients));
  if (setup->gradients)
    SB_TRY(sb_kept_states_allocate(&p->states, w, p->layers.work, setup->keep_bytes));
  SB_TRY(sb_vocab_allocate(&p->vocab, &p->wave,
                           &(sb_vocab_needs){.head = true,
                                             .gradients = setup->all_gradients,
                                             .teacher = setup->divergence,
                                             .packed = setup->keep_packed}));
  SB_TRY(sb_head_allocate(&p->head, &p->vocab, setup->gradients, p->states.logits));
  SB_TRY(sb_loss_tokens_allocate(&p->tokens, w));
  if (setup->divergence)
    SB_TRY(sb_loss_divergence_allocate(&p->divergence, w, &p->tokens, p->local, p->vocab.largest));
  SB_TRY(sb_alloc(&p->losses, p->local + 1, sizeof *p->losses, "losses"));
  SB_TRY(sb_device_layer_create(setup->model, b, setup->keep_packed, &p->prepared));
  return set_precisions(p, setup->precisions, setup->lowprec);
}

/* `room`: sequences at a time. */
static sb_status create(const sb_pass_setup *setup, size_t room, sb_keeper keeper, sb_pass **out) {
  const sb_world *world = setup->model->world;
  sb_status status = sb_world_alloc(world, out, sizeof **out, "pass");
  SB_TRY(status);
  sb_pass *p = *out;
  p->setup = *setup;
  p->wave = (sb_wave){.model = setup->model,
                      .backend = setup->backend,
                      .T = setup->seqlen,
                      .room = room,
                      .ticker = setup->ticker};
  sb_pass_take_loss_of_tokens(p);
  sb_pass_select(p, 0, setup->sequences);
  status = sb_world_agree(world, allocate(p, keeper));
  if (status == SB_OK)
    sb_log_debug("pass", "%zu of %zu sequences of %zu tokens, %zu at a time%s%s", p->local,
                 setup->sequences, setup->seqlen, room, setup->gradients ? ", with gradients" : "",
                 keeper == SB_KEEP_ON_HOST ? ", inputs of layers on the host" : "");
  if (status != SB_OK) sb_pass_free(out);
  return status;
}

/* Bytes of one sequence's activations. A wave has as many sequences as
 * fit into activation_bytes. */
static size_t sequence_bytes(const sb_pass_setup *setup) {
  const sb_config *c = &setup->model->config;
  const size_t states = (setup->gradients ? c->layers + 4 : 2) + (setup->divergence ? 1 : 0);
  return states * setup->seqlen * c->hidden * sb_dtype_size(setup->backend->act);
}

/* Sequences of a wave. */
static size_t room_of(const sb_pass_setup *setup) {
  const size_t most =
      setup->at_once > 0 ? sb_min_size(setup->at_once, setup->sequences) : setup->sequences;
  const size_t most_local = sb_div_up(most, (size_t)setup->model->world->size);
  const size_t carried = setup->activation_bytes / sequence_bytes(setup);
  return sb_min_size(sb_max_size(carried, 1), sb_max_size(most_local, 1));
}

size_t sb_pass_spare_bytes(const sb_pass_setup *setup) {
  const size_t used = room_of(setup) * sequence_bytes(setup);
  return setup->activation_bytes > used ? setup->activation_bytes - used : 0;
}

/* A device tells what it does not have, so fewer sequences are tried, then one whose layer inputs
 * the host keeps; on processors the system decides. */
sb_status sb_pass_create(const sb_pass_setup *setup, sb_pass **out) {
  size_t room = room_of(setup);
  sb_keeper keeper = setup->gradients ? SB_KEEP_ON_DEVICE : SB_KEEP_NOTHING;
  sb_pass_setup now = *setup;
  sb_model_pin(setup->model, setup->backend);
  for (;;) {
    sb_status status = create(&now, room, keeper, out);
    if (status != SB_ERR_MEMORY || setup->backend->unified) return status;
    if (now.keep_bytes > 0) {
      now.keep_bytes = 0;
      sb_log_line("memory       layers are computed again on the way back: %s", sb_message());
    } else if (room > 1) {
      room = sb_div_up(room, 2);
      sb_log_line("memory       %zu sequences at a time from here on: %s", room, sb_message());
    } else if (keeper == SB_KEEP_ON_DEVICE) {
      keeper = SB_KEEP_ON_HOST;
      sb_log_line("memory       inputs of layers are kept on the host from here on: %s",
                  sb_message());
    } else {
      return status;
    }
  }
}

void sb_pass_free(sb_pass **pass) {
  sb_pass *p = *pass;
  if (!p) return;
  sb_device_layer_free(&p->prepared);
  sb_kept_states_free(&p->states);
  sb_layers_free(&p->layers);
  sb_free(&p->losses);
  sb_loss_divergence_free(&p->divergence);
  sb_loss_tokens_free(&p->tokens);
  sb_head_free(&p->head);
  sb_vocab_free(&p->vocab);
  p->setup.backend->op->free(p->setup.backend, p->grads_dev);
  sb_kept_inputs_free(&p->inputs);
  sb_wave_free(&p->wave);
  sb_free(pass);
}

void sb_pass_select(sb_pass *p, size_t first, size_t end) {
  const sb_world *world = p->setup.model->world;
  p->first = sb_pass_local(world, first);
  p->local = sb_pass_local(world, end) - p->first;
  p->setup.sequences = end - first;
  p->waves = sb_div_up(sb_div_up(end - first, (size_t)world->size), p->wave.room);
  p->kept = false;
}

sb_status sb_pass_set_precisions(sb_pass *p, const sb_precision_map *map,
                                 const sb_lowprec_options *options) {
  const sb_world *world = p->setup.model->world;
  sb_pass_forget(p);
  const sb_status status = sb_world_agree(world, set_precisions(p, map, options));
  if (status != SB_OK) (void)sb_device_layer_emulate(p->prepared, NULL, NULL);
  return status;
}

void sb_pass_set_batch(sb_pass *p, const uint32_t *tokens, uint64_t key) {
  p->setup.tokens = tokens;
  p->layers.key = key;
  sb_pass_take_loss_of_tokens(p);
  p->learn_next = false;
  sb_pass_forget(p);
}

size_t sb_pass_waves(const sb_pass *p) {
  return p->waves;
}

void sb_pass_sequence_losses(const sb_pass *p, double *losses) {
  for (size_t s = 0; s < p->local; s++) losses[s] = p->losses[s].loss;
}

size_t sb_pass_sequences(const sb_pass *p) {
  return p->setup.sequences;
}

size_t sb_pass_seqlen(const sb_pass *p) {
  return p->wave.T;
}

double sb_pass_token_loss(const sb_pass *p) {
  return p->token_loss;
}

void sb_pass_forget(sb_pass *p) {
  p->kept = false;
}
