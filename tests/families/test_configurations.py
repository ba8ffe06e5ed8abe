"""Every key of every official configuration, and what a family does about it.

``read``: for each of these values, our numbers are the official ones, or both sides refuse.
``only``: each of these values is refused, with file and key; the official code would give another answer.
``nothing``: the key changes no answer, neither ours nor the official one.

A key that is new in an official class is in no table, and its test fails.
"""

import copy
import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from checkpoints import official
from safetensors.torch import save_file

from tsfm import families
from tsfm.errors import ConfigError

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Rule:
    kind: str
    values: tuple[object, ...]


ABSENT = "(absent)"  # the key is taken out, so the official default holds


def read(*values):
    return Rule("read", values)


def only(*values):
    return Rule("only", values)


def nothing(*values):
    return Rule("nothing", values)


def names(text):
    return text.split()


HEADS = {"0": [0]}
TRANSFORMERS = {
    "pruned_heads": only(HEADS),
    "tie_encoder_decoder": only(True),
    "tie_word_embeddings": nothing(False),
    "quantization_config": only({"quant_method": "fp8"}),
    "dtype": nothing("float32"),
    "torch_dtype": nothing("float32"),
    "architectures": nothing(),
    "transformers_version": nothing("5.0.0"),
    "_name_or_path": nothing("plant"),
    **dict.fromkeys(
        # Keys for text generation, classification and the format of the answer.
        names("""_attn_implementation_internal _commit_hash _output_attentions add_cross_attention bad_words_ids
        begin_suppress_tokens bos_token_id chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id
        diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size eos_token_id
        exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id id2label is_decoder
        is_encoder_decoder label2id length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams
        num_labels num_return_sequences output_attentions output_hidden_states output_scores pad_token_id prefix
        problem_type remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id
        suppress_tokens task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torchscript
        typical_p use_bfloat16"""),
        nothing(),
    ),
}
FEED_FORWARDS = read("silu", "gelu", "gelu_new", ABSENT)
T5 = {
    "d_model": read(24, ABSENT, 0, "16"),
    "hidden_size": only(99),
    "d_kv": read(6, -1),
    "head_dim": only(99),
    "d_ff": read(40),
    "num_heads": read(3),
    "num_attention_heads": only(99),
    "num_layers": read(1, 3),
    "num_hidden_layers": only(99),
    "layer_norm_epsilon": read(1e-2, ABSENT, "1e-6"),
    "feed_forward_proj": read("silu", "gelu", "a-b-c", "nosuch"),
    "dense_act_fn": FEED_FORWARDS,
    "dropout_rate": nothing(0.3),
    "initializer_factor": nothing(2.0),
    "vocab_size": nothing(9),
}
T5_DECODER = {
    "num_decoder_layers": read(1, 3, None, ABSENT),
    "relative_attention_num_buckets": read(16, ABSENT),
    "relative_attention_max_distance": read(40, ABSENT),
    "is_gated_act": read(True),
    "classifier_dropout": nothing(0.2),
    "use_cache": nothing(False),
}
QUANTILES = [0.1, 0.5, 0.9]
CHRONOS = {
    "context_length": read(64, 100),
    "input_patch_size": only(8),  # alone: the stride is another one then
    "input_patch_stride": only(8, ABSENT),
    "quantiles": only([0.9, 0.5, 0.1], [0.1, 0.5, 0.5], [0.1, 0.9], [0, 0.5], [], ABSENT),
    "use_reg_token": only(False, ABSENT, None),
}
ROPE = {
    "rope_theta": read(500.0, ABSENT, 0),
    "rope_parameters": only({"rope_theta": 500.0}, {"rope_type": "linear", "factor": 2.0}, {"factor": 2.0}, []),
    "rope_scaling": only({"type": "dynamic"}, {"rope_theta": 500.0}),
}
TABLES = {
    official.Bolt: {
        "": TRANSFORMERS
        | T5
        | T5_DECODER
        | {
            "feed_forward_proj": read("silu", "gelu", "gated-gelu", "gated-silu", "gated-relu", "a-b-c", "nosuch"),
            "decoder_start_token_id": read(1),
            "chronos_pipeline_class": only("ChronosPipeline", "Chronos3Pipeline", ABSENT),
            "is_encoder_decoder": nothing(False),
            "pad_token_id": nothing(1),
        },
        "chronos_config": CHRONOS | {"prediction_length": read(24, 100), "time": only(1)},
    },
    official.Two: {
        "": TRANSFORMERS | T5 | ROPE | {"is_gated_act": only(True), "attn_implementation": nothing("eager")},
        "chronos_config": CHRONOS
        | {
            "quantiles": only([0.9, 0.5, 0.1], QUANTILES, [], ABSENT),
            "output_patch_size": only(8),
            "max_output_patches": read(2, 9, ABSENT),
            "time_encoding_scale": read(64, ABSENT, 0),
            "use_arcsinh": read(False, ABSENT),
            "more": only(1),
        },
    },
    official.TimeMoe: {
        "": TRANSFORMERS
        | ROPE
        | {
            "model_type": only("t5", ABSENT),
            "input_size": only(2),
            "hidden_size": read(48),
            "intermediate_size": read(96),
            "horizon_lengths": read([2, 5, 40], [3], 8, [8, 1], [1, 1], []),
            "num_hidden_layers": read(1, 3),
            "num_attention_heads": only(3, 5),
            "num_key_value_heads": only(2),
            "hidden_act": only("gelu"),
            "num_experts_per_tok": read(1, 3, ABSENT, 9),
            "num_experts": read(6),
            "max_position_embeddings": read(512, ABSENT),
            "rms_norm_eps": read(1e-2, ABSENT),
            "use_dense": only(True),
            "apply_aux_loss": only(False),
            "tie_word_embeddings": only(True),
            "initializer_range": nothing(0.5),
            "use_cache": nothing(False),
            "attention_dropout": nothing(0.5),
            "router_aux_loss_factor": nothing(0.5),
        },
    },
    official.Moment: {
        "": {
            "task_name": only("forecasting"),
            "transformer_type": only("encoder_decoder", "decoder_only"),
            "d_model": only(64),
            "seq_len": read(256, 500),
            "patch_len": only(4),
            "patch_stride_len": only(4),
            "revin_affine": only(True),
            "add_positional_embedding": only(False, None),
            "value_embedding_bias": read(True, False, None),
            "model_kwargs": only({"patch_len": 4}),
            "t5_config": only(ABSENT, 3),
            "model_name": nothing("MOMENT-1"),
            "mask_ratio": nothing(0.3),
            "patch_dropout": nothing(0.9),
            "head_dropout": nothing(0.9),
            "orth_gain": nothing(2.0),
            "freeze_embedder": nothing(False),
            "freeze_encoder": nothing(False),
            "freeze_head": nothing(True),
            "randomly_initialize_backbone": nothing(False),
            "enable_gradient_checkpointing": nothing(False),
            "transformer_backbone": nothing("google/flan-t5-base"),
            "debug": nothing(False),
            # Of other tasks.
            **dict.fromkeys(("n_channels", "num_class", "forecast_horizon", "reduction"), nothing(3)),
        },
        "t5_config": T5
        | T5_DECODER
        | {
            "d_model": read(48, ABSENT, 0, "16"),
            "num_decoder_layers": nothing(1),
            "feed_forward_proj": read("gated-silu", "gated-relu", "relu", "nosuch"),
            "dense_act_fn": read("silu", "gelu", ABSENT),
            "is_gated_act": only(False, None),
            "pruned_heads": only(HEADS),
            "vocab_size": read(9),
        },
    },
    official.Moirai2: {
        "": {
            "d_model": read(64, 100, ABSENT),
            "d_ff": read(48),
            "num_layers": read(1, 3),
            "patch_size": only(32, ABSENT),
            "max_seq_len": read(64),
            "scaling": only(False, None),
            "num_predict_token": read(1, 2, ABSENT, 0),
            "quantile_levels": read(QUANTILES, ABSENT, [0.9, 0.5, 0.1], [0.1, 0.9]),
            "attn_dropout_p": nothing(0.2),
            "dropout_p": nothing(0.2),
            **{key: rule for key, rule in ROPE.items() if key != "rope_theta"},
        },
    },
    official.MoiraiMoE: {
        "": {
            "distr_output": only({"_target_": "uni2ts.distribution.student_t.StudentTOutput"}, []),
            "d_model": read(64, 100, ABSENT),
            "d_ff": read(48),
            "num_layers": read(1, 3),
            "patch_sizes": only([8, 16], [32], ABSENT),
            "max_seq_len": read(64),
            "scaling": only(False, None),
            "attn_dropout_p": nothing(0.2),
            "dropout_p": nothing(0.2),
            "rope_theta": only(500.0),
        },
        "distr_output": {"_target_": only("uni2ts.distribution.normal.NormalOutput"), "components": only([], 3)},
        "distr_output.components[1]": {"scale": read(0.1, 1, ABSENT, 0), "_target_": only("x.NormalOutput")},
    },
    official.FlowState: {
        "": TRANSFORMERS
        | {
            "model_type": only("t5"),
            "context_length": read(64, 100, ABSENT),
            "embedding_feature_dim": read(24),
            "encoder_num_layers": read(1, 4),
            "encoder_state_dim": read(24),
            "decoder_patch_len": read(8, ABSENT),
            "decoder_dim": read(5),
            "decoder_type": read("hlegs", ABSENT, "nosuch"),
            "mlp_type": read("gated", ABSENT, "nosuch"),
            "out_gating": read(False, ABSENT),
            "with_missing": only(False),
            "quantiles": only([0.9, 0.5, 0.1], [0.1, 0.9], []),
            "scale_factor": read(0.5, 2.0, ABSENT),
            "encoder_num_hippo_blocks": nothing(4),
            "batch_first": nothing(True),
            "init_processing": nothing(False),
            "min_context": nothing(5),
            "prediction_length": nothing(12),
            "prediction_type": nothing("median"),
            "use_freq": nothing(False),
        },
    },
    official.Fracast: {
        "model": {
            "d_model": read(32),
            "W": only(1024),  # alone: the level's width is another one then
            "level_widths": only([1024], [2048, 512]),
            "quantiles": read(QUANTILES, [0.9, 0.5, 0.1], [0.1, 0.9]),
            "horizon": only(32),
            "future_queries": only(4),
            "future_patch": only(8),
            "n_stages": read(8, ABSENT),
            "ffn_mult": read(2.0, ABSENT),
            "head_d_ff": read(64),
            "head_future_conv": only(False, ABSENT),
            "periodic_topk": only(2, ABSENT),
            "share_stages": only(False),
            "causal": only(False, None),
            "separable_conv": only(False),
            "recency_encoding": only(False),
            "periodic_phase": only(False, None),
            "periodic_harmonics": only(2),
            "periodic_min_period": only(4),
            "periodic_alpha": only(0.01),
            "scale_cond": only("none"),
            "scale_cond_dim": only(4),
            "kernel_size": only(5),
            "dilation_base": only(3),
            "head_kind": only("linear"),
            "head_layers": only(2),
            "head_fc_layers": only(1),
            "head_fc_kernel": only(5),
            "head_output_mode": only("anchor"),
            "head_future_conv_layers": only(5),
            "head_future_conv_seed": only(64),
            "head_phase_bins": only(8),
            "head_seasonal_fill_mode": only("last_period"),
            # Of other models in the authors' trainer; the released code reads none of them.
            **dict.fromkeys(
                names("""n_layers n_heads d_ff dropout context_norm level_affine delta_reg max_channels
                max_future_patches expert align_lambda dynamic_L multi_horizon family head_conv_kernel"""),
                nothing(1),
            ),
        },
        "pyramid": {
            "ratios": only([2], ABSENT),
            **dict.fromkeys(names("mode time_rope level_embed bottleneck"), nothing(1)),
        },
    },
    official.TimesFm: {
        "": TRANSFORMERS
        | {
            "model_type": only("timesfm2_5"),
            "patch_length": only(16),
            "horizon_length": only(64),
            "quantiles": only([0.1, 0.5, 0.9]),
            "freq_size": only(4),
            "use_positional_embedding": only(True),
            "rms_norm_eps": only(1e-5),
            "tolerance": only(1e-3),
            "num_hidden_layers": only(20),
            "hidden_size": only(1280),
            "intermediate_size": only(1280),
            "head_dim": only(80),
            "num_attention_heads": only(8),
            "context_length": nothing(512),
            "pad_val": nothing(1.0),
            "min_timescale": nothing(2),
            "max_timescale": nothing(5),
            "attention_dropout": nothing(0.5),
            "initializer_range": nothing(0.5),
            "is_encoder_decoder": nothing(True),
        },
        # None of these is stored with the weights. Sizes are read from the shapes of the tensors, 1.0 is recognised by
        # its depth (test_timesfm.py), and for the rest the values of 2.0 are used.
        "package": dict.fromkeys(
            names("""num_layers num_heads num_kv_heads hidden_size intermediate_size head_dim rms_norm_eps patch_len
            horizon_len quantiles pad_val tolerance dtype use_positional_embedding context_len input_patch_len
            output_patch_len model_dims per_core_batch_size backend point_forecast_mode"""),
            nothing(),
        ),
    },
    official.TimesFm25: {
        "": TRANSFORMERS
        | {
            "model_type": only("timesfm2_5"),
            "patch_length": only(16),
            "horizon_length": only(64),
            "quantile_horizon_length": only(512),
            "quantiles": only([0.1, 0.5, 0.9]),
            "rms_norm_eps": only(1e-5),
            "num_hidden_layers": only(20),
            "hidden_size": only(1280),
            "intermediate_size": only(1280),
            "head_dim": only(80),
            "num_attention_heads": only(8),
            "context_length": nothing(512),
            "torch_compile": nothing(True),
        },
        # None of these is stored with the weights: sizes are read from the tensors, and how a forecast is made follows
        # the model card.
        "package": dict.fromkeys(
            names("""max_context max_horizon normalize_inputs window_size per_core_batch_size
            use_continuous_quantile_head force_flip_invariance infer_is_positive fix_quantile_crossing return_backcast
            input_patch_len output_patch_len output_quantile_len quantiles decode_index tokenizer stacked_transformers
            output_projection_point output_projection_quantiles"""),
            nothing(),
        ),
    },
}
# Keys that no official class has: keys that moved, and other keys of published files.
BESIDE = {"rope_parameters", "rope_scaling", "quantization_config", "torch_dtype", "chronos_pipeline_class"}
BESIDE |= {"time", "more", "t5_config", "pruned_heads", "model_type", "rope_theta", "attn_implementation"}


def changed(config, section, key, value):
    config = copy.deepcopy(config)
    target = config
    for name in re.findall(r"[^.\[\]]+", section):
        target = target[int(name) if name.isdigit() else name]
    if value == ABSENT:
        target.pop(key, None)
    else:
        target[key] = value
    return config


def laid(folder, config, state, family):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if family == "timesfm" and "quantile_horizon_length" not in config:  # 2.0
        torch.save(state, folder / "torch_model.ckpt")
    else:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def cases(kind):
    for cls, sections in TABLES.items():
        for section, rules in sections.items():
            for key, rule in rules.items():
                for value in rule.values if rule.kind == kind else ():
                    words = f"{cls.__name__}-{section}.{key}-{json.dumps(value)}"
                    yield pytest.param(cls, section, key, value, id=words)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of each class's own configuration, its tensors, and our answer."""
    made = {}

    def make(cls):
        if cls not in made:
            with official.quiet():
                one = cls()
                state = one.state(one.config)
                folder = laid(tmp_path_factory.mktemp(cls.__name__), one.config, state, one.family)
                answer = one.ours(folder) if hasattr(one, "ours") else None
            made[cls] = folder, state, answer
        return made[cls]

    return make


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
def test_every_key_of_the_official_configuration_is_in_the_table(cls):
    with official.quiet():
        keys = cls().keys()
        if "tie_encoder_decoder" in TABLES[cls].get("", ()):
            keys[""] = keys[""] | official.transformers_keys()
    assert set(keys) == set(TABLES[cls])
    for section, names in keys.items():
        assert names - set(TABLES[cls][section]) == set(), f"{section}: in no table"
        assert set(TABLES[cls][section]) - names - BESIDE == set(), f"{section}: in no official class"


@pytest.mark.parametrize("cls", [cls for cls in TABLES if hasattr(cls, "ours")], ids=lambda cls: cls.__name__)
def test_what_the_official_class_makes_of_its_configuration_is_answered_as_it_does(base, cls):
    folder, _, ours = base(cls)
    with official.quiet():
        theirs = cls().theirs(folder)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize(("cls", "section", "key", "value"), cases("read"))
def test_a_key_that_is_read_gives_the_official_numbers_or_is_refused(base, tmp_path, cls, section, key, value):
    one = cls()
    config = changed(one.config, section, key, value)
    with official.quiet():
        try:
            theirs = one.theirs(laid(tmp_path, config, one.state(config), one.family))
        except Exception:  # noqa: BLE001  # whatever the makers' code raises of such a value
            laid(tmp_path, config, base(cls)[1], one.family)
            with pytest.raises(ConfigError) as caught:
                one.ours(tmp_path)
            assert str(tmp_path) in str(caught.value)
            return
        try:
            ours = one.ours(tmp_path)
        except ConfigError as error:
            assert f"{tmp_path}/config.json: " in str(error)
            assert f"{key}: expected" in str(error)
            assert "found" in str(error)
            return
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize(("cls", "section", "key", "value"), cases("only"))
def test_a_key_that_is_not_served_otherwise_is_refused_by_name(base, tmp_path, cls, section, key, value):
    one = cls()
    laid(tmp_path, changed(one.config, section, key, value), base(cls)[1], one.family)
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(tmp_path))}/config\.json: .*expected .*found"):
        families.load(one.family, tmp_path, official.FLOAT32)


@pytest.mark.parametrize("cls", [cls for cls in TABLES if hasattr(cls, "ours")], ids=lambda cls: cls.__name__)
def test_keys_that_change_nothing_change_nothing(base, tmp_path, cls):
    one = cls()
    config = one.config
    for section, rules in TABLES[cls].items():
        for key, rule in rules.items():
            if rule.kind == "nothing" and rule.values:
                config = changed(config, section, key, rule.values[0])
    _, state, before = base(cls)
    with official.quiet():
        ours = one.ours(laid(tmp_path / "ours", config, state, one.family))
        # uni2ts keeps the dropout of its attention on when it forecasts, which makes its answers random.
        config |= {"attn_dropout_p": 0.0} if "attn_dropout_p" in config else {}
        theirs = one.theirs(laid(tmp_path / "theirs", config, state, one.family))
    np.testing.assert_array_equal(ours, before)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * max(1, np.abs(theirs).max()))


# Keys that moved


@pytest.mark.parametrize("cls", [official.Two, official.TimeMoe], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("place", ["rope_parameters", "rope_scaling"])
def test_the_base_of_rotary_positions_is_read_in_both_places(base, tmp_path, cls, place):
    one, (_, state, before) = cls(), base(cls)
    flat = one.config | {"rope_theta": 500.0}
    nested = {key: value for key, value in flat.items() if key != "rope_theta"}
    nested[place] = {"rope_theta": 500.0, "rope_type": "default"}
    with official.quiet():
        theirs = one.theirs(laid(tmp_path / "flat", flat, state, one.family))
        ours = [
            one.ours(laid(tmp_path / name, config, state, one.family))
            for name, config in (("nested", nested), ("both", nested | flat), ("none", flat | {place: None}))
        ]
    for answer in ours:
        np.testing.assert_allclose(answer, theirs, rtol=0, atol=1e-4)
    assert np.abs(theirs - before).max() > 1e-3


def test_sizes_under_transformers_other_names_are_read(base, tmp_path):
    one, (_, state, before) = official.Bolt(), base(official.Bolt)
    names = {"d_model": "hidden_size", "num_heads": "num_attention_heads", "num_layers": "num_hidden_layers"}
    config = {(names | {"d_kv": "head_dim"}).get(key, key): value for key, value in one.config.items()}
    with official.quiet():
        answer = one.ours(laid(tmp_path, config, state, one.family))
    np.testing.assert_array_equal(answer, before)


def test_copies_of_a_tied_tensor_must_agree(base, tmp_path):
    one, (_, state, _) = official.Bolt(), base(official.Bolt)
    state = state | {"decoder.embed_tokens.weight": state["shared.weight"] + 1}
    with pytest.raises(ConfigError, match=r"decoder\.embed_tokens\.weight to be a copy of shared\.weight"):
        families.load("chronos", laid(tmp_path, one.config, state, "chronos"), official.FLOAT32)


@pytest.mark.parametrize("cls", TABLES, ids=lambda cls: cls.__name__)
def test_a_tensor_that_nobody_takes_is_named(base, tmp_path, cls):
    one, (_, state, _) = cls(), base(cls)
    state = state | {"zz.plant": torch.zeros(3)}
    with pytest.raises(ConfigError, match=r"zz\.plant"):
        families.load(one.family, laid(tmp_path, one.config, state, one.family), official.FLOAT32)
