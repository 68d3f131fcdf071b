#include "pass/attention.h"

/* The matrices of the layer at hand, and what follows from their shapes. */
typedef struct shape {
  size_t q, k, v, o; /* numbers of the matrices */
  size_t heads, kv_heads, head_dim;
  size_t q_width, kv_width; /* elements per token */
} shape;

static shape shape_of(const sb_layer_step *z) {
  shape s = {.q = sb_layer_step_matrix(z, SB_ROLE_Q),
             .k = sb_layer_step_matrix(z, SB_ROLE_K),
             .v = sb_layer_step_matrix(z, SB_ROLE_V),
             .o = sb_layer_step_matrix(z, SB_ROLE_O),
             .head_dim = z->call->config->head_dim};
  s.q_width = sb_layer_step_product(z, s.q)->rows;
  s.kv_width = sb_layer_step_product(z, s.k)->rows;
  s.heads = s.q_width / s.head_dim;
  s.kv_heads = s.kv_width / s.head_dim;
  return s;
}

void sb_attention_buffers(const sb_arch *arch, sb_buffer out[SB_ATTENTION_BUFFERS]) {
  const size_t q = arch ? sb_arch_most_rows(arch, SB_ROLE_Q) : 0,
               kv = arch ? sb_arch_most_rows(arch, SB_ROLE_K) : 0,
               heads = arch ? q / arch->config.head_dim : 0;
#define PLACE(field) offsetof(sb_attention_work, field)
  const sb_buffer table[SB_ATTENTION_BUFFERS] = {
      {PLACE(q), q, .content = SB_BUFFER_ACT, .kept = true},
      {PLACE(k), kv, .content = SB_BUFFER_ACT, .kept = true},
      {PLACE(v), kv, .content = SB_BUFFER_ACT, .kept = true},
      {PLACE(o), q, .content = SB_BUFFER_ACT, .kept = true},
      {PLACE(lse), heads, .content = SB_BUFFER_F32, .kept = true},
      {PLACE(o_in), q, .content = SB_BUFFER_CONVERTED, .kept = true},
      {PLACE(d_o), q, .backward = true},
      {PLACE(dq), q, .backward = true},
      {PLACE(dk), kv, .backward = true},
      {PLACE(dv), kv, .backward = true},
  };
#undef PLACE
  for (size_t i = 0; i < SB_ATTENTION_BUFFERS; i++) out[i] = table[i];
}

static sb_status turn(const sb_layer_step *z, const shape *s, void *q, void *k, bool back) {
  sb_backend *b = z->scope.backend;
  const float *cos_sin = z->call->cos_sin_dev;
  SB_TRY(b->op->rope(b, z->scope.stream, q, cos_sin, z->scope.T, s->heads, s->head_dim, back));
  return b->op->rope(b, z->scope.stream, k, cos_sin, z->scope.T, s->kv_heads, s->head_dim, back);
}

static sb_attention_args args_of(const sb_layer_step *z, const sb_attention_work *w,
                                 const shape *s) {
  return (sb_attention_args){.q = w->q,
                             .k = w->k,
                             .v = w->v,
                             .o = w->o,
                             .lse = w->lse,
                             .T = z->scope.T,
                             .heads = s->heads,
                             .kv_heads = s->kv_heads,
                             .d = s->head_dim};
}

sb_status sb_attention_forward(const sb_layer_step *z, sb_attention_work *w, void *x1,
                               const void *n) {
  const shape s = shape_of(z);
  const sb_attention_args args = args_of(z, w, &s);
  sb_backend *b = z->scope.backend;
  const void *o_in = w->o;
  SB_TRY(sb_layer_step_observe(z, s.q, n));
  SB_TRY(sb_layer_step_forward(z, s.q, w->q, n, false));
  SB_TRY(sb_layer_step_forward(z, s.k, w->k, n, false));
  SB_TRY(sb_layer_step_forward(z, s.v, w->v, n, false));
  SB_TRY(turn(z, &s, w->q, w->k, false));
  SB_TRY(b->op->attention(b, z->scope.stream, &args));
  SB_TRY(sb_layer_step_as_operand(z, &o_in, w->o_in, s.q_width));
  SB_TRY(sb_layer_step_observe(z, s.o, o_in));
  return sb_layer_step_forward(z, s.o, x1, o_in, true);
}

sb_status sb_attention_backward(const sb_layer_step *z, sb_attention_work *w, void *dn,
                                const void *dy, void *dy_room, const void *n) {
  const shape s = shape_of(z);
  const sb_attention_args args = args_of(z, w, &s);
  sb_backend *b = z->scope.backend;
  /* the forward part has converted o already */
  const void *o_in = sb_layer_step_operand_room(z, w->o, w->o_in);

  SB_TRY(sb_layer_step_as_operand(z, &dy, dy_room, sb_layer_step_product(z, s.o)->rows));
  SB_TRY(sb_layer_step_gradient(z, s.o, dy, o_in));
  SB_TRY(sb_layer_step_backward(z, s.o, w->d_o, dy, false));
  SB_TRY(b->op->attention_back(b, z->scope.stream, &args, w->d_o, w->dq, w->dk, w->dv));
  SB_TRY(turn(z, &s, w->dq, w->dk, true));

  /* q, k and v have been used: they are the rooms for the operands of their own gradients. */
  const void *dq = w->dq, *dk = w->dk, *dv = w->dv;
  SB_TRY(sb_layer_step_as_operand(z, &dq, w->q, s.q_width));
  SB_TRY(sb_layer_step_as_operand(z, &dk, w->k, s.kv_width));
  SB_TRY(sb_layer_step_as_operand(z, &dv, w->v, s.kv_width));
  SB_TRY(sb_layer_step_gradient(z, s.q, dq, n));
  SB_TRY(sb_layer_step_gradient(z, s.k, dk, n));
  SB_TRY(sb_layer_step_gradient(z, s.v, dv, n));
  SB_TRY(sb_layer_step_backward(z, s.q, dn, dq, false));
  SB_TRY(sb_layer_step_backward(z, s.k, dn, dk, true));
  return sb_layer_step_backward(z, s.v, dn, dv, true);
}
