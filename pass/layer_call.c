#include "pass/layer_call.h"

size_t sb_layer_step_matrix(const sb_layer_step *z, sb_role role) {
  const sb_layer_weights *w = z->call->weights;
  return sb_arch_tensor(w->arch, role, w->layer)->matrix;
}

sb_status sb_layer_step_forward(const sb_layer_step *z, size_t matrix, void *y, const void *x,
                                bool add) {
  return sb_product_forward(&z->scope, sb_layer_step_product(z, matrix), y, x, add);
}

sb_status sb_layer_step_backward(const sb_layer_step *z, size_t matrix, void *dx, const void *dy,
                                 bool add) {
  return sb_product_input_gradient(&z->scope, sb_layer_step_product(z, matrix), dx, dy, add);
}

sb_status sb_layer_step_observe(const sb_layer_step *z, size_t matrix, const void *x) {
  const sb_layer_hooks *hooks = z->forward_hooks;
  const sb_layer_weights *w = z->call->weights;
  if (!hooks || !hooks->input) return SB_OK;
  SB_TRY(sb_product_arrange(&z->scope, sb_layer_step_product(z, matrix), NULL, &x));
  return hooks->input(hooks->context, z->scope.stream,
                      sb_arch_matrix(w->arch, w->layer, matrix)->input, x);
}

sb_status sb_layer_step_gradient(const sb_layer_step *z, size_t matrix, const void *dy,
                                 const void *x) {
  const sb_layer_hooks *hooks = z->call->hooks;
  const sb_product *product = sb_layer_step_product(z, matrix);
  if (!hooks || (!hooks->factors && !hooks->gradient)) return SB_OK;
  SB_TRY(sb_product_arrange(&z->scope, product, &dy, &x));
  if (hooks->factors) SB_TRY(hooks->factors(hooks->context, z->scope.stream, matrix, x, dy));
  if (!hooks->gradient) return SB_OK;
  SB_TRY(sb_product_weight_gradient(&z->scope, product, z->g_dev, dy, x));
  return hooks->gradient(hooks->context, z->scope.stream, matrix, z->g_dev);
}

sb_status sb_layer_step_as_operand(const sb_layer_step *z, const void **x, void *room,
                                   size_t width) {
  sb_backend *b = z->scope.backend;
  if (b->operand == b->act) return SB_OK;
  SB_TRY(b->op->convert(b, z->scope.stream, room, b->operand, *x, b->act, z->scope.T * width));
  *x = room;
  return SB_OK;
}

void *sb_layer_step_operand_room(const sb_layer_step *z, void *same, void *other) {
  return z->scope.backend->operand == z->scope.backend->act ? same : other;
}
