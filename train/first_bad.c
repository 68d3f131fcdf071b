#include "train/first_bad.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "folders/finite.h"
#include "mpi/large.h"

/* A place in the order of the computation, as one number that ranks can compare: stage, then how
 * far in it, then what is bad, then its index. */
typedef enum stage { STAGE_WEIGHTS, STAGE_FORWARD, STAGE_HEAD, STAGE_BACKWARD } stage;
typedef enum what { WHAT_INPUT, WHAT_OUTPUT_GRADIENT, WHAT_GRADIENT } what;

enum { INDEX_BITS = 24, WHAT_BITS = 2, CALL_BITS = 12, LAYER_BITS = 20 };
#define NOTHING UINT64_MAX

static uint64_t place_of(stage s, size_t layer, size_t call, what w, size_t index) {
  return ((((uint64_t)s << LAYER_BITS | layer) << CALL_BITS | call) << WHAT_BITS | w)
             << INDEX_BITS |
         index;
}

static uint64_t part(uint64_t place, int shift, int bits) {
  return place >> shift & (((uint64_t)1 << bits) - 1);
}

typedef struct search {
  const sb_shares *shares;
  sb_backend *backend;
  size_t T;
  double limit;
  void *host; /* room for values of a device */
  size_t room;
  size_t call;    /* of the backward part: matrices of a layer that a sequence has been through */
  uint64_t first; /* place of the first that is bad */
} search;

static void note(search *s, uint64_t place) {
  if (place < s->first) s->first = place;
}

/* *values = what lies on the device, for the host to look at. */
static sb_status bring(search *s, sb_stream stream, const void *dev, size_t bytes,
                       const void **values) {
  sb_backend *b = s->backend;
  *values = dev;
  if (b->unified) return SB_OK;
  if (s->room < bytes) {
    sb_free(&s->host);
    SB_TRY(sb_alloc_raw(&s->host, bytes, 1, "values of a step"));
    s->room = bytes;
  }
  *values = s->host;
  SB_TRY(b->op->download(b, stream, s->host, dev, bytes));
  return b->op->sync(b, stream);
}

static sb_status look(search *s, sb_stream stream, const void *dev, sb_dtype dtype, size_t count,
                      uint64_t place) {
  const void *values;
  if (place >= s->first) return SB_OK;
  SB_TRY(bring(s, stream, dev, count * sb_dtype_size(dtype), &values));
  if (sb_finite_first_bad(values, dtype, count) < count) note(s, place);
  return SB_OK;
}

static sb_status look_at_gradient(search *s, sb_stream stream, const float *dev, size_t count,
                                  uint64_t place) {
  const void *values;
  bool bad = false;
  if (place >= s->first) return SB_OK;
  SB_TRY(bring(s, stream, dev, count * sizeof *dev, &values));
  const float *g = values;
  for (size_t i = 0; i < count; i++) bad |= !(fabs((double)g[i]) < s->limit);
  if (bad) note(s, place);
  return SB_OK;
}

/* ---- weights ---- */

static void look_at_weights(search *s) {
  for (size_t i = 0; i < s->shares->count; i++) {
    const sb_share *u = &s->shares->units[i];
    if (sb_finite_first_bad(u->master, SB_F32, u->count) < u->count)
      note(s, place_of(STAGE_WEIGHTS, 0, 0, WHAT_INPUT, u->tensor));
  }
}

/* ---- forward ---- */

static sb_status take_input(void *context, sb_stream stream, size_t layer, size_t input,
                            const void *x) {
  search *s = context;
  const size_t width = sb_arch_input_of(&s->shares->model->arch, layer, input)->width;
  return look(s, stream, x, s->backend->operand, s->T * width,
              place_of(STAGE_FORWARD, layer, input, WHAT_INPUT, 0));
}

/* ---- backward ---- */

static uint64_t backward_place(const search *s, size_t layer, what w, size_t tensor) {
  const size_t layers = s->shares->model->config.layers; /* the head comes first */
  return place_of(STAGE_BACKWARD, layer == SB_NONE ? 0 : layers - layer, s->call, w, tensor);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  search *s = context;
  (void)stream, (void)prepared, (void)layer;
  s->call = 0;
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  search *s = context;
  (void)stream, (void)layer;
  s->call = 0;
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  (void)context, (void)layer;
  return SB_OK;
}

static size_t tensor_of(const search *s, size_t layer, size_t matrix) {
  const sb_arch *arch = &s->shares->model->arch;
  return arch->matrices[arch->layers[layer].first_matrix + matrix];
}

static sb_status take_factors(void *context, sb_stream stream, size_t layer, size_t matrix,
                              const void *x, const void *dy) {
  search *s = context;
  const size_t tensor = tensor_of(s, layer, matrix);
  (void)x;
  s->call++;
  return look(s, stream, dy, s->backend->operand,
              s->T * s->shares->model->arch.tensors[tensor].rows,
              backward_place(s, layer, WHAT_OUTPUT_GRADIENT, tensor));
}

static sb_status take_matrix(void *context, sb_stream stream, size_t layer, size_t matrix,
                             const float *g) {
  search *s = context;
  const size_t tensor = tensor_of(s, layer, matrix);
  const sb_model_tensor *t = &s->shares->model->arch.tensors[tensor];
  return look_at_gradient(s, stream, g, t->rows * t->cols,
                          backward_place(s, layer, WHAT_GRADIENT, tensor));
}

static sb_status take_parameter(void *context, sb_stream stream, size_t tensor, size_t first_row,
                                size_t rows, const float *g) {
  search *s = context;
  const sb_model_tensor *t = &s->shares->model->arch.tensors[tensor];
  const size_t layers = s->shares->model->config.layers;
  (void)first_row;
  uint64_t place = backward_place(s, t->layer, WHAT_GRADIENT, tensor);
  if (t->role == SB_ROLE_EMBED) /* after the layers */
    place = place_of(STAGE_BACKWARD, layers + 1, 0, WHAT_GRADIENT, tensor);
  return look_at_gradient(s, stream, g, rows * t->cols, place);
}

/* ---- names ---- */

/* The matrix whose output becomes input `input` of a layer: q and k and v of its layer (the last of
 * them, v) make that of o, o that of the MLP, up that of down, and down that of the next layer. A
 * matrix with a role that is not known here names itself. */
static sb_role role_before(sb_role role) {
  switch (role) {
  case SB_ROLE_O:
    return SB_ROLE_V;
  case SB_ROLE_GATE:
  case SB_ROLE_UP:
    return SB_ROLE_O;
  case SB_ROLE_DOWN:
    return SB_ROLE_UP;
  default:
    return SB_ROLE_DOWN;
  }
}

/* The matrix whose dgrad makes the gradient of this one's output. */
static sb_role role_after(sb_role role) {
  switch (role) {
  case SB_ROLE_Q:
  case SB_ROLE_K:
  case SB_ROLE_V:
    return SB_ROLE_O;
  case SB_ROLE_O:
    return SB_ROLE_GATE;
  case SB_ROLE_GATE:
  case SB_ROLE_UP:
    return SB_ROLE_DOWN;
  default:
    return SB_ROLE_Q;
  }
}

static const char *name_of(const sb_arch *arch, sb_role role, size_t layer) {
  const size_t tensor = sb_arch_index(arch, role, layer);
  return tensor == SB_NONE ? "a layer" : arch->tensors[tensor].name;
}

static sb_status say_forward(const search *s, size_t layer, size_t input) {
  const sb_arch *arch = &s->shares->model->arch;
  const sb_role role =
      sb_arch_matrix(arch, layer, sb_arch_input_of(arch, layer, input)->first_matrix)->role;
  const sb_role before = role_before(role);
  if (before != SB_ROLE_DOWN)
    return sb_fail(SB_ERR_NUMERIC, "%s is the first whose output is no number (fprop)",
                   name_of(arch, before, layer));
  return sb_fail(SB_ERR_NUMERIC, "%s is the first whose output is no number (%s)",
                 layer == 0 ? name_of(arch, SB_ROLE_EMBED, 0) : name_of(arch, before, layer - 1),
                 layer == 0 ? "embedding" : "fprop");
}

static sb_status say_backward(const search *s, what w, size_t tensor) {
  const sb_arch *arch = &s->shares->model->arch;
  const sb_model_tensor *t = &arch->tensors[tensor];
  if (w == WHAT_GRADIENT)
    return sb_fail(
        SB_ERR_NUMERIC,
        "%s is the first whose gradient is no number, or is %g or more in one sequence%s", t->name,
        s->limit, t->is_linear ? " (wgrad)" : "");
  const sb_role after = role_after(t->role);
  if (after != SB_ROLE_Q)
    return sb_fail(SB_ERR_NUMERIC, "%s is the first whose input gradient is no number (dgrad)",
                   name_of(arch, after, t->layer));
  if (t->layer + 1 == arch->config.layers) /* a tied head has the embedding's name */
    return sb_fail(SB_ERR_NUMERIC,
                   "the LM head is the first whose input gradient is no number (dgrad)");
  return sb_fail(SB_ERR_NUMERIC, "%s is the first whose input gradient is no number (dgrad)",
                 name_of(arch, after, t->layer + 1));
}

static sb_status say(const search *s) {
  const sb_arch *arch = &s->shares->model->arch;
  int shift = INDEX_BITS;
  const size_t index = (size_t)part(s->first, 0, INDEX_BITS);
  const what w = (what)part(s->first, shift, WHAT_BITS);
  shift += WHAT_BITS;
  const size_t call = (size_t)part(s->first, shift, CALL_BITS);
  shift += CALL_BITS;
  const size_t layer = (size_t)part(s->first, shift, LAYER_BITS);
  shift += LAYER_BITS;
  switch ((stage)(s->first >> shift)) {
  case STAGE_WEIGHTS:
    return sb_fail(SB_ERR_NUMERIC, "%s has a weight that is no number", arch->tensors[index].name);
  case STAGE_FORWARD:
    return say_forward(s, layer, call);
  case STAGE_HEAD:
    return sb_fail(SB_ERR_NUMERIC,
                   "%s or the LM head is the first whose output is no number (fprop)",
                   name_of(arch, SB_ROLE_DOWN, arch->config.layers - 1));
  default:
    return say_backward(s, w, index);
  }
}

/* ---- all ---- */

/* The first that any rank has seen, after which later ones are looked at no more. Collective. */
static sb_status agree_on_first(search *s) {
  uint64_t complement = ~s->first;
  SB_TRY(sb_mpi_max_u64(&complement, 1, s->shares->model->world->comm));
  s->first = ~complement;
  return SB_OK;
}

/* A pass that ends with a loss that is no number has done its work all the same. */
static sb_status forgive(search *s, sb_status status, uint64_t place) {
  if (status != SB_ERR_NUMERIC) return status;
  note(s, place);
  return sb_store_give_back(s->shares->model->store);
}

static sb_status find(search *s, sb_pass *pass) {
  const sb_pass_observer observer = {.context = s, .input = take_input};
  const sb_pass_hooks hooks = {.context = s,
                               .begin_layer = begin_layer,
                               .factors = take_factors,
                               .matrix = take_matrix,
                               .parameter = take_parameter,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  double loss;
  look_at_weights(s);
  SB_TRY(agree_on_first(s));
  if (s->first != NOTHING) return SB_OK;
  sb_pass_forget(pass);
  SB_TRY(forgive(s, sb_pass_observe(pass, &observer, &loss),
                 place_of(STAGE_HEAD, 0, 0, WHAT_INPUT, 0)));
  SB_TRY(agree_on_first(s));
  if (s->first != NOTHING) return SB_OK;
  sb_pass_forget(pass);
  SB_TRY(forgive(s, sb_pass_gradients(pass, &hooks, &loss), NOTHING));
  return agree_on_first(s);
}

sb_status sb_first_bad(const sb_shares *shares, sb_backend *backend, sb_pass *pass, double limit,
                       sb_status status) {
  char before[512];
  search s = {.shares = shares,
              .backend = backend,
              .T = sb_pass_seqlen(pass),
              .limit = limit,
              .first = NOTHING};
  snprintf(before, sizeof before, "%s", sb_message());
  const sb_status found = find(&s, pass);
  sb_free(&s.host);
  SB_TRY(found);
  return s.first == NOTHING ? sb_fail(status, "%s", before) : say(&s);
}
