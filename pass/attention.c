#include "pass/attention.h"

void sb_attention_buffers(const sb_config *c, sb_buffer out[SB_ATTENTION_BUFFERS]) {
  const size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
#define PLACE(field) offsetof(sb_attention_work, field)
  const sb_buffer table[SB_ATTENTION_BUFFERS] = {
      {PLACE(q), q, .content = SB_BUFFER_ACT},
      {PLACE(k), kv, .content = SB_BUFFER_ACT},
      {PLACE(v), kv, .content = SB_BUFFER_ACT},
      {PLACE(o), q, .content = SB_BUFFER_ACT},
      {PLACE(lse), c->heads, .content = SB_BUFFER_F32},
      {PLACE(o_in), q, .content = SB_BUFFER_CONVERTED},
      {PLACE(d_o), q, .backward = true},
      {PLACE(dq), q, .backward = true},
      {PLACE(dk), kv, .backward = true},
      {PLACE(dv), kv, .backward = true},
  };
#undef PLACE
  for (size_t i = 0; i < SB_ATTENTION_BUFFERS; i++) out[i] = table[i];
}

static sb_status turn(const sb_layer_step *z, void *q, void *k, bool back) {
  const sb_config *c = z->call->config;
  sb_backend *b = z->scope.backend;
  const float *cos_sin = z->call->cos_sin_dev;
  SB_TRY(b->op->rope(b, z->scope.stream, q, cos_sin, z->scope.T, c->heads, c->head_dim, back));
  return b->op->rope(b, z->scope.stream, k, cos_sin, z->scope.T, c->kv_heads, c->head_dim, back);
}

/* *o_in: o as operands. */
static sb_status output_operand(const sb_layer_step *z, const sb_attention_work *w,
                                const void **o_in) {
  const sb_config *c = z->call->config;
  *o_in = w->o;
  return sb_step_as_operand(z, o_in, w->o_in, c->heads * c->head_dim);
}

sb_status sb_attention_forward(const sb_layer_step *z, sb_attention_work *w, void *x1,
                               const void *n) {
  const sb_config *c = z->call->config;
  sb_backend *b = z->scope.backend;
  const void *o_in;
  SB_TRY(sb_step_observe(z, SB_LINEAR_Q, n));
  SB_TRY(sb_step_forward(z, SB_LINEAR_Q, w->q, n, false));
  SB_TRY(sb_step_forward(z, SB_LINEAR_K, w->k, n, false));
  SB_TRY(sb_step_forward(z, SB_LINEAR_V, w->v, n, false));
  SB_TRY(turn(z, w->q, w->k, false));
  SB_TRY(b->op->attention(b, z->scope.stream, w->o, w->lse, w->q, w->k, w->v, z->scope.T, c->heads,
                          c->kv_heads, c->head_dim));
  SB_TRY(output_operand(z, w, &o_in));
  SB_TRY(sb_step_observe(z, SB_LINEAR_O, o_in));
  return sb_step_forward(z, SB_LINEAR_O, x1, o_in, true);
}

sb_status sb_attention_backward(const sb_layer_step *z, sb_attention_work *w, void *dn,
                                const void *dy, void *dy_room, const void *n) {
  const sb_config *c = z->call->config;
  sb_backend *b = z->scope.backend;
  const size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
  /* the forward part has converted o already */
  const void *o_in = sb_step_operand_room(z, w->o, w->o_in);

  SB_TRY(sb_step_as_operand(z, &dy, dy_room, c->hidden));
  SB_TRY(sb_step_gradient(z, SB_LINEAR_O, dy, o_in));
  SB_TRY(sb_step_backward(z, SB_LINEAR_O, w->d_o, dy, false));
  SB_TRY(b->op->attention_back(b, z->scope.stream, w->dq, w->dk, w->dv, w->d_o, w->o, w->lse, w->q,
                               w->k, w->v, z->scope.T, c->heads, c->kv_heads, c->head_dim));
  SB_TRY(turn(z, w->dq, w->dk, true));

  /* q, k and v have been used: they are the rooms for the operands of their own gradients. */
  const void *dq = w->dq, *dk = w->dk, *dv = w->dv;
  SB_TRY(sb_step_as_operand(z, &dq, w->q, q));
  SB_TRY(sb_step_as_operand(z, &dk, w->k, kv));
  SB_TRY(sb_step_as_operand(z, &dv, w->v, kv));
  SB_TRY(sb_step_gradient(z, SB_LINEAR_Q, dq, n));
  SB_TRY(sb_step_gradient(z, SB_LINEAR_K, dk, n));
  SB_TRY(sb_step_gradient(z, SB_LINEAR_V, dv, n));
  SB_TRY(sb_step_backward(z, SB_LINEAR_Q, dn, dq, false));
  SB_TRY(sb_step_backward(z, SB_LINEAR_K, dn, dk, true));
  return sb_step_backward(z, SB_LINEAR_V, dn, dv, true);
}
