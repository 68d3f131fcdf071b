#include "pass/mlp.h"

/* The matrices of the layer at hand. */
typedef struct shape {
  size_t gate, up, down; /* their numbers */
  size_t width;          /* hidden channels: elements per token */
} shape;

static shape shape_of(const sb_layer_step *z) {
  shape s = {.gate = sb_layer_step_matrix(z, SB_ROLE_GATE),
             .up = sb_layer_step_matrix(z, SB_ROLE_UP),
             .down = sb_layer_step_matrix(z, SB_ROLE_DOWN)};
  s.width = sb_layer_step_product(z, s.gate)->rows;
  return s;
}

void sb_mlp_buffers(const sb_arch *arch, sb_buffer out[SB_MLP_BUFFERS]) {
  const size_t i = arch ? sb_arch_most_rows(arch, SB_ROLE_GATE) : 0;
#define PLACE(field) offsetof(sb_mlp_work, field)
  const sb_buffer table[SB_MLP_BUFFERS] = {
      {PLACE(gate), i, .content = SB_BUFFER_ACT, .kept = true},
      {PLACE(up), i, .content = SB_BUFFER_ACT, .kept = true},
      {PLACE(d_gated), i, .backward = true},
      {PLACE(gated), i, .content = SB_BUFFER_CONVERTED},
      {PLACE(d_gate), i, .content = SB_BUFFER_CONVERTED, .backward = true},
      {PLACE(d_up), i, .content = SB_BUFFER_CONVERTED, .backward = true},
  };
#undef PLACE
  for (size_t b = 0; b < SB_MLP_BUFFERS; b++) out[b] = table[b];
}

sb_status sb_mlp_begin(const sb_layer_step *z, sb_mlp_work *w, const void *n) {
  const shape s = shape_of(z);
  SB_TRY(sb_layer_step_observe(z, s.gate, n));
  SB_TRY(sb_layer_step_forward(z, s.gate, w->gate, n, false));
  return sb_layer_step_forward(z, s.up, w->up, n, false);
}

sb_status sb_mlp_end(const sb_layer_step *z, sb_mlp_work *w, void *y) {
  const shape s = shape_of(z);
  sb_backend *b = z->scope.backend;
  /* a pass with gradients has room beside gate, which its backward part reads */
  void *gated = sb_layer_step_operand_room(z, w->d_gated ? w->d_gated : w->gate, w->gated);
  SB_TRY(b->op->swiglu(b, z->scope.stream, gated, w->gate, w->up, z->scope.T * s.width));
  SB_TRY(sb_layer_step_observe(z, s.down, gated));
  return sb_layer_step_forward(z, s.down, y, gated, true);
}

sb_status sb_mlp_backward(const sb_layer_step *z, sb_mlp_work *w, void *dn, const void *dy,
                          void *dy_room, const void *n) {
  const shape s = shape_of(z);
  sb_backend *b = z->scope.backend;
  /* d_gated has been used when gated is written over it, gate and up when their gradients are */
  void *gated = sb_layer_step_operand_room(z, w->d_gated, w->gated),
       *d_gate = sb_layer_step_operand_room(z, w->gate, w->d_gate),
       *d_up = sb_layer_step_operand_room(z, w->up, w->d_up);
  SB_TRY(sb_layer_step_as_operand(z, &dy, dy_room, sb_layer_step_product(z, s.down)->rows));
  SB_TRY(sb_layer_step_backward(z, s.down, w->d_gated, dy, false));
  SB_TRY(b->op->swiglu_back(b, z->scope.stream, d_gate, d_up, gated, w->d_gated, w->gate, w->up,
                            z->scope.T * s.width));
  SB_TRY(sb_layer_step_gradient(z, s.down, dy, gated));
  SB_TRY(sb_layer_step_gradient(z, s.gate, d_gate, n));
  SB_TRY(sb_layer_step_gradient(z, s.up, d_up, n));
  SB_TRY(sb_layer_step_backward(z, s.gate, dn, d_gate, false));
  return sb_layer_step_backward(z, s.up, dn, d_up, true);
}
