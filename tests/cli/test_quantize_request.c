/* What quantize and plan make of a command line: what was left open is chosen, and contradictions
 * are refused. */
#include "cli/quantize_request.h"

#include "cli/quantize_readers.h"
#include "tests/support/assertions.h"

/* The table holds what is given to one of the two, and the request is settled. */
static sb_status settle(const char *line, sb_quantize_set set, bool calibrates,
                        sb_quantize_request *r) {
  char copy[256], *argv[32];
  int argc = 0;
  bool help;
  sb_option options[SB_QUANTIZE_OPTIONS_MAX];
  *r = sb_quantize_defaults();
  const sb_argument arguments[] = {{"MODEL", &r->model, "A folder."}};
  const sb_usage usage = {.command = "quantize",
                          .synopsis = "MODEL",
                          .arguments = arguments,
                          .argument_count = 1,
                          .options = options,
                          .option_count = sb_quantize_options(r, set, options)};
  snprintf(copy, sizeof copy, "quantize m %s", line);
  for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
  argv[argc] = NULL;
  SB_TRY(sb_options_parse(&usage, argc, argv, &help));
  if (set == SB_QUANTIZE_PLANNED) r->bits = 3; /* plan has a default */
  return sb_quantize_settle(r, "quantize", calibrates);
}

static void left_open(void **state) {
  (void)state;
  sb_quantize_request r;
  assert_ok(settle("-b 3 -o out --calib c", SB_QUANTIZE_ALL, true, &r));
  assert_true(r.quantizer == SB_QUANTIZER_GPTQ && r.estimator == SB_ESTIMATOR_FISHER);
  assert_true(r.strides == 2 && r.tune_seqs == r.round_seqs && r.round_seqs == 256);
  assert_true(r.reorder == SB_REORDER_FUSED && r.grid == SB_GRID_FITTED);
  assert_ok(settle("-b 3 -o out --method rtn", SB_QUANTIZE_ALL, false, &r));
  assert_true(r.quantizer == SB_QUANTIZER_RTN && r.reorder == SB_REORDER_NONE);
  assert_true(r.grid == SB_GRID_PLAIN && r.tune_seqs == 0);
  assert_ok(settle("-b 3 -o out --calib c --method layer", SB_QUANTIZE_ALL, true, &r));
  assert_true(r.reorder == SB_REORDER_NONE && r.grid == SB_GRID_FITTED);
  /* divergence goes with codes to nearest, and starts from the costs of widths */
  assert_ok(settle("-b 3 -o out --calib c --quantizer rtn", SB_QUANTIZE_ALL, true, &r));
  assert_true(r.estimator == SB_ESTIMATOR_DIVERGENCE && r.strides == 0 && r.tune_seqs == 0);
  assert_ok(
      settle("-b 3 -o out --calib c --quantizer rtn --start-bits 4", SB_QUANTIZE_ALL, true, &r));
  assert_true(r.strides == 2 && r.start_bits == 4);
}

/* Trellises have no grids to choose, and costs of widths to search by. */
static void codes(void **state) {
  (void)state;
  sb_quantize_request r;
  assert_ok(settle("-b 3 -o out --calib c", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_GRID_ASYMMETRIC);
  assert_ok(settle("-b 3 -o out --calib c --symmetric", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_GRID_SYMMETRIC);
  assert_ok(
      settle("-b 3 -o out --calib c --symmetric --scale-type bf16", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_GRID_SYMMETRIC_BF16);
  assert_ok(settle("-b 3 -o out --calib c --scale-type 6bit", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_GRID_ASYMMETRIC_6BIT);
  assert_ok(settle("-b 3 -o out --calib c --grid-kind signed", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_GRID_SIGNED && r.min_bits == 2);
  assert_ok(
      settle("-b 3 -o out --calib c --grid-kind by-width --min-bits 1", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_GRID_BY_WIDTH);
  assert_true(r.tune_norms == SB_NO && r.tune_epochs == 1);
  assert_ok(settle("-b 3 -o out --calib c --codes trellis", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_TRELLIS_12 && r.grid == SB_GRID_PLAIN);
  assert_true(r.tune_norms == SB_YES && r.tune_epochs == 2);
  assert_true(r.estimator == SB_ESTIMATOR_DIVERGENCE && r.strides == 0);
  assert_true(r.quantizer == SB_QUANTIZER_GPTQ && r.trades == 0 && r.min_bits == 1);
  assert_true(r.reorder == SB_REORDER_FUSED && sb_quantize_roundings(&r) == 3);
  assert_ok(
      settle("-b 3 -o out --calib c --codes trellis --method layer", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_roundings(&r) == 2);
  assert_ok(settle("-b 3 -o out --calib c --codes trellis", SB_QUANTIZE_ALL, true, &r));
  assert_ok(settle("--codes trellis --trellis-states 14", SB_QUANTIZE_PLANNED, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_TRELLIS_14);
  assert_ok(settle("-b 3 -o out --calib c --codes trellis --trellis-states 16 --sensitivity "
                   "diagonal",
                   SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_TRELLIS_16 && r.estimator == SB_ESTIMATOR_DIAGONAL);
}

/* EXL3's codes are a trellis, with a width for each matrix. */
static void exl3(void **state) {
  (void)state;
  sb_quantize_request r;
  assert_ok(settle("-b 3 -o out --calib c --widths-for exl3", SB_QUANTIZE_ALL, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_TRELLIS_EXL3 && r.codes == SB_CODES_TRELLIS);
  assert_true(r.method == SB_METHOD_LAYER && r.reorder == SB_REORDER_NONE);
  assert_true(r.grid == SB_GRID_PLAIN && r.quantizer == SB_QUANTIZER_GPTQ);
  assert_ok(settle("-b 3 -o out --method rtn --widths-for exl3 --codes trellis", SB_QUANTIZE_ALL,
                   false, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_TRELLIS_EXL3 && r.method == SB_METHOD_RTN);
  assert_ok(
      settle("-b 3 -o out --calib c --widths-for exl3 --reorder fused", SB_QUANTIZE_ALL, true, &r));
  assert_ok(settle("--widths-for exl3", SB_QUANTIZE_PLANNED, true, &r));
  assert_true(sb_quantize_code_kind(&r) == SB_TRELLIS_EXL3);
  r = sb_quantize_defaults();
  r.bits = 3;
  r.widths_for = SB_WIDTHS_FOR_EXL3;
  r.common.block[1] = 192;
  assert_int_equal(sb_quantize_settle(&r, "quantize", true), SB_ERR_USAGE);
  assert_says("--block 128x192 does not go with --widths-for exl3");
  r.common.block[1] = 256;
  assert_ok(sb_quantize_settle(&r, "quantize", true));
}

/* A server leaves levels, widths, order and tables as it takes them. */
static void servers(void **state) {
  (void)state;
  sb_quantize_request r;
  static const struct {
    const char *line;
    sb_code_kind levels;
    unsigned least, most, embed, head; /* of tables: 0 is chosen */
    sb_width_scope scope;
    sb_width_set widths;
  } cases[] = {{"-b 3 --widths-for vllm", SB_GRID_ASYMMETRIC, 2, 8, 16, 16, SB_WIDTH_OF_TIE, 0x1fc},
               {"-b 3 --widths-for vllm --grid-kind signed --max-bits 6", SB_GRID_SIGNED, 2, 6, 16,
                16, SB_WIDTH_OF_TIE, 0x7c},
               {"-b 5 --widths-for sglang", SB_GRID_SIGNED, 4, 8, 16, 16, SB_WIDTH_OF_TIE, 0x110},
               {"-b 5 --widths-for sglang --min-bits 5", SB_GRID_SIGNED, 8, 8, 16, 16,
                SB_WIDTH_OF_TIE, 0x100},
               {"-b 3 --widths-for gptq --max-bits 7", SB_GRID_ASYMMETRIC, 2, 4, 16, 0,
                SB_WIDTH_OF_MATRIX, 0x1c},
               {"-b 3 --widths-for gptq --head-bits 4", SB_GRID_ASYMMETRIC, 2, 8, 16, 4,
                SB_WIDTH_OF_MATRIX, 0x11c},
               {"-b 3 --widths-for mlx", SB_GRID_ASYMMETRIC, 2, 8, 0, 0, SB_WIDTH_OF_MATRIX, 0x17c},
               {"-b 3 --widths-for mlx --method layer --embed-bits 16", SB_GRID_ASYMMETRIC, 2, 8,
                16, 0, SB_WIDTH_OF_MATRIX, 0x17c},
               {"-b 3 --widths-for vllm --method layer", SB_GRID_ASYMMETRIC, 2, 8, 16, 16,
                SB_WIDTH_OF_TIE, 0x1fc},
               {"-b 3 --widths-for vllm --method rtn", SB_GRID_ASYMMETRIC, 2, 8, 16, 16,
                SB_WIDTH_OF_MODEL, 0x1fc},
               {"-b 3 --method layer", SB_GRID_ASYMMETRIC, 1, 8, 0, 0, SB_WIDTH_OF_MATRIX, 0x1fe},
               {"-b 3", SB_GRID_ASYMMETRIC, 1, 8, 0, 0, SB_WIDTH_OF_BLOCK, 0x1fe}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char line[128];
    snprintf(line, sizeof line, "%s -o out --calib c", cases[i].line);
    assert_ok(settle(line, SB_QUANTIZE_ALL, true, &r));
    assert_int_equal(r.grid_kind, cases[i].levels);
    assert_int_equal(sb_quantize_scope(&r), cases[i].scope);
    assert_int_equal(sb_quantize_widths(&r), cases[i].widths);
    assert_int_equal(r.min_bits ? r.min_bits : SB_MIN_BITS, cases[i].least);
    assert_int_equal(r.max_bits, cases[i].most);
    assert_int_equal(r.embed_bits, cases[i].embed);
    assert_int_equal(r.head_bits, cases[i].head);
  }
}

static sb_arch llama(size_t hidden, size_t intermediate, size_t kv_heads, sb_dtype dtype) {
  sb_config config = {.layers = 2,
                      .hidden = hidden,
                      .intermediate = intermediate,
                      .heads = 12,
                      .kv_heads = kv_heads,
                      .head_dim = 64,
                      .vocab = 501,
                      .dtype = dtype};
  sb_arch arch;
  snprintf(config.architecture, sizeof config.architecture, "LlamaForCausalLM");
  assert_ok(sb_arch_create(&config, &arch));
  return arch;
}

/* cols: of --block, 0 where it is not given */
static sb_status with_model(const char *options, size_t cols, const sb_arch *arch,
                            sb_quantize_request *r) {
  char line[128];
  snprintf(line, sizeof line, "-b 3 -o out --calib c %s", options);
  assert_ok(settle(line, SB_QUANTIZE_ALL, true, r));
  r->common.block_given = cols > 0;
  if (cols > 0) r->common.block[1] = cols;
  r->model = "m";
  return sb_quantize_settle_model(r, "quantize", arch);
}

/* Groups and the type of scales follow from the model; a group that is given is held to it. */
static void groups(void **state) {
  (void)state;
  sb_quantize_request r;
  sb_arch a = llama(768, 1536, 4, SB_BF16); /* down on 4 ranks: 384 = 3 x 128 */
  assert_ok(with_model("--widths-for vllm", 0, &a, &r));
  assert_true(r.common.block[0] == 128 && r.common.block[1] == 128);
  assert_true(r.scale_type == SB_SCALES_BF16);
  assert_true(sb_quantize_code_kind(&r) == SB_GRID_ASYMMETRIC_BF16);
  assert_ok(with_model("--widths-for vllm --tensor-parallel 4", 0, &a, &r));
  assert_int_equal(r.common.block[1], 64); /* o has 768 inputs, 192 on each */
  assert_ok(with_model("--widths-for mlx", 0, &a, &r));
  assert_true(r.common.block[1] == 128 && r.scale_type == SB_SCALES_FP16);
  assert_ok(with_model("--widths-for vllm --scale-type fp16", 32, &a, &r));
  assert_true(r.common.block[1] == 32 && r.scale_type == SB_SCALES_FP16);
  assert_ok(with_model("", 0, &a, &r));
  assert_true(r.common.block[1] == sb_quantize_defaults().common.block[1]);
  assert_int_equal(with_model("--widths-for vllm", 96, &a, &r), SB_ERR_UNSUPPORTED);
  assert_says("quantize --widths-for vllm: groups of 96 weights");
  assert_int_equal(with_model("--widths-for vllm --tensor-parallel 8", 0, &a, &r),
                   SB_ERR_UNSUPPORTED);
  assert_says("--tensor-parallel 8 does not divide the 4 key-value heads of m");
  sb_arch_free(&a);
  a = llama(720, 1536, 4, SB_F16); /* 720 = 45 x 16 */
  assert_int_equal(with_model("--widths-for gptq", 0, &a, &r), SB_ERR_UNSUPPORTED);
  assert_says("q_proj.weight has 720 inputs");
  sb_arch_free(&a);
}

/* Widths of embedding and head: chosen, given, left; of a tied model one. */
static void tables(void **state) {
  (void)state;
  sb_quantize_request r;
  unsigned bits[SB_TABLES];
  assert_ok(settle("--size 3.5MiB -o out --calib c", SB_QUANTIZE_ALL, true, &r));
  assert_true(r.size.bytes == 3670016 && r.embed_bits == 0 && r.head_bits == 0);
  assert_ok(settle("--size 3.5MiB -o out --calib c --widths-for exl3", SB_QUANTIZE_ALL, true, &r));
  assert_true(r.embed_bits == SB_SOURCE_BITS && r.head_bits == SB_SOURCE_BITS);
  /* with effective bits, where their costs are known */
  assert_ok(settle("-b 3 -o out --calib c", SB_QUANTIZE_ALL, true, &r));
  assert_true(r.embed_bits == 0 && r.head_bits == 0);
  assert_ok(settle("-b 3 -o out --calib c --method rtn", SB_QUANTIZE_ALL, true, &r));
  assert_true(r.embed_bits == SB_SOURCE_BITS && r.head_bits == SB_SOURCE_BITS);
  assert_ok(settle("--size 3MB -o out --method rtn", SB_QUANTIZE_ALL, false, &r));
  assert_true(r.embed_bits == 0 && r.head_bits == 0);
  assert_ok(
      settle("-b 3 -o out --embed-bits 16 --head-bits 6 --calib c", SB_QUANTIZE_ALL, true, &r));
  assert_ok(sb_quantize_table_bits(&r, "quantize", false, bits));
  assert_true(bits[0] == SB_SOURCE_BITS && bits[1] == 6);
  assert_ok(
      settle("-b 3 -o out --head-bits 6 --tune-tables yes --calib c", SB_QUANTIZE_ALL, true, &r));
  assert_ok(sb_quantize_table_bits(&r, "quantize", true, bits));
  assert_true(bits[0] == 6 && bits[1] == SB_SOURCE_BITS);
  const sb_trained trained = sb_quantize_trained(&r, bits);
  assert_true(trained.tables[0] && !trained.tables[1] && !trained.norms);
  assert_ok(sb_quantize_table_bits(&r, "quantize", false, bits));
  assert_true(bits[0] == 0 && bits[1] == 6);
  assert_ok(settle("--size 3MB -o out --head-bits 6 --embed-bits 6 --calib c", SB_QUANTIZE_ALL,
                   true, &r));
  assert_ok(sb_quantize_table_bits(&r, "quantize", true, bits));
  assert_true(bits[0] == 6);
  assert_ok(settle("--size 3MB -o out --head-bits 6 --embed-bits 16 --calib c", SB_QUANTIZE_ALL,
                   true, &r));
  r.model = "m"; /* the command line is gone */
  assert_int_equal(sb_quantize_table_bits(&r, "quantize", true, bits), SB_ERR_USAGE);
  assert_says("the LM head of m is tied");
  assert_ok(sb_quantize_table_bits(&r, "quantize", false, bits));
  assert_true(bits[0] == SB_SOURCE_BITS && bits[1] == 6);
  /* a guess for what is known before they are chosen */
  bits[0] = 0, bits[1] = 5;
  sb_quantize_guess_tables(2.6, bits);
  assert_true(bits[0] == 3 + SB_TABLE_LEAD && bits[1] == 5);
  bits[0] = 0;
  sb_quantize_guess_tables(7.9, bits);
  assert_true(bits[0] == SB_MAX_BITS);
}

/* A choice that happens to be the first of its names is a choice. */
static void said(void **state) {
  (void)state;
  sb_quantize_request r;
  assert_ok(settle("-b 3 -o out --calib c --reorder none --quantizer rtn --sensitivity divergence "
                   "--strides 0 --tune-seqs 0 --grid plain",
                   SB_QUANTIZE_ALL, true, &r));
  assert_true(r.reorder == SB_REORDER_NONE && r.quantizer == SB_QUANTIZER_RTN);
  assert_true(r.estimator == SB_ESTIMATOR_DIVERGENCE && r.strides == 0 && r.tune_seqs == 0);
  assert_true(r.grid == SB_GRID_PLAIN);
  assert_ok(settle("-b 3 -o out --calib c --quantizer gptq --sensitivity divergence --strides 5 "
                   "--tune-seqs 7 --factor replicated",
                   SB_QUANTIZE_ALL, true, &r));
  assert_true(r.estimator == SB_ESTIMATOR_DIVERGENCE && r.strides == 5 && r.tune_seqs == 7);
  assert_true(r.factor == SB_FACTOR_REPLICATED);
}

static const struct {
  const char *line, *says;
  bool calibrates;
} refusals[] = {
    {"-b 3 -o out --min-bits 5 --max-bits 4", "--min-bits 5 is above --max-bits 4", true},
    {"-b 3 -o out --start-bits 4 --strides 0", "--strides 0 takes none", true},
    {"-b 3 -o out", "--calib TOKENS is needed", false},
    {"-b 3 -o out --method rtn --quantizer gptq", "--calib TOKENS is needed", false},
    {"-b 3 -o out --method rtn --grid fitted", "--calib TOKENS is needed", false},
    {"-b 3 -o out --method rtn --reorder fused", "--calib TOKENS is needed", false},
    {"-b 3 -o out --method rtn --tune-seqs 1", "--calib TOKENS is needed", false},
    {"-o out --calib c", "--bits B or --size SIZE is missing", true},
    {"-b 3 --size 3GiB -o out", "--bits is the budget of the layers, --size", true},
    {"--size 3 -o out", "--size 3: a size with its unit", true},
    {"-b 3 -o out --head-bits 12", "--head-bits 12: 1 to 8 bits are expected, or 16", true},
    {"-b 3 -o out --embed-bits 9", "--embed-bits 9: 1 to 8 bits are expected, or 16", true},
    {"-b 3 -o out --embed-bits 0", "--embed-bits 0: a whole number from 1 to 16", true},
    {"-b 3 -o out --widths-for exl3 --head-bits 6", "--head-bits 6 does not go with", true},
    {"-b 3 -o out --trellis-states 12", "--trellis-states is of --codes trellis", true},
    {"-b 3 -o out --codes trellis --symmetric", "--symmetric is of grids", true},
    {"-b 3 -o out --codes trellis --grid-kind signed", "--grid-kind is of grids", true},
    {"-b 3 -o out --codes trellis --scale-type bf16", "--scale-type is of grids", true},
    {"-b 3 -o out --symmetric --grid-kind asymmetric", "contradict each other", true},
    {"-b 3 -o out --grid-kind signed --min-bits 1", "signed has at least 2 bits", true},
    {"-b 3 -o out --grid-kind signed --head-bits 1", "signed has at least 2 bits", true},
    {"-b 3 -o out --codes trellis --grid plain", "--grid plain is of grids", true},
    {"-b 3 -o out --codes trellis --sensitivity fisher", "--sensitivity fisher looks at", true},
    {"-b 3 -o out --codes trellis --sensitivity hessian", "choose divergence or diagonal", true},
    {"-b 3 -o out --codes trellis --trades 3", "--trades and --start-bits are of", true},
    {"-b 3 -o out --codes trellis --strides 0", "--trades and --start-bits are of", true},
    {"-b 3 -o out --codes trellis --start-bits 3", "--trades and --start-bits are of", true},
    {"-b 3 -o out --codes trellis --trade-share 0.1", "--trade-share is of trades", true},
    {"-b 3 -o out --tune-seqs 0 --tune-batch 4", "--tune-batch is of the training", true},
    {"-b 3 -o out --tune-seqs 0 --tune-rate 0.1", "which --tune-seqs 0 leaves out", true},
    {"-b 3 -o out --tune-seqs 0 --tune-epochs 2", "--tune-epochs is of the training", true},
    {"-b 3 -o out --tune-seqs 0 --tune-norms yes", "--tune-norms is of the training", true},
    {"-b 3 -o out --quantizer rtn --tune-norms no", "the default with --quantizer rtn,", true},
    {"-b 3 -o out --head-bits 4 --tune-seqs 0 --tune-tables yes", "--tune-tables is of", true},
    {"-b 3 -o out --embed-bits 16 --head-bits 16 --tune-tables yes", "they are: give them", true},
    {"-b 3 -o out --codes trellis --refine 2", "--refine moves levels of grids", true},
    {"-b 3 -o out --codes trellis --trellis-states 13", "--trellis-states 13", true},
    {"-b 3 -o out --widths-for exl3 --codes grid", "exl3 is of --codes trellis", true},
    {"-b 3 -o out --widths-for exl3 --trellis-states 12", "--trellis-states 12 does not", true},
    {"-b 3 -o out --widths-for exl3 --method scalebits", "--method scalebits gives each", true},
    {"-b 3 -o out --widths-for exl3 --method table", "choose layer or rtn", true},
    {"-b 3 -o out --widths-for exl3 --reorder indexed", "--reorder indexed does not go", true},
    {"-b 3 -o out --widths-for exl3 --symmetric", "--symmetric is of grids", true},
    {"-b 3 -o out --widths-for exl2", "--widths-for exl2", true},
    {"-b 3 -o out --widths-for vllm --codes trellis", "--codes trellis does not go with", true},
    {"-b 3 -o out --widths-for vllm --symmetric", "vllm: choose asymmetric or signed", true},
    {"-b 3 -o out --widths-for sglang --grid-kind asymmetric", "sglang: choose signed", true},
    {"-b 3 -o out --widths-for sglang --max-bits 3", "takes 4, 8 bits, none of which lies", true},
    {"-b 3 -o out --widths-for gptq --min-bits 5 --max-bits 7", "takes 2, 3, 4, 8 bits", true},
    {"-b 3 -o out --widths-for mlx --start-bits 7", "--start-bits 7: --widths-for mlx", true},
    {"-b 3 -o out --widths-for mlx --head-bits 7", "which takes 2, 3, 4, 5, 6, 8 or 16", true},
    {"-b 3 -o out --widths-for vllm --head-bits 4", "--head-bits 4 does not go with", true},
    {"-b 3 -o out --widths-for gptq --embed-bits 4", "--embed-bits 4 does not go with", true},
    {"-b 3 -o out --widths-for vllm --method table", "choose scalebits, layer or rtn", true},
    {"-b 3 -o out --widths-for gptq --reorder indexed", "fused needs none", true},
    {"-b 3 -o out --widths-for mlx --tensor-parallel 2", "--tensor-parallel 2 is of", true},
    {"-b 3 -o out --tensor-parallel 2", "is of --widths-for vllm or sglang", true},
    {"-b 3 -o out --widths-for vllm --tensor-parallel 0", "--tensor-parallel 0", true},
    {"-b 3 -o out --max-bits 9", "--max-bits 9: a whole number from 1 to 8", true},
};

static void refused(void **state) {
  (void)state;
  sb_quantize_request r;
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    if (settle(refusals[i].line, SB_QUANTIZE_ALL, refusals[i].calibrates, &r) != SB_ERR_USAGE)
      fail_msg("accepted: %s", refusals[i].line);
    assert_says("quantize: ");
    assert_says(refusals[i].says);
  }
}

/* plan has a part of the options, and the same default for each; no budget has to be given. */
static void planned(void **state) {
  (void)state;
  sb_quantize_request r;
  sb_option all[SB_QUANTIZE_OPTIONS_MAX], some[SB_QUANTIZE_OPTIONS_MAX];
  const size_t count = sb_quantize_options(&r, SB_QUANTIZE_ALL, all),
               part = sb_quantize_options(&r, SB_QUANTIZE_PLANNED, some);
  assert_true(part > 10 && part < count && count <= SB_QUANTIZE_OPTIONS_MAX);
  for (size_t i = 0, j = 0; i < part; i++, j++) {
    while (j < count && strcmp(all[j].name, some[i].name) != 0) j++;
    assert_true(j < count && all[j].value == some[i].value && all[j].given == some[i].given);
    assert_true(all[j].low == some[i].low && all[j].high == some[i].high);
    assert_false(some[i].required);
  }
  assert_ok(settle("--round-seqs 9", SB_QUANTIZE_PLANNED, true, &r));
  assert_true(r.tune_seqs == 9);
  assert_int_equal(settle("--out o", SB_QUANTIZE_PLANNED, true, &r), SB_ERR_USAGE);
}

/* Names and letters are unique, ranges hold their defaults, sections are in one piece. */
static void table(void **state) {
  (void)state;
  sb_quantize_request r = sb_quantize_defaults();
  sb_option o[SB_QUANTIZE_OPTIONS_MAX];
  const size_t count = sb_quantize_options(&r, SB_QUANTIZE_ALL, o);
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < i; j++) {
      assert_string_not_equal(o[i].name, o[j].name);
      assert_true(o[i].letter == 0 || o[i].letter != o[j].letter);
      if (o[i].section && o[j].section && strcmp(o[i].section, o[j].section) == 0)
        assert_true(o[i - 1].section && strcmp(o[i - 1].section, o[i].section) == 0);
    }
    double value = o[i].low;
    if (o[i].kind == SB_OPTION_INT) value = *(const int *)o[i].value;
    if (o[i].kind == SB_OPTION_UNSIGNED) value = *(const unsigned *)o[i].value;
    if (o[i].kind == SB_OPTION_SIZE) value = (double)*(const size_t *)o[i].value;
    if (o[i].kind == SB_OPTION_REAL) value = *(const double *)o[i].value;
    if (!o[i].unset && !o[i].required) assert_true(value >= o[i].low && value <= o[i].high);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(left_open), cmocka_unit_test(codes),
                                     cmocka_unit_test(exl3),      cmocka_unit_test(servers),
                                     cmocka_unit_test(groups),    cmocka_unit_test(tables),
                                     cmocka_unit_test(said),      cmocka_unit_test(refused),
                                     cmocka_unit_test(planned),   cmocka_unit_test(table)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
