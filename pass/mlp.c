#include "pass/mlp.h"

void sb_mlp_buffers(const sb_config *c, sb_buffer out[SB_MLP_BUFFERS]) {
  const size_t i = c->intermediate;
#define PLACE(field) offsetof(sb_mlp_work, field)
  const sb_buffer table[SB_MLP_BUFFERS] = {
      {PLACE(gate), i, .content = SB_BUFFER_ACT},
      {PLACE(up), i, .content = SB_BUFFER_ACT},
      {PLACE(d_gated), i, .backward = true},
      {PLACE(gated), i, .content = SB_BUFFER_CONVERTED},
      {PLACE(d_gate), i, .content = SB_BUFFER_CONVERTED, .backward = true},
      {PLACE(d_up), i, .content = SB_BUFFER_CONVERTED, .backward = true},
  };
#undef PLACE
  for (size_t b = 0; b < SB_MLP_BUFFERS; b++) out[b] = table[b];
}

sb_status sb_mlp_begin(const sb_layer_step *z, sb_mlp_work *w, const void *n) {
  SB_TRY(sb_step_observe(z, SB_LINEAR_GATE, n));
  SB_TRY(sb_step_forward(z, SB_LINEAR_GATE, w->gate, n, false));
  return sb_step_forward(z, SB_LINEAR_UP, w->up, n, false);
}

sb_status sb_mlp_end(const sb_layer_step *z, sb_mlp_work *w, void *y) {
  sb_backend *b = z->scope.backend;
  void *gated = sb_step_operand_room(z, w->gate, w->gated);
  SB_TRY(b->op->swiglu(b, z->scope.stream, gated, w->gate, w->up,
                       z->scope.T * z->call->config->intermediate));
  SB_TRY(sb_step_observe(z, SB_LINEAR_DOWN, gated));
  return sb_step_forward(z, SB_LINEAR_DOWN, y, gated, true);
}

sb_status sb_mlp_backward(const sb_layer_step *z, sb_mlp_work *w, void *dn, const void *dy,
                          void *dy_room, const void *n) {
  const sb_config *c = z->call->config;
  sb_backend *b = z->scope.backend;
  /* d_gated has been used when gated is written over it, gate and up when their gradients are */
  void *gated = sb_step_operand_room(z, w->d_gated, w->gated),
       *d_gate = sb_step_operand_room(z, w->gate, w->d_gate),
       *d_up = sb_step_operand_room(z, w->up, w->d_up);
  SB_TRY(sb_step_as_operand(z, &dy, dy_room, c->hidden));
  SB_TRY(sb_step_backward(z, SB_LINEAR_DOWN, w->d_gated, dy, false));
  SB_TRY(b->op->swiglu_back(b, z->scope.stream, d_gate, d_up, gated, w->d_gated, w->gate, w->up,
                            z->scope.T * c->intermediate));
  SB_TRY(sb_step_gradient(z, SB_LINEAR_DOWN, dy, gated));
  SB_TRY(sb_step_gradient(z, SB_LINEAR_GATE, d_gate, n));
  SB_TRY(sb_step_gradient(z, SB_LINEAR_UP, d_up, n));
  SB_TRY(sb_step_backward(z, SB_LINEAR_GATE, dn, d_gate, false));
  return sb_step_backward(z, SB_LINEAR_UP, dn, d_up, true);
}
