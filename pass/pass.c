#include "pass/pass.h"

#include "base/log.h"
#include "base/memory.h"
#include "model/rope_table.h"
#include "pass/pass_impl.h"
#include "mpi/exact.h"

size_t sb_pass_local(const sb_world *world, size_t sequences) {
  size_t rank = (size_t)world->rank, size = (size_t)world->size;
  return sequences > rank ? (sequences - rank - 1) / size + 1 : 0;
}

size_t sb_pass_wave_count(const sb_pass *p, size_t wave) {
  size_t first = wave * p->wave;
  return p->local > first ? sb_min_size(p->wave, p->local - first) : 0;
}

void *sb_pass_at(const sb_pass *p, void *buffer, size_t s, size_t width) {
  return (char *)buffer + s * p->T * width * sb_dtype_size(p->backend->act);
}

void *sb_pass_operand_at(const sb_pass *p, void *buffer, size_t s, size_t width) {
  return (char *)buffer + s * p->T * width * sb_dtype_size(p->backend->operand);
}

sb_layer_call sb_pass_layer_call(const sb_pass *p, const sb_device_layer *prepared,
                                 const sb_layer_hooks *hooks) {
  return (sb_layer_call){
      p->backend, p->stream, &p->model->config, sb_device_layer_weights(prepared), p->cos_sin,
      p->T,       hooks};
}

void sb_pass_tick(sb_pass *p, double steps) {
  p->step += steps;
  sb_tick(p->setup.ticker, p->steps > 0 ? p->step / p->steps : 1.0);
}

/* The one of inputs[0] to inputs[i] whose memory inputs[i] is. */
static size_t input_buffer(const sb_pass *p, size_t i) {
  if (!p->setup.gradients) return 0;
  return p->on_host && i < p->model->config.layers ? i % 2 : i;
}

static sb_status allocate_inputs(sb_pass *p, size_t bytes, bool host_keeps) {
  sb_backend *b = p->backend;
  const size_t layers = p->model->config.layers;
  SB_TRY(sb_alloc(&p->inputs, layers + 1, sizeof *p->inputs, "activations"));
  if (host_keeps) SB_TRY(sb_alloc(&p->on_host, layers, sizeof *p->on_host, "activations"));
  for (size_t i = 0; host_keeps && i < layers; i++)
    SB_TRY(b->op->host_alloc(b, bytes, "activations", &p->on_host[i]));
  for (size_t i = 0; i <= layers; i++) {
    const size_t from = input_buffer(p, i);
    if (from == i) SB_TRY(b->op->alloc(b, bytes, "activations", &p->inputs[i]));
    p->inputs[i] = p->inputs[from];
  }
  return SB_OK;
}

static void free_inputs(sb_pass *p) {
  sb_backend *b = p->backend;
  const size_t layers = p->model->config.layers;
  for (size_t i = 0; p->inputs && i <= layers; i++)
    if (input_buffer(p, i) == i) b->op->free(b, p->inputs[i]);
  for (size_t i = 0; p->on_host && i < layers; i++) b->op->host_free(b, p->on_host[i]);
  sb_free(&p->inputs);
  sb_free(&p->on_host);
}

static sb_status allocate(sb_pass *p, bool host_keeps) {
  sb_status status = SB_OK;
  const sb_config *c = &p->model->config;
  sb_backend *b = p->backend;
  size_t act = sb_dtype_size(b->act), rows = p->wave * p->T, hidden_bytes = rows * c->hidden * act;
  size_t chunk = sb_head_largest_chunk(p->model);
#define DEVICE(field, bytes) SB_GO(b->op->alloc(b, (bytes), "activations", (void **)&p->field))
  SB_GO(allocate_inputs(p, hidden_bytes, host_keeps));
  DEVICE(normed, hidden_bytes);
  if (p->setup.gradients) {
    DEVICE(grads, hidden_bytes);
    DEVICE(normed_grads, hidden_bytes);
  }
  DEVICE(rstd, rows * sizeof(float));
  DEVICE(ids, rows * sizeof(uint32_t));
  DEVICE(targets, rows * sizeof(uint32_t));
  DEVICE(argmax, rows * sizeof(uint32_t));
  DEVICE(row_max, rows * sizeof(float));
  DEVICE(row_sum, rows * sizeof(float));
  DEVICE(target_logit, rows * sizeof(float));
  DEVICE(lse, rows * sizeof(float));
  DEVICE(nll, rows * sizeof(double));
  DEVICE(logits, p->T * chunk * sizeof(float));
  DEVICE(chunk, chunk * c->hidden * sb_dtype_size(b->operand));
  if (!b->unified) DEVICE(chunk_source, chunk * c->hidden * sizeof(float));
  DEVICE(final_norm, c->hidden * sizeof(float));
  DEVICE(raw_norm, c->hidden * sizeof(float));
  DEVICE(cos_sin, p->T * c->head_dim * sizeof(float));
#undef DEVICE
  if (p->setup.divergence) SB_GO(sb_reference_create(p));
  SB_GO(sb_alloc(&p->host_nll, rows, sizeof(double), "losses"));
  SB_GO(sb_alloc(&p->host_ids, 2 * rows, sizeof(uint32_t), "token ids"));
  SB_GO(sb_alloc(&p->sequence_loss, p->local + 1, sizeof(double), "losses"));
  SB_GO(sb_alloc(&p->sequence_nll, p->local + 1, sizeof(double), "losses"));
  SB_GO(sb_layer_work_create(b, c, p->T, p->setup.gradients,
                             p->model->orders.mode == SB_REORDER_INDEXED, &p->work));
  SB_GO(sb_device_layer_create(p->model, b, p->setup.keep_packed, &p->prepared));
done:
  return status;
}

static sb_status upload_rope(sb_pass *p) {
  float *table = NULL;
  size_t count = p->T * p->model->config.head_dim;
  SB_TRY(sb_alloc(&table, count, sizeof *table, "RoPE table"));
  sb_config_rope_table(&p->model->config, p->T, table);
  sb_status status =
      p->backend->op->upload(p->backend, p->stream, p->cos_sin, table, count * sizeof *table);
  if (status == SB_OK) status = p->backend->op->sync(p->backend, p->stream);
  sb_free(&table);
  return status;
}

/* With at most `most` sequences at a time. */
static sb_status create(const sb_pass_setup *setup, size_t most, bool host_keeps, sb_pass **out) {
  const sb_world *world = setup->model->world;
  sb_status status = sb_alloc(out, 1, sizeof **out, "pass");
  SB_AGREE(world, status);
  sb_pass *p = *out;
  p->setup = *setup;
  p->model = setup->model;
  p->backend = setup->backend;
  p->T = setup->seqlen;
  p->local = sb_pass_local(world, setup->sequences);
  p->wave = most;
  p->waves = sb_div_up(sb_div_up(setup->sequences, (size_t)world->size), p->wave);
  status = allocate(p, host_keeps);
  if (status == SB_OK) status = upload_rope(p);
  status = sb_world_agree(world, status);
  if (status != SB_OK) sb_pass_free(out);
  return status;
}

/* A device tells what it does not have, so fewer sequences are tried, then one whose layer inputs
 * the host keeps; on processors the system decides. */
sb_status sb_pass_create(const sb_pass_setup *setup, sb_pass **out) {
  const sb_config *c = &setup->model->config;
  const size_t most =
      setup->at_once > 0 ? sb_min_size(setup->at_once, setup->sequences) : setup->sequences;
  const size_t most_local = sb_div_up(most, (size_t)setup->model->world->size);
  const size_t each = setup->seqlen * c->hidden * sb_dtype_size(setup->backend->act) *
                      ((setup->gradients ? c->layers + 4 : 2) + (setup->divergence ? 1 : 0));
  size_t wave =
      sb_min_size(sb_max_size(setup->activation_bytes / each, 1), sb_max_size(most_local, 1));
  sb_model_pin(setup->model, setup->backend);
  for (bool host_keeps = false;;) {
    sb_status status = create(setup, wave, host_keeps, out);
    if (status != SB_ERR_MEMORY || setup->backend->unified) return status;
    if (wave > 1) {
      wave = sb_div_up(wave, 2);
      sb_log_line("memory       %zu sequences at a time from here on: %s", wave, sb_message());
    } else if (setup->gradients && !host_keeps) {
      host_keeps = true;
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
  sb_backend *b = p->backend;
  free_inputs(p);
  void *device[] = {p->normed,   p->grads,   p->normed_grads, p->rstd,         p->ids,
                    p->targets,  p->argmax,  p->row_max,      p->row_sum,      p->target_logit,
                    p->lse,      p->logits,  p->chunk,        p->chunk_source, p->final_norm,
                    p->raw_norm, p->cos_sin, p->nll};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) b->op->free(b, device[i]);
  sb_reference_free(p);
  sb_layer_work_free(&p->work);
  sb_device_layer_free(&p->prepared);
  sb_free(&p->host_nll);
  sb_free(&p->host_ids);
  sb_free(&p->sequence_loss);
  sb_free(&p->sequence_nll);
  sb_free(pass);
}

void sb_pass_select(sb_pass *p, size_t first, size_t end) {
  const sb_world *world = p->model->world;
  p->first = sb_pass_local(world, first);
  p->local = sb_pass_local(world, end) - p->first;
  p->setup.sequences = end - first;
  p->waves = sb_div_up(sb_div_up(end - first, (size_t)world->size), p->wave);
  p->kept = false;
}

size_t sb_pass_waves(const sb_pass *p) {
  return p->waves;
}

size_t sb_pass_sequences(const sb_pass *p) {
  return p->setup.sequences;
}

size_t sb_pass_seqlen(const sb_pass *p) {
  return p->T;
}

void sb_pass_forget(sb_pass *p) {
  p->kept = false;
}

typedef struct observed {
  const sb_pass_observer *observer;
  size_t layer;
} observed;

static sb_status relay_input(void *context, sb_stream stream, sb_linear first, const void *x) {
  const observed *o = context;
  return o->observer->input(o->observer->context, stream, o->layer, first, x);
}

/* What is done with sequence s of the wave in a prepared layer. Local. */
typedef sb_status (*sequence_work)(sb_pass *p, size_t layer, size_t s, void *context);

/* Acquires the next layer and has its rows copied while the device computes. Every rank comes here
 * once a layer, whatever `status` became of its own work. Collective. */
static sb_status look_ahead(sb_pass *p, sb_group_walk *walk, sb_status status) {
  size_t group;
  const void *image;
  if (p->backend->unified) return status;
  const sb_status ahead = sb_group_walk_ahead(walk, &group, &image);
  status = sb_device_agree(p->model->world, p->backend, status);
  if (status != SB_OK || ahead != SB_OK) return status != SB_OK ? status : ahead;
  return image ? sb_device_layer_fetch(p->prepared, group - p->model->layer_first, image) : SB_OK;
}

/* The wave's sequences through one layer, which is prepared; the next one's rows come while the
 * last of them, at the latest, is computed with. Collective. */
static sb_status each_sequence(sb_pass *p, sb_group_walk *walk, size_t wave, size_t layer,
                               sb_status status, sequence_work work, void *context) {
  const size_t count = sb_pass_wave_count(p, wave);
  for (size_t s = 0; s + 1 < count && status == SB_OK; s++) status = work(p, layer, s, context);
  status = look_ahead(p, walk, status);
  if (status == SB_OK && count > 0) status = work(p, layer, count - 1, context);
  return status == SB_OK ? p->backend->op->sync(p->backend, p->stream) : status;
}

static sb_status prepare_layer(sb_pass *p, size_t layer, const void *image, sb_status status) {
  status = sb_device_agree(p->model->world, p->backend, status);
  return status == SB_OK ? sb_device_layer_load(p->prepared, p->stream, layer, image) : status;
}

typedef struct ends {
  void *in, *out;
  void *kept; /* where the host keeps `in`, or NULL */
} ends;

static sb_status sequence_forward(sb_pass *p, size_t layer, size_t s, void *context) {
  const ends *f = context;
  const size_t h = p->model->config.hidden;
  observed o = {p->observer, layer};
  const sb_layer_hooks hooks = {.context = &o, .input = p->observer ? relay_input : NULL};
  const sb_layer_call call = sb_pass_layer_call(p, p->prepared, &hooks);
  SB_TRY(sb_layer_forward(&call, p->work, sb_pass_at(p, f->out, s, h), sb_pass_at(p, f->in, s, h)));
  if (f->kept)
    SB_TRY(p->backend->op->download(p->backend, p->stream, sb_pass_at(p, f->kept, s, h),
                                    sb_pass_at(p, f->in, s, h),
                                    p->T * h * sb_dtype_size(p->backend->act)));
  sb_pass_tick(p, 1);
  return sb_store_progress(p->model->store);
}

sb_status sb_pass_forward_wave(sb_pass *p, size_t wave, bool keep) {
  sb_model *m = p->model;
  size_t layers = m->config.layers;
  p->kept = false; /* until the caller says that this forward part may stand for another */
  SB_TRY(sb_head_embed(p, wave));
  sb_group_walk walk = sb_group_walk_begin(m->store, m->layer_first, layers, false);
  while (sb_group_walk_more(&walk)) {
    size_t group;
    const void *image;
    sb_status status = sb_group_walk_enter(&walk, &group, &image);
    size_t layer = group - m->layer_first;
    ends f = {p->inputs[keep ? layer : 0], p->inputs[keep ? layer + 1 : 0],
              keep && p->on_host ? p->on_host[layer] : NULL};
    status = prepare_layer(p, layer, image, status);
    SB_AGREE(m->world, each_sequence(p, &walk, wave, layer, status, sequence_forward, &f));
    SB_TRY(sb_group_walk_leave(&walk));
  }
  return sb_head_norm(p, wave, p->inputs[keep ? layers : 0]);
}

void sb_pass_start_ticks(sb_pass *p, double forward, double backward) {
  double layers = (double)p->model->config.layers + 1; /* the head counts as one */
  p->step = 0;
  p->steps = (double)p->local * layers * (forward + backward);
}

static sb_status mean_loss(sb_pass *p, double *loss) {
  sb_exact sums[2] = {{0}, {0}};
  sb_status status = SB_OK;
  for (size_t s = 0; s < p->local && status == SB_OK; s++) {
    status = sb_exact_add(&sums[0], p->sequence_loss[s]);
    if (status == SB_OK) status = sb_exact_add(&sums[1], p->sequence_nll[s]);
  }
  if (status != SB_OK)
    status = sb_fail(
        SB_ERR_NUMERIC,
        "the loss is not a number: the weights, as they are quantized now, overflow in this model");
  SB_AGREE(p->model->world, status);
  SB_TRY(sb_exact_allreduce(sums, 2, p->model->world->comm));
  *loss = sb_exact_value(&sums[0]) / (double)p->setup.sequences;
  p->token_loss = sb_exact_value(&sums[1]) / (double)p->setup.sequences;
  return SB_OK;
}

double sb_pass_token_loss(const sb_pass *p) {
  return p->token_loss;
}

sb_status sb_pass_loss(sb_pass *p, double *loss) {
  bool keep = p->setup.gradients && p->waves == 1;
  sb_pass_start_ticks(p, 1, 0);
  for (size_t wave = 0; wave < p->waves; wave++) {
    SB_TRY(sb_pass_forward_wave(p, wave, keep));
    SB_TRY(sb_head_forward(p, wave));
  }
  SB_TRY(mean_loss(p, loss));
  p->kept = keep;
  return SB_OK;
}

sb_status sb_pass_observe(sb_pass *p, const sb_pass_observer *observer, double *loss) {
  p->observer = observer;
  sb_status status = sb_pass_loss(p, loss);
  p->observer = NULL;
  return status;
}

/* Carries the layer through the C interface of a layer's hooks. */
typedef struct relay {
  const sb_pass_hooks *hooks;
  size_t layer;
} relay;

static sb_status relay_matrix(void *context, sb_stream stream, sb_linear which, const float *g) {
  const relay *r = context;
  return r->hooks->matrix(r->hooks->context, stream, r->layer, which, g);
}

static sb_status relay_factors(void *context, sb_stream stream, sb_linear which, const void *x,
                               const void *dy) {
  const relay *r = context;
  return r->hooks->factors(r->hooks->context, stream, r->layer, which, x, dy);
}

static sb_status sequence_backward(sb_pass *p, size_t layer, size_t s, void *context) {
  const sb_pass_hooks *hooks = context;
  relay r = {hooks, layer};
  const sb_layer_hooks layer_hooks = {.context = &r,
                                      .factors = hooks->factors ? relay_factors : NULL,
                                      .gradient = hooks->matrix ? relay_matrix : NULL};
  const sb_layer_call call = sb_pass_layer_call(p, p->prepared, &layer_hooks);
  const size_t h = p->model->config.hidden;
  if (p->on_host)
    SB_TRY(p->backend->op->upload(p->backend, p->stream, sb_pass_at(p, p->inputs[layer], s, h),
                                  sb_pass_at(p, p->on_host[layer], s, h),
                                  p->T * h * sb_dtype_size(p->backend->act)));
  SB_TRY(sb_layer_backward(&call, p->work, sb_pass_at(p, p->grads, s, h),
                           sb_pass_at(p, p->inputs[layer], s, h)));
  SB_TRY(hooks->end_sequence(hooks->context, p->stream, layer));
  sb_pass_tick(p, 3);
  return sb_store_progress(p->model->store);
}

static sb_status backward_wave(sb_pass *p, size_t wave, const sb_pass_hooks *hooks) {
  sb_model *m = p->model;
  size_t layers = m->config.layers;
  SB_TRY(sb_head_backward(p, wave, p->inputs[layers]));
  sb_group_walk walk = sb_group_walk_begin(m->store, m->layer_first + layers - 1, layers, true);
  while (sb_group_walk_more(&walk)) {
    size_t group;
    const void *image;
    sb_status status = sb_group_walk_enter(&walk, &group, &image);
    size_t layer = group - m->layer_first;
    sb_pass_hooks own = *hooks;
    status = prepare_layer(p, layer, image, status);
    if (status == SB_OK) status = hooks->begin_layer(hooks->context, p->stream, layer, p->prepared);
    SB_AGREE(m->world, each_sequence(p, &walk, wave, layer, status, sequence_backward, &own));
    SB_TRY(hooks->end_layer(hooks->context, layer));
    SB_TRY(sb_group_walk_leave(&walk));
  }
  return SB_OK;
}

sb_status sb_pass_gradients(sb_pass *p, const sb_pass_hooks *hooks, double *loss) {
  bool have = p->kept;
  sb_pass_start_ticks(p, have ? 0 : 1, 3);
  for (size_t wave = 0; wave < p->waves; wave++) {
    if (!have) {
      SB_TRY(sb_pass_forward_wave(p, wave, true));
      SB_TRY(sb_head_forward(p, wave));
    }
    if (p->reference.next) SB_AGREE(p->model->world, sb_reference_keep(p, wave));
    SB_TRY(backward_wave(p, wave, hooks));
  }
  p->kept = have || p->waves == 1;
  p->reference.learnt = p->reference.learnt || p->reference.next;
  p->reference.next = false;
  return mean_loss(p, loss);
}

sb_status sb_pass_logits(sb_pass *p, size_t index, float *out) {
  sb_model *m = p->model;
  size_t vocab = m->config.vocab, wave = index / p->wave, s = index % p->wave;
  SB_TRY(sb_pass_forward_wave(p, wave, false));
  sb_group_walk walk = sb_group_walk_begin(m->store, m->head_first, m->head_count, false);
  while (sb_group_walk_more(&walk)) {
    size_t group, v0 = 0, nv = 0;
    const void *image, *weights;
    sb_status status = sb_group_walk_enter(&walk, &group, &image);
    if (status == SB_OK) status = sb_head_chunk(p, group, image, &v0, &nv, &weights);
    if (status == SB_OK && index < p->local) {
      status = sb_head_logits(p, p->normed, weights, nv, s, p->logits);
      if (status == SB_OK) status = p->backend->op->sync(p->backend, p->stream);
      for (size_t t = 0; t < p->T && status == SB_OK; t++)
        status = p->backend->op->download(p->backend, p->stream, out + t * vocab + v0,
                                          p->logits + t * nv, nv * sizeof(float));
      if (status == SB_OK) status = p->backend->op->sync(p->backend, p->stream);
    }
    SB_AGREE(m->world, status);
    SB_TRY(sb_group_walk_leave(&walk));
  }
  return SB_OK;
}
