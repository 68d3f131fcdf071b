#include "pass/layer.h"

#include "base/memory.h"

struct sb_layer_work {
  sb_backend *backend;
  /* forward; the backward pass reads them after recomputation */
  void *n1, *q, *k, *v, *o, *x1, *n2, *gate, *up;
  float *rstd1, *rstd2, *lse;
  /* backward */
  void *d_o, *dq, *dk, *dv, *dn, *d_act;
  /* what has to be brought into the type of operands; NULL where that is the type of activations */
  void *o_in, *gated, *dy_in, *d_gate, *d_up;
  float *g;
  /* an input, and an output or its gradient, in a matrix's order of columns and of rows */
  void *ordered_x, *ordered_y;
};

/* The buffers as one table: where the pointer lives, how many elements a token of which type, and
 * when it is needed. */
typedef enum content {
  ACTIVATIONS,
  OPERANDS,
  CONVERTED, /* operands, where that is another type than activations */
  FLOATS
} content;
typedef struct buffer {
  size_t place, per_token;
  content content;
  bool backward, ordered;
} buffer;

enum { BUFFERS = 25 };

static void describe(const sb_config *c, buffer out[BUFFERS]) {
  size_t h = c->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim,
         i = c->intermediate;
  size_t widest = sb_max_size(sb_max_size(h, q), i);
#define PLACE(field) offsetof(sb_layer_work, field)
  const buffer table[BUFFERS] = {
      {PLACE(n1), h, .content = OPERANDS},
      {PLACE(q), q, .content = ACTIVATIONS},
      {PLACE(k), kv, .content = ACTIVATIONS},
      {PLACE(v), kv, .content = ACTIVATIONS},
      {PLACE(o), q, .content = ACTIVATIONS},
      {PLACE(x1), h, .content = ACTIVATIONS},
      {PLACE(n2), h, .content = OPERANDS},
      {PLACE(gate), i, .content = ACTIVATIONS},
      {PLACE(up), i, .content = ACTIVATIONS},
      {PLACE(rstd1), 1, .content = FLOATS},
      {PLACE(rstd2), 1, .content = FLOATS},
      {PLACE(lse), c->heads, .content = FLOATS},
      {PLACE(d_o), q, .backward = true},
      {PLACE(dq), q, .backward = true},
      {PLACE(dk), kv, .backward = true},
      {PLACE(dv), kv, .backward = true},
      {PLACE(dn), h, .backward = true},
      {PLACE(d_act), i, .backward = true},
      {PLACE(o_in), q, .content = CONVERTED},
      {PLACE(gated), i, .content = CONVERTED},
      {PLACE(dy_in), h, .content = CONVERTED, .backward = true},
      {PLACE(d_gate), i, .content = CONVERTED, .backward = true},
      {PLACE(d_up), i, .content = CONVERTED, .backward = true},
      {PLACE(ordered_x), widest, .ordered = true},
      {PLACE(ordered_y), widest, .ordered = true},
  };
#undef PLACE
  for (size_t b = 0; b < BUFFERS; b++) out[b] = table[b];
}

static size_t largest_matrix(const sb_config *config) {
  size_t largest = 0;
  for (int which = 0; which < SB_LINEARS; which++) {
    size_t rows, cols;
    sb_linear_shape(config, (sb_linear)which, &rows, &cols);
    largest = sb_max_size(largest, rows * cols);
  }
  return largest;
}

/* Bytes a token; 0 where it is not needed. */
static size_t buffer_bytes(const buffer *b, sb_dtype act, sb_dtype operand, bool with_backward,
                           bool ordered) {
  if ((b->backward && !with_backward) || (b->ordered && !ordered)) return 0;
  switch (b->content) {
  case OPERANDS:
    return b->per_token * sb_dtype_size(operand);
  case CONVERTED:
    return operand == act ? 0 : b->per_token * sb_dtype_size(operand);
  case FLOATS:
    return b->per_token * sizeof(float);
  default:
    return b->per_token * sb_dtype_size(act);
  }
}

size_t sb_layer_work_bytes(sb_dtype act, sb_dtype operand, const sb_config *config, size_t T,
                           bool with_backward, bool ordered) {
  buffer table[BUFFERS];
  size_t bytes = 0;
  describe(config, table);
  for (size_t b = 0; b < BUFFERS; b++)
    bytes += T * buffer_bytes(&table[b], act, operand, with_backward, ordered);
  return bytes;
}

sb_status sb_layer_work_create(sb_backend *backend, const sb_config *config, size_t T,
                               bool with_backward, bool ordered, sb_layer_work **out) {
  sb_status status = SB_OK;
  buffer table[BUFFERS];
  SB_TRY(sb_alloc(out, 1, sizeof **out, "layer scratch"));
  (*out)->backend = backend;
  describe(config, table);
  for (size_t b = 0; b < BUFFERS; b++) {
    const size_t bytes =
        T * buffer_bytes(&table[b], backend->act, backend->operand, with_backward, ordered);
    if (bytes == 0) continue;
    SB_GO(backend->op->alloc(backend, bytes, "activations of one layer",
                             (void **)((char *)*out + table[b].place)));
  }
  if (with_backward)
    SB_GO(backend->op->alloc(backend, largest_matrix(config) * sizeof(float),
                             "gradient of one matrix", (void **)&(*out)->g));
done:
  if (status != SB_OK) sb_layer_work_free(out);
  return status;
}

void sb_layer_work_free(sb_layer_work **work) {
  sb_layer_work *w = *work;
  if (!w) return;
  buffer table[BUFFERS];
  describe(&(sb_config){0}, table);
  for (size_t b = 0; b < BUFFERS; b++)
    w->backend->op->free(w->backend, *(void **)((char *)w + table[b].place));
  w->backend->op->free(w->backend, w->g);
  sb_free(work);
}

/* Everything that both passes need: the sizes of this layer and the objects every operation takes.
 */
typedef struct scope {
  sb_backend *b;
  sb_stream s;
  const sb_config *c;
  const sb_layer_weights *w;
  const float *cos_sin;
  size_t T;
  sb_layer_work *k;
  sb_input_hook hook; /* may be NULL */
  void *context;
} scope;

/* Where operands are of another type than activations, `other`; else `same`. */
static void *operand_place(const scope *z, void *same, void *other) {
  return z->b->operand == z->b->act ? same : other;
}

/* *x [T, n], activations, as an operand: in `room` where that is of another type. */
static sb_status as_operand(const scope *z, const void **x, void *room, size_t n) {
  if (z->b->operand == z->b->act) return SB_OK;
  SB_TRY(z->b->op->convert(z->b, z->s, room, z->b->operand, *x, z->b->act, z->T * n));
  *x = room;
  return SB_OK;
}

/* *x [T, n], an operand, with its columns in `order`, in `room`; or as it is. */
static sb_status put_in_order(const scope *z, const void **x, void *room, size_t n,
                              const uint32_t *order) {
  if (!order) return SB_OK;
  SB_TRY(z->b->op->gather_matrix(z->b, z->s, room, *x, z->b->operand, z->T, n, NULL, order));
  *x = room;
  return SB_OK;
}

static sb_status observe(const scope *z, sb_linear first, const void *x) {
  size_t rows, cols;
  if (!z->hook) return SB_OK;
  sb_linear_shape(z->c, first, &rows, &cols);
  SB_TRY(put_in_order(z, &x, z->k->ordered_x, cols, z->w->col_order[first]));
  return z->hook(z->context, z->s, first, x);
}

/* y[T, rows] = x[T, cols] W' (+ y where `add`) with a packed W: it stays in its orders, activations
 * are put into them and taken out. */
static sb_status apply_packed(const scope *z, sb_linear which, void *y, const void *x, bool add) {
  const sb_backend_ops *op = z->b->op;
  const uint32_t *row_place = z->w->row_place[which];
  size_t rows, cols;
  sb_linear_shape(z->c, which, &rows, &cols);
  SB_TRY(put_in_order(z, &x, z->k->ordered_x, cols, z->w->col_order[which]));
  if (!row_place) return op->packed_gemm(z->b, z->s, y, x, z->T, z->w->packed[which], add);
  SB_TRY(op->packed_gemm(z->b, z->s, z->k->ordered_y, x, z->T, z->w->packed[which], false));
  void *in_place = add ? z->k->ordered_x : y; /* x has been used */
  SB_TRY(op->gather_matrix(z->b, z->s, in_place, z->k->ordered_y, z->b->act, z->T, rows, NULL,
                           row_place));
  return add ? op->add(z->b, z->s, y, in_place, z->T * rows) : SB_OK;
}

/* y[T, rows] = x[T, cols] W' (+ y where `add`) */
static sb_status apply(const scope *z, sb_linear which, void *y, const void *x, bool add) {
  size_t rows, cols;
  if (z->w->packed[which]) return apply_packed(z, which, y, x, add);
  sb_linear_shape(z->c, which, &rows, &cols);
  return z->b->op->gemm(z->b, z->s, false, true, z->T, rows, cols, 1.0f, x, z->b->operand, cols,
                        z->w->linear[which], z->b->operand, cols, add ? 1.0f : 0.0f, y, z->b->act,
                        rows);
}

/* dx[T, cols] = dy[T, rows] W (+ dx where `add`) */
static sb_status apply_back(const scope *z, sb_linear which, void *dx, const void *dy, bool add) {
  size_t rows, cols;
  sb_linear_shape(z->c, which, &rows, &cols);
  return z->b->op->gemm(z->b, z->s, false, false, z->T, cols, rows, 1.0f, dy, z->b->operand, rows,
                        z->w->linear[which], z->b->operand, cols, add ? 1.0f : 0.0f, dx, z->b->act,
                        cols);
}

/* Hands over dy and x, and g[rows, cols] = dy' x, all in the matrix's orders: to arrange the
 * factors is less work than to arrange g. */
static sb_status gradient(const scope *z, sb_linear which, float *g, const void *dy, const void *x,
                          const sb_layer_hooks *hooks) {
  size_t rows, cols;
  if (!hooks) return SB_OK;
  sb_linear_shape(z->c, which, &rows, &cols);
  SB_TRY(put_in_order(z, &dy, z->k->ordered_y, rows, z->w->row_order[which]));
  SB_TRY(put_in_order(z, &x, z->k->ordered_x, cols, z->w->col_order[which]));
  if (hooks->factors) SB_TRY(hooks->factors(hooks->context, z->s, which, x, dy));
  if (!hooks->gradient) return SB_OK;
  SB_TRY(z->b->op->gemm(z->b, z->s, true, false, rows, cols, z->T, 1.0f, dy, z->b->operand, rows, x,
                        z->b->operand, cols, 0.0f, g, SB_F32, cols));
  return hooks->gradient(hooks->context, z->s, which, g);
}

/* From x to the inputs of SwiGLU: fills n1, q, k, v, o, x1, n2, gate, up of the scratch. *o_in: o
 * as an operand. */
static sb_status forward_to_gate(const scope *z, sb_layer_work *k, const void *x,
                                 const void **o_in) {
  const sb_backend_ops *op = z->b->op;
  const sb_config *c = z->c;
  SB_TRY(op->rmsnorm(z->b, z->s, k->n1, k->rstd1, x, z->w->attention_norm, z->T, c->hidden,
                     (float)c->rms_eps));
  SB_TRY(observe(z, SB_LINEAR_Q, k->n1));
  SB_TRY(apply(z, SB_LINEAR_Q, k->q, k->n1, false));
  SB_TRY(apply(z, SB_LINEAR_K, k->k, k->n1, false));
  SB_TRY(apply(z, SB_LINEAR_V, k->v, k->n1, false));
  SB_TRY(op->rope(z->b, z->s, k->q, z->cos_sin, z->T, c->heads, c->head_dim, false));
  SB_TRY(op->rope(z->b, z->s, k->k, z->cos_sin, z->T, c->kv_heads, c->head_dim, false));
  SB_TRY(op->attention(z->b, z->s, k->o, k->lse, k->q, k->k, k->v, z->T, c->heads, c->kv_heads,
                       c->head_dim));
  SB_TRY(op->copy(z->b, z->s, k->x1, x, z->T * c->hidden * sb_dtype_size(z->b->act)));
  *o_in = k->o;
  SB_TRY(as_operand(z, o_in, k->o_in, c->heads * c->head_dim));
  SB_TRY(observe(z, SB_LINEAR_O, *o_in));
  SB_TRY(apply(z, SB_LINEAR_O, k->x1, *o_in, true));
  SB_TRY(op->rmsnorm(z->b, z->s, k->n2, k->rstd2, k->x1, z->w->mlp_norm, z->T, c->hidden,
                     (float)c->rms_eps));
  SB_TRY(observe(z, SB_LINEAR_GATE, k->n2));
  SB_TRY(apply(z, SB_LINEAR_GATE, k->gate, k->n2, false));
  return apply(z, SB_LINEAR_UP, k->up, k->n2, false);
}

sb_status sb_layer_forward_observed(sb_backend *backend, sb_stream stream, const sb_config *config,
                                    const sb_layer_weights *weights, const float *cos_sin,
                                    sb_layer_work *work, void *y, const void *x, size_t T,
                                    sb_input_hook hook, void *context) {
  const scope z = {backend, stream, config, weights, cos_sin, T, work, hook, context};
  void *gated = operand_place(&z, work->gate, work->gated);
  const void *o_in;
  SB_TRY(forward_to_gate(&z, work, x, &o_in));
  SB_TRY(
      backend->op->swiglu(backend, stream, gated, work->gate, work->up, T * config->intermediate));
  SB_TRY(backend->op->copy(backend, stream, y, work->x1,
                           T * config->hidden * sb_dtype_size(backend->act)));
  SB_TRY(observe(&z, SB_LINEAR_DOWN, gated));
  return apply(&z, SB_LINEAR_DOWN, y, gated, true);
}

sb_status sb_layer_forward(sb_backend *backend, sb_stream stream, const sb_config *config,
                           const sb_layer_weights *weights, const float *cos_sin,
                           sb_layer_work *work, void *y, const void *x, size_t T) {
  return sb_layer_forward_observed(backend, stream, config, weights, cos_sin, work, y, x, T, NULL,
                                   NULL);
}

sb_status sb_layer_backward(sb_backend *backend, sb_stream stream, const sb_config *config,
                            const sb_layer_weights *weights, const float *cos_sin,
                            sb_layer_work *work, void *dy, const void *x, size_t T,
                            const sb_layer_hooks *hooks) {
  const scope z = {backend, stream, config, weights, cos_sin, T, work, NULL, NULL};
  const sb_backend_ops *op = backend->op;
  sb_layer_work *k = work;
  const size_t h = config->hidden, d = config->head_dim, q = config->heads * d,
               kv = config->kv_heads * d;
  void *gated = operand_place(&z, k->d_act, k->gated),
       *d_gate = operand_place(&z, k->gate, k->d_gate), *d_up = operand_place(&z, k->up, k->d_up);
  const void *o_in, *dy_in = dy;
  SB_TRY(forward_to_gate(&z, k, x, &o_in));

  /* MLP */
  SB_TRY(as_operand(&z, &dy_in, k->dy_in, h));
  SB_TRY(apply_back(&z, SB_LINEAR_DOWN, k->d_act, dy_in, false));
  SB_TRY(op->swiglu_back(backend, stream, d_gate, d_up, gated, k->d_act, k->gate, k->up,
                         T * config->intermediate));
  SB_TRY(gradient(&z, SB_LINEAR_DOWN, k->g, dy_in, gated, hooks));
  SB_TRY(gradient(&z, SB_LINEAR_GATE, k->g, d_gate, k->n2, hooks));
  SB_TRY(gradient(&z, SB_LINEAR_UP, k->g, d_up, k->n2, hooks));
  SB_TRY(apply_back(&z, SB_LINEAR_GATE, k->dn, d_gate, false));
  SB_TRY(apply_back(&z, SB_LINEAR_UP, k->dn, d_up, true));
  SB_TRY(op->rmsnorm_back(backend, stream, dy, NULL, k->dn, k->x1, z.w->mlp_norm, k->rstd2, T,
                          h)); /* dy is now d x1 */

  /* Attention. q, k, v are done with after it: there is room for operands. */
  dy_in = dy;
  SB_TRY(as_operand(&z, &dy_in, k->dy_in, h));
  SB_TRY(gradient(&z, SB_LINEAR_O, k->g, dy_in, o_in, hooks));
  SB_TRY(apply_back(&z, SB_LINEAR_O, k->d_o, dy_in, false));
  SB_TRY(op->attention_back(backend, stream, k->dq, k->dk, k->dv, k->d_o, k->o, k->lse, k->q, k->k,
                            k->v, T, config->heads, config->kv_heads, d));
  SB_TRY(op->rope(backend, stream, k->dq, cos_sin, T, config->heads, d, true));
  SB_TRY(op->rope(backend, stream, k->dk, cos_sin, T, config->kv_heads, d, true));
  const void *dq = k->dq, *dk = k->dk, *dv = k->dv;
  SB_TRY(as_operand(&z, &dq, k->q, q));
  SB_TRY(as_operand(&z, &dk, k->k, kv));
  SB_TRY(as_operand(&z, &dv, k->v, kv));
  SB_TRY(gradient(&z, SB_LINEAR_Q, k->g, dq, k->n1, hooks));
  SB_TRY(gradient(&z, SB_LINEAR_K, k->g, dk, k->n1, hooks));
  SB_TRY(gradient(&z, SB_LINEAR_V, k->g, dv, k->n1, hooks));
  SB_TRY(apply_back(&z, SB_LINEAR_Q, k->dn, dq, false));
  SB_TRY(apply_back(&z, SB_LINEAR_K, k->dn, dk, true));
  SB_TRY(apply_back(&z, SB_LINEAR_V, k->dn, dv, true));
  return op->rmsnorm_back(backend, stream, dy, NULL, k->dn, x, z.w->attention_norm, k->rstd1, T, h);
}
