/* Families and the table they fill. The one made up here has layers of different matrices
 * (another width, experts, no MLP), so that what takes layer 0 for all, or seven matrices
 * for any layer, fails. */
#include "model/family.h"

#include "model/order_string.h"
#include "model/orders_check.h"
#include "tests/support/config_json.h"

enum { H = 48, I = 80, NARROW = 40, EXPERTS = 3, LAYERS = 4 };

static const sb_config config = {.architecture = "MadeUpForCausalLM",
                                 .vocab = 10,
                                 .hidden = H,
                                 .intermediate = I,
                                 .layers = LAYERS,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 12};

/* Layer 0 and 3: Llama's. 1: a narrower MLP. 2: attention, and experts that share the MLP's input
 * but each have an input of their own before `down`. */
static bool made_up(const sb_config *c, size_t layer, size_t index, sb_layer_tensor *out) {
  static const struct {
    sb_role role;
    const char *name;
  } mlp[] = {{SB_ROLE_GATE, "gate"}, {SB_ROLE_UP, "up"}, {SB_ROLE_DOWN, "down"}};
  static char name[64];
  if (index < 6 || layer != 2) {
    sb_config own = *c;
    own.intermediate = layer == 1 ? NARROW : I;
    return sb_family_llama.tensor(&own, layer, index, out);
  }
  const size_t expert = (index - 6) / 3, which = (index - 6) % 3;
  if (expert == EXPERTS) return false;
  snprintf(name, sizeof name, "mlp.experts.%zu.%s_proj.weight", expert, mlp[which].name);
  *out = (sb_layer_tensor){.role = mlp[which].role, .is_matrix = true};
  out->matrix = which == 2 ? (sb_matrix_spec){name, H, NARROW, 3 + expert, expert}
                           : (sb_matrix_spec){name, NARROW, H, 2, expert};
  return true;
}

static const sb_family family = {.architecture = "MadeUpForCausalLM",
                                 .function = "made up",
                                 .embedding = "wte.weight",
                                 .final_norm = "norm.weight",
                                 .head = "head.weight",
                                 .layers = "h",
                                 .tensor = made_up};

static void the_list(void **state) {
  (void)state;
  for (size_t i = 0; sb_families[i]; i++) {
    const sb_family *f = sb_families[i];
    assert_ptr_equal(sb_family_find(f->architecture), f);
    assert_ptr_equal(sb_family_of_type(f->model_type), f);
    assert_true(strlen(f->function) < sizeof config.function);
    assert_true(strlen(f->architecture) < sizeof config.architecture);
  }
  assert_null(sb_family_find("MadeUpForCausalLM"));
  sb_arch a;
  assert_int_equal(sb_arch_create(&config, &a), SB_ERR_UNSUPPORTED);
  assert_says("MadeUpForCausalLM");
}

static void numbers(void **state) {
  (void)state;
  static const size_t matrices[LAYERS] = {7, 7, 4 + 3 * EXPERTS, 7}, inputs[] = {4, 4, 6, 4},
                      widths[] = {3 * H + I, 3 * H + NARROW, 3 * H + EXPERTS * NARROW, 3 * H + I};
  sb_arch a;
  size_t first = 0, channels = 0;
  assert_ok(sb_arch_create_of(&family, &config, &a));
  for (size_t layer = 0; layer < LAYERS; layer++) {
    assert_int_equal(sb_arch_matrices(&a, layer), matrices[layer]);
    assert_int_equal(sb_arch_inputs(&a, layer), inputs[layer]);
    assert_int_equal(a.layers[layer].first_matrix, first);
    assert_int_equal(sb_arch_first_channel(&a, layer), channels);
    for (size_t i = 0; i < matrices[layer]; i++) {
      const sb_model_tensor *t = sb_arch_matrix(&a, layer, i);
      const sb_arch_input *input = sb_arch_input_of(&a, layer, t->input);
      assert_true(t->is_linear && t->layer == layer && t->matrix == i && t->cols == input->width);
      assert_true(input->first_matrix <= i);
      assert_int_equal(sb_arch_find(&a, t->role, layer, t->expert), t - a.tensors);
    }
    first += matrices[layer];
    channels += widths[layer];
  }
  assert_int_equal(a.matrix_count, first);
  assert_int_equal(sb_arch_first_channel(&a, LAYERS), channels);
  assert_int_equal(a.most_matrices, 4 + 3 * EXPERTS);
  assert_int_equal(a.most_inputs, 6);
  assert_int_equal(sb_arch_most_rows(&a, SB_ROLE_GATE), I);
  assert_int_equal(sb_arch_index(&a, SB_ROLE_GATE, 2), SB_NONE); /* only experts have one */
  assert_int_equal(sb_arch_tensor(&a, SB_ROLE_GATE, 1)->rows, NARROW);
  const sb_model_tensor *last = &a.tensors[sb_arch_find(&a, SB_ROLE_DOWN, 2, EXPERTS - 1)];
  assert_string_equal(last->name, "h.2.mlp.experts.2.down_proj.weight");
  assert_int_equal(last->input, 5);
  sb_arch_free(&a);
}

/* Indexed orders: rows of every matrix, columns of every input. */
static void orders(void **state) {
  (void)state;
  sb_arch a;
  sb_orders o, same;
  uint64_t bytes = 0;
  assert_ok(sb_arch_create_of(&family, &config, &a));
  assert_ok(sb_orders_create(&a, SB_REORDER_INDEXED, &o));
  assert_int_equal(o.count, a.matrix_count + a.input_count);
  for (size_t layer = 0; layer < LAYERS; layer++) {
    assert_int_equal(o.layer_start[layer + 1] - o.layer_start[layer],
                     sb_arch_matrices(&a, layer) + sb_arch_inputs(&a, layer));
    for (size_t i = 0; i < sb_arch_matrices(&a, layer); i++) {
      const sb_model_tensor *t = sb_arch_matrix(&a, layer, i);
      const sb_model_tensor *lead =
          sb_arch_matrix(&a, layer, sb_arch_input_of(&a, layer, t->input)->first_matrix);
      assert_ptr_equal(sb_orders_cols(&o, (size_t)(t - a.tensors)),
                       sb_orders_cols(&o, (size_t)(lead - a.tensors)));
      assert_int_equal(o.orders[o.row[t - a.tensors]].size, t->rows);
      bytes += sb_order_bytes(&o.orders[o.row[t - a.tensors]], 16, 16);
      if (lead == t) bytes += sb_order_bytes(&o.orders[o.col[t - a.tensors]], 16, 16);
    }
  }
  assert_int_equal(sb_orders_stored_bytes(&a, SB_REORDER_INDEXED, 16, 16), bytes);
  assert_ok(sb_orders_copy(&o, &same));
  assert_memory_equal(same.layer_start, o.layer_start, (LAYERS + 1) * sizeof(size_t));
  sb_orders_free(&same);
  sb_orders_free(&o);
  assert_int_equal(sb_orders_create(&a, SB_REORDER_FUSED, &o), SB_ERR_UNSUPPORTED);
  assert_says("layer 2 of MadeUpForCausalLM");
  sb_arch_free(&a);
}

/* FLOPs of products, and of attention, layer by layer. */
static void flops(void **state) {
  (void)state;
  sb_arch a;
  double products = 0;
  const double T = 5;
  assert_ok(sb_arch_create_of(&family, &config, &a));
  for (size_t i = 0; i < a.count; i++)
    if (a.tensors[i].is_linear) products += (double)(a.tensors[i].rows * a.tensors[i].cols);
  assert_true(products == (double)a.linear_parameters);
  assert_true(sb_arch_forward_flops(&a, (size_t)T) ==
              2 * T * (products + 10.0 * H) + LAYERS * 4.0 * 48.0 * T * (T + 1) / 2);
  sb_arch_free(&a);
}

/* ---- tables that break the rules ---- */

static sb_matrix_spec second; /* after a matrix [8, 8] of input 0 */

static bool two_matrices(const sb_config *c, size_t layer, size_t index, sb_layer_tensor *out) {
  (void)c, (void)layer;
  *out = (sb_layer_tensor){.role = index ? SB_ROLE_K : SB_ROLE_Q, .is_matrix = true};
  out->matrix = index ? second : (sb_matrix_spec){"q", 8, 8, 0, SB_NO_EXPERT};
  return index < 2;
}

static void broken_tables(void **state) {
  (void)state;
  static char long_name[128];
  memset(long_name, 'x', sizeof long_name - 1);
  const struct {
    sb_matrix_spec spec;
    const char *says;
  } cases[] = {{{"k", 8, 8, 2, SB_NO_EXPERT}, "an input is left out"},
               {{"k", 8, 9, 0, SB_NO_EXPERT}, "an input has two widths"},
               {{long_name, 8, 8, 0, SB_NO_EXPERT}, "a name is too long"}};
  sb_family bad = family;
  sb_arch a;
  bad.tensor = two_matrices;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    second = cases[i].spec;
    assert_int_equal(sb_arch_create_of(&bad, &config, &a), SB_ERR_INTERNAL);
    assert_says(cases[i].says);
  }
  second = (sb_matrix_spec){"k", 8, 8, 0, SB_NO_EXPERT};
  assert_ok(sb_arch_create_of(&bad, &config, &a));
  sb_arch_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_list), cmocka_unit_test(numbers),
                                     cmocka_unit_test(orders), cmocka_unit_test(flops),
                                     cmocka_unit_test(broken_tables)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
