#!/usr/bin/env python3
"""Checks files that `shardbits policy --format` wrote: they say what the policy says, in the schema of
the trainer that is to read them.

    check_policy_export.py policy.json [--real]

looks beside policy.json for policy.stageN.yaml, policy_te.py, policy_torchao.py and
policy_torchtitan.py, and checks those that are there (docs/snip.md has the schemas and where they
were read). With --real the trainers' own code reads them too: megatron-core and torchao, which are
installed without a GPU; a package that is missing is an error then.

Exit code 1 and one line for each breach.
"""
import argparse
import fnmatch
import glob
import importlib.util
import json
import os
import re
import sys
import types

GEMMS = ("fprop", "dgrad", "wgrad")
# kind of linear -> module of Megatron-LM, of torchtitan
MODULES = {
    "q_proj": ("self_attention.linear_qkv", "attention.qkv_linear.wq"),
    "k_proj": ("self_attention.linear_qkv", "attention.qkv_linear.wk"),
    "v_proj": ("self_attention.linear_qkv", "attention.qkv_linear.wv"),
    "o_proj": ("self_attention.linear_proj", "attention.wo"),
    "gate_proj": ("mlp.linear_fc1", "feed_forward.w1"),
    "up_proj": ("mlp.linear_fc1", "feed_forward.w3"),
    "down_proj": ("mlp.linear_fc2", "feed_forward.w2"),
}
MEGATRON_RECIPES = {
    "bf16": {},
    "fp8-tensor": {"fp8_quantization_recipe": "tensorwise"},
    "fp8-128": {"fp8_quantization_recipe": "blockwise"},
    "mxfp8": {"fp8_quantization_recipe": "mxfp8"},
    "nvfp4": {"fp4_quantization_recipe": "nvfp4"},
}
MEGATRON_KEYS = {"fp8_quantization_recipe", "fp4_quantization_recipe", "custom_recipe_factory", "fp8_format",
                 "override_quantized_autocast", "override_nonquantized_autocast", "tp_only_amax_red"}
breaches = []


def breach(path, text):
    breaches.append(f"{path}: {text}")


class Linear:
    def __init__(self, entry):
        self.name, self.layer, self.rows, self.cols = (entry[k] for k in ("name", "layer", "rows", "cols"))
        self.gemms = tuple(entry[g] for g in GEMMS)
        self.kind = self.name.rsplit(".", 1)[-1]


# ---- Megatron-LM ----

def read_yaml(path):
    """Mappings of mappings, strings and booleans: the part of YAML that such files need."""
    root, stack = {}, []
    stack.append((-1, root))
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            text = line.rstrip()
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            found = re.fullmatch(r'( *)([\w-]+):(?: (?:"([^"]*)"|(\{\})|(\S+)))?', text)
            if not found:
                raise ValueError(f"line {number} is none that this check understands: {text}")
            depth, key = len(found[1]), found[2]
            while stack[-1][0] >= depth:
                stack.pop()
            parent = stack[-1][1]
            if key in parent:
                raise ValueError(f"line {number}: {key} twice")
            if found[3] is not None:
                parent[key] = found[3]
            elif found[5] is not None:
                parent[key] = {"true": True, "false": False}.get(found[5], found[5])
            else:
                parent[key] = {}
                if found[4] is None:
                    stack.append((depth, parent[key]))
    try:
        import yaml
    except ImportError:
        return root
    with open(path, encoding="utf-8") as file:
        if yaml.safe_load(file) != root:
            raise ValueError("PyYAML reads something else")
    return root


def check_megatron_config(path, name, config):
    if config.get("transformer_engine_config_type") != "TEQuantizationParams":
        breach(path, f"{name} has no transformer_engine_config_type TEQuantizationParams")
    if set(config) - {"transformer_engine_config_type", "training_recipe", "evaluation_recipe"}:
        breach(path, f"{name} has keys that are errors there")
    recipe = config.get("training_recipe")
    if not isinstance(recipe, dict) or set(recipe) - MEGATRON_KEYS:
        breach(path, f"{name}: training_recipe has keys that are errors there")
        return
    if {k: v for k, v in recipe.items() if k.endswith("quantization_recipe")} != MEGATRON_RECIPES.get(name):
        breach(path, f"{name}: its recipe is of another precision")
    if recipe.get("fp8_format", "e4m3") not in ("e4m3", "hybrid"):
        breach(path, f"{name}: no such fp8_format")
    if recipe and recipe.get("override_nonquantized_autocast") is not True:
        breach(path, f"{name}: it holds only under an autocast of FP8")


def megatron_match(matchers, module):
    for matcher in matchers.values():
        if matcher.get("enabled") is True and matcher["type"] == "glob" \
                and fnmatch.fnmatch(module, matcher["pattern"]):
            return matcher["config"]
    return None


def megatron_modules(linears, first, count):
    """Module of a stage -> precisions of its parts."""
    modules = {}
    for linear in linears:
        if first <= linear.layer < first + count:
            name = f"decoder.layers.{linear.layer - first}.{MODULES[linear.kind][0]}"
            modules.setdefault(name, set()).add(linear.gemms)
    return modules


def check_megatron(paths, linears, real):
    first = 0
    for stage, path in enumerate(paths):
        with open(path, encoding="utf-8") as file:
            found = re.search(r"layers (\d+) to (\d+) of the model", file.read())
        if not found or int(found[1]) != first:
            breach(path, f"stage {stage} does not begin with layer {first}")
            return
        count = int(found[2]) - first + 1
        try:
            content = read_yaml(path)
        except ValueError as error:
            breach(path, str(error))
            return
        for name, config in content["configs"].items():
            check_megatron_config(path, name, config)
        modules = megatron_modules(linears, first, count)
        for module, gemms in modules.items():
            wanted = {p for g in gemms for p in g}
            got = megatron_match(content["matchers"], module)
            if {got} != wanted:
                breach(path, f"{module} gets {got}, and the policy says {sorted(wanted)}")
        for module in ("embedding.word_embeddings", "output_layer", "decoder.final_layernorm"):
            if megatron_match(content["matchers"], module) != "bf16":
                breach(path, f"{module} is not kept in BF16")
        if real:
            check_real_megatron(path, modules)
        first += count
    if first != max(linear.layer for linear in linears) + 1:
        breach(paths[-1], f"the stages end at layer {first}")


def check_real_megatron(path, modules):
    from megatron.core.extensions.transformer_engine import TEQuantizationParams
    from megatron.core.quantization.utils import get_quant_config_or_none, load_quantization_recipe

    recipe = load_quantization_recipe(path)
    for module, gemms in modules.items():
        config = get_quant_config_or_none(module, recipe)
        params = TEQuantizationParams.parse_from_config(config)
        wanted = MEGATRON_RECIPES[next(iter(gemms))[0]]
        training = params.training_recipe
        got = {k: getattr(training, k) for k in ("fp8_quantization_recipe", "fp4_quantization_recipe")
               if getattr(training, k) is not None}
        if got != wanted:
            breach(path, f"Megatron-LM reads {got} for {module}, and the policy says {wanted}")


# ---- Python modules ----

def load(path):
    spec = importlib.util.spec_from_file_location("exported_policy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_table(path, module, linears):
    if module.LINEARS != {linear.name: linear.gemms for linear in linears}:
        breach(path, "LINEARS is not the policy's table")


class Role:
    def __init__(self, module_type, tensor_type, name):
        self.module_type, self.tensor_type, self.name = module_type, tensor_type, name


class Hybrid:
    def __init__(self, *, rowwise_quantizer, columnwise_quantizer, columnwise_source):
        assert columnwise_source in ("original", "rowwise_dequantized")
        self.row, self.column = rowwise_quantizer, columnwise_quantizer


TE_FACTORIES = {"high_precision_factory": "bf16", "current_scaling_factory": "fp8-tensor",
                "float8_block_scaling_factory": "fp8-128", "mxfp8_factory": "mxfp8", "nvfp4_factory": "nvfp4"}


def stand_in_for_te():
    """The names of TransformerEngine that the file may use; its quantizers are their precisions."""
    te = types.ModuleType("transformer_engine.pytorch")
    te.HybridQuantizer = Hybrid
    factories = types.ModuleType("transformer_engine.pytorch.custom_recipes.quantizer_factories")
    for name, precision in TE_FACTORIES.items():
        setattr(factories, name, lambda role, p=precision: p)
    recipes = types.ModuleType("transformer_engine.common.recipe")
    recipes.CustomRecipe = lambda *, qfactory: qfactory
    custom = types.ModuleType("transformer_engine.pytorch.custom_recipes")
    custom.quantizer_factories = factories
    top = types.ModuleType("transformer_engine")
    top.pytorch, te.custom_recipes = te, custom
    for module in (top, te, factories, recipes, custom, types.ModuleType("transformer_engine.common")):
        sys.modules[module.__name__] = module


def te_gemms(factory, name):
    """What the two operands of each GEMM are quantized to; they must agree."""
    sides = {}
    for operand in ("input", "weight", "grad_output"):
        quantizer = factory(Role("linear", operand, name))
        sides[operand] = (quantizer.row, quantizer.column) if isinstance(quantizer, Hybrid) else (quantizer,) * 2
    pairs = [(sides["input"][0], sides["weight"][0]), (sides["grad_output"][0], sides["weight"][1]),
             (sides["input"][1], sides["grad_output"][1])]
    return tuple(a if a == b else f"{a} with {b}" for a, b in pairs)


def check_te(path, linears):
    stand_in_for_te()
    module = load(path)
    check_table(path, module, linears)
    factory = module.recipe()
    for linear in linears:
        got = te_gemms(factory, linear.name)
        if got != linear.gemms:
            breach(path, f"{linear.name} gets {got}, and the policy says {linear.gemms}")
    by_name = {linear.name: linear.gemms for linear in linears}
    for linear in linears:
        place, _, kind = linear.name.rpartition(".")
        part = {"q_proj": "qkv", "o_proj": "proj", "gate_proj": "fc1", "down_proj": "fc2"}.get(kind)
        parts = {"qkv": ("q_proj", "k_proj", "v_proj"), "fc1": ("gate_proj", "up_proj")}.get(part, (kind,))
        wanted = {by_name.get(f"{place}.{p}") for p in parts}
        if part and len(wanted) == 1 and te_gemms(factory, f"{place}.{part}") != wanted.pop():
            breach(path, f"{place}.{part} does not get what its parts have")
    for role in (None, Role("", "", ""), Role("dpa", "qkv", linears[0].name), Role("linear", "input", "lm_head")):
        if factory(role) != "bf16":
            breach(path, "what is no linear of a layer is not kept in high precision")


def check_torchao(path, linears, real):
    module = load(path)
    check_table(path, module, linears)
    for linear in linears:
        low = set(linear.gemms) - {"bf16"}
        uniform = len(set(linear.gemms)) == 1
        if not uniform and low != {"fp8-tensor"} and linear.gemms != ("mxfp8", "mxfp8", "bf16"):
            breach(path, f"{linear.name}: torchao has no linear with {linear.gemms}")
        multiple = {"fp8-128": 128, "nvfp4": 128, "mxfp8": 32, "fp8-tensor": 16}.get(next(iter(low), ""), 1)
        if linear.rows % multiple or linear.cols % multiple:
            breach(path, f"{linear.name}: {linear.rows} x {linear.cols} is no multiple of {multiple}")
    if real:
        check_real_torchao(path, module, linears)


def nested_model(torch, linears):
    """Modules by name, without memory for weights."""
    root = torch.nn.Module()
    for linear in linears:
        place = root
        *parents, last = linear.name.split(".")
        for part in parents:
            if part not in dict(place.named_children()):
                place.add_module(part, torch.nn.Module())
            place = getattr(place, part)
        place.add_module(last, torch.nn.Linear(linear.cols, linear.rows, bias=False, device="meta",
                                               dtype=torch.bfloat16))
    root.add_module("lm_head", torch.nn.Linear(64, 100, bias=False, device="meta"))
    return root


def check_real_torchao(path, module, linears):
    import torch
    import torchao.prototype.blockwise_fp8_training.linear as blockwise
    from torchao.float8.config import ScalingType

    blockwise.is_sm_at_least_90 = lambda: True  # the conversion asks for the device, the check has none
    model = module.convert(nested_model(torch, linears))
    classes = {"bf16": "Linear", "fp8-tensor": "Float8Linear", "fp8-128": "Float8BlockwiseLinear",
               "mxfp8": "MXFP8Linear", "nvfp4": "NVFP4Linear"}
    for linear in linears:
        got = model.get_submodule(linear.name)
        precision = next((p for p in linear.gemms if p != "bf16"), "bf16")
        if type(got).__name__ != classes[precision]:
            breach(path, f"torchao makes a {type(got).__name__} of {linear.name}, not {classes[precision]}")
        elif precision == "fp8-tensor":
            c = got.config
            off = tuple(cast.scaling_type is ScalingType.DISABLED for cast in
                        (c.cast_config_input, c.cast_config_grad_output, c.cast_config_input_for_grad_weight))
            if off != tuple(p == "bf16" for p in linear.gemms):
                breach(path, f"torchao switches {off} off in {linear.name}")
        elif precision == "mxfp8" and got.wgrad_with_hp != (linear.gemms[2] == "bf16"):
            breach(path, f"torchao has wgrad_with_hp {got.wgrad_with_hp} in {linear.name}")
    if type(model.lm_head).__name__ != "Linear":
        breach(path, "torchao converts the head")


def check_torchtitan(path, linears):
    module = load(path)
    names = {f"layers.{linear.layer}.{MODULES[linear.kind][1]}": set(linear.gemms) for linear in linears}
    for name in ("output", "lm_head"):
        names[name] = {"bf16"}
    for name, wanted in names.items():
        got = "bf16"
        if not any(entry in name for entry in module.FLOAT8_FILTER) and module.FLOAT8:
            got = "fp8-tensor"
        if any(entry in name for entry in module.MXFP8):
            got = "mxfp8" if got == "bf16" else "two converters"
        if any(entry in name for entry in module.NVFP4):
            got = "nvfp4" if got == "bf16" else "two converters"
        if {got} != wanted:
            breach(path, f"{name} gets {got}, and the policy says {sorted(wanted)}")
    asked = []
    for part, kind in (("nvfp4", "NVFP4"), ("mxfp8.converter", "MXFP8"), ("float8", "Float8")):
        stand_in = types.ModuleType(f"torchtitan.components.quantization.{part}")
        config = lambda kind=kind, **options: asked.append((kind, options)) or kind
        setattr(stand_in, f"{kind}LinearConverter", type(kind, (), {"Config": staticmethod(config)}))
        sys.modules[stand_in.__name__] = stand_in
    for parent in ("torchtitan", "torchtitan.components", "torchtitan.components.quantization",
                   "torchtitan.components.quantization.mxfp8"):
        sys.modules.setdefault(parent, types.ModuleType(parent))
    module.converters()
    for kind, options in asked:
        lists = [v for v in options.values() if isinstance(v, list)]
        if not lists or not lists[0]:
            breach(path, f"the converter of {kind} has an empty list, which means all modules")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy")
    parser.add_argument("--real", action="store_true", help="also by the trainers' own code")
    options = parser.parse_args()
    with open(options.policy, encoding="utf-8") as file:
        policy = json.load(file)
    linears = [Linear(entry) for entry in policy["linears"]]
    stem = options.policy[:-5] if options.policy.endswith(".json") else options.policy
    stages = sorted(glob.glob(glob.escape(stem) + ".stage*.yaml"),
                    key=lambda path: int(re.search(r"stage(\d+)\.yaml$", path)[1]))
    checked = len(stages)
    if stages:
        check_megatron(stages, linears, options.real)
    for end, check in (("_te.py", lambda path: check_te(path, linears)),
                       ("_torchao.py", lambda path: check_torchao(path, linears, options.real)),
                       ("_torchtitan.py", lambda path: check_torchtitan(path, linears))):
        if os.path.exists(stem + end):
            check(stem + end)
            checked += 1
    print("\n".join(breaches) if breaches else f"{checked} files say what {options.policy} says")
    return 1 if breaches or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
