"""Invalid content of weight files is read correctly, or is an error that names file, entry and remedy."""

import json
import os
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from samplug.apis import init_model
from samplug.checkpoints import WeightsError, load_weights, read_checkpoint, state_dict_of
from samplug.checkpoints.export import video_entries
from samplug.checkpoints.loading import load_state
from tests.builders import tiny_promptable, tiny_segmentor, tiny_segmentor_cfg, tiny_vit
from tests.checkpoints.test_loading import assert_equal, official_sam, randomised
from tests.processes import run_python

NAME = "image_encoder.neck.0.weight"


def save(path, content):
    torch.save(content, path)
    return str(path)


def changed(change, name=NAME):
    """A SAM file for the tiny encoder, with one entry changed."""
    state = official_sam(randomised(tiny_vit()))
    state[name] = change(state[name])
    return state


# Kind -> (change of an entry, message).
ODD = {
    "sparse": (lambda value: value.to_sparse(), r"neck\.0\.weight is a sparse .* save it with \.to_dense\(\)"),
    "csr": (lambda value: value.flatten(1).to_sparse_csr(), r"neck\.0\.weight is a sparse"),
    "quantized": (
        lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
        r"neck\.0\.weight is quantized .* save it with \.dequantize\(\)",
    ),
    "meta": (lambda value: value.to("meta"), r"neck\.0\.weight is on the meta device, without values"),
    "expanded": (lambda value: torch.zeros(1).expand(2**33), r"neck\.0\.weight is expanded, 32\.0 GiB .* from 4 bytes"),
    "int64": (lambda value: value.long(), r"holds torch\.int64 where the module has torch\.float32: neck\.0\.weight"),
    "int8": (lambda value: value.to(torch.int8), r"holds torch\.int8 where"),
    "bool": (lambda value: value > 0, r"holds torch\.bool where"),
    "complex": (lambda value: value.to(torch.complex64), r"holds torch\.complex64 where"),
    "nan": (lambda value: value * float("nan"), r"NaN, infinity .* 1 of \d+ entries \(neck\.0\.weight\).* earlier"),
    "inf": (lambda value: value + float("inf"), r"NaN, infinity"),
    "too large": (lambda value: value.double() + 1e300, r"outside of the module's dtype"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_odd_tensors_are_named_and_nothing_is_loaded(tmp_path, kind, strict):
    change, message = ODD[kind]
    path, target = save(tmp_path / "odd.pth", changed(change)), tiny_vit()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(WeightsError, match=rf"odd\.pth.*{message}"):
        load_weights(target, path, strict=strict)
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_floats_of_any_precision_are_weights(tmp_path, dtype):
    target, state = tiny_vit(), changed(lambda value: value.to(dtype))
    load_weights(target, save(tmp_path / "half.pth", state))
    assert torch.equal(target.neck[0].weight.data, state[NAME].float())


def test_an_odd_shape_is_named_before_it_is_resized(tmp_path):
    for change in (lambda value: value.long(), lambda value: value[0, 0], lambda value: value[0, 0, 0, 0]):
        with pytest.raises(WeightsError, match="pos_embed"):
            load_weights(tiny_vit(img_size=128), save(tmp_path / "odd.pth", changed(change, "image_encoder.pos_embed")))


def test_all_ways_to_a_model_refuse_what_is_not_finite(tmp_path):
    """``init_model`` serves predict, exports and ``export_weights``; the Runner calls the same function."""
    model = randomised(tiny_segmentor())
    model.decode_head.state_dict()["mask_decoder.iou_token.weight"][0, 0] = float("nan")
    path = save(tmp_path / "nan.pth", dict(state_dict=model.state_dict()))
    from mmengine.config import Config

    with pytest.raises(WeightsError, match=r"nan\.pth holds NaN.*decode_head\.mask_decoder\.iou_token\.weight"):
        init_model(Config(dict(model=tiny_segmentor_cfg())), path, "cpu")
    started = tiny_segmentor(init_cfg=dict(type="Pretrained", checkpoint=path))
    with pytest.raises(WeightsError, match=r"nan\.pth holds NaN"):
        started.init_weights()


class Masked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.register_buffer("index", torch.zeros(2, dtype=torch.int32))


def test_a_mask_of_the_module_may_be_infinite():
    state = Masked().state_dict()
    assert load_state(Masked(), state, "file").fits
    with pytest.raises(WeightsError, match="NaN"):
        load_state(Masked(), {**state, "weight": state["mask"]}, "file")


def test_integers_must_fit():
    state = Masked().state_dict()
    assert load_state(Masked(), {**state, "index": torch.tensor([1, 2])}, "file").fits
    with pytest.raises(WeightsError, match=r"outside of the module's dtype .*index"):
        load_state(Masked(), {**state, "index": torch.tensor([1, 2**40])}, "file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dict(state_dict={3: torch.zeros(1)}), r"names an entry 3 \(int\)"),
        ({3: torch.zeros(1), "a": torch.zeros(1)}, r"names an entry 3 \(int\)"),
        (dict(state_dict=[torch.zeros(1)]), r"no weights \(state_dict: list\)"),
        (dict(epoch=3, optimizer=dict(state={})), r"no weights \(epoch: int, optimizer: dict\)"),
        ({}, r"no weights \(nothing\)"),
        (dict(teacher=dict(w=torch.zeros(1)), student=dict(w=torch.zeros(1))), r"several sets of weights \(teacher, st"),
        (dict(state_dict=dict(a=torch.zeros(1), b=[0.0, 1.0])), r"state_dict has an entry 'b' of type list"),
        (dict(state_dict=dict(a=torch.zeros(1), b=dict(c=torch.zeros(1)))), r"an entry 'b' of type dict"),
        (dict(model=dict(a=torch.zeros(1), b=np.zeros(2, np.float32))), r"model has an entry 'b' of type"),
    ],
)  # fmt: skip
def test_what_is_no_state_dict_is_named(tmp_path, content, message):
    with pytest.raises(WeightsError, match=rf"odd\.pth.*{message}") as error:
        load_weights(tiny_vit(), save(tmp_path / "odd.pth", content))
    assert len(str(error.value)) < 400


def test_a_dict_that_holds_itself_ends():
    content = {}
    content["model"] = content
    with pytest.raises(WeightsError):
        state_dict_of(content)


WRAPPINGS = {
    "bare": lambda state: state,
    "beside numbers": lambda state: {**state, "epoch": 3, "best": np.float64(0.5), "optimizer": {"state": {}}},
    "model beside optimizer": lambda state: dict(model=state, optimizer=dict(state={}, param_groups=[]), epoch=3),
    "model_state_dict": lambda state: dict(model_state_dict=state, loss=0.5),
    "a name of its own": lambda state: dict(my_weights=state, args=dict(lr=1.0)),
    "in one another": lambda state: dict(model=dict(state_dict=state)),
    "a config named model": lambda state: dict(model=dict(type="SAM"), weights=state),
    "Lightning": lambda state: dict(
        state_dict={f"model.{key}": value for key, value in state.items()},
        hyper_parameters=dict(lr=0.1), callbacks={}, optimizer_states=[],
    ),
    "DDP": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "compiled in DDP in Lightning": lambda state: {f"model.module._orig_mod.{key}": v for key, v in state.items()},
    "DDP in compiled": lambda state: dict(model={f"_orig_mod.module.{key}": value for key, value in state.items()}),
    "a compiled part": lambda state: {
        key.replace("image_encoder.", "image_encoder._orig_mod."): value for key, value in state.items()
    },
    "checkpointed blocks": lambda state: {
        key.replace(".attn.", "._checkpoint_wrapped_module.attn."): value for key, value in state.items()
    },
    "FSDP": lambda state: {f"_fsdp_wrapped_module.{key}": value for key, value in state.items()},
    "averaged by torch": lambda state: {
        "n_averaged": torch.tensor(3), **{f"module.{key}": value for key, value in state.items()}
    },
    "averaged by MMEngine": lambda state: dict(
        ema_state_dict={"steps": torch.tensor(3), **{f"module.{key}": value for key, value in state.items()}}
    ),
    "a trainer's own prefix": lambda state: {f"net.sam.{key}": value for key, value in state.items()},
}  # fmt: skip


@pytest.fixture(scope="module")
def source():
    return randomised(tiny_promptable())


@pytest.fixture(scope="module")
def target():
    return tiny_promptable()


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings(source, target, wrapping):
    """Official names into the whole model, samplug's into a part of it."""
    official = {
        f"image_encoder.{key[9:]}" if key.startswith("backbone.") else key.removeprefix("decode_head."): value
        for key, value in source.state_dict().items()
    }
    for state, part in ((official, lambda model: model), (source.state_dict(), lambda model: model.backbone)):
        for value in target.state_dict().values():
            value.zero_()
        assert load_state(part(target), state_dict_of(WRAPPINGS[wrapping](state), "file"), "file").fits
        assert_equal(part(source), part(target))


def test_a_prefix_of_the_module_itself_is_kept():
    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Linear(2, 2)

    source = randomised(Wrapper())
    for state in (source.state_dict(), {f"module.{key}": value for key, value in source.state_dict().items()}):
        target = Wrapper()
        assert load_state(target, state, "file").fits
        assert_equal(source, target)


def test_a_compiled_module_takes_files_with_and_without_its_prefix():
    source = randomised(torch.nn.Linear(2, 2))
    for state in (source.state_dict(), {f"_orig_mod.{key}": value for key, value in source.state_dict().items()}):
        target = torch.compile(torch.nn.Linear(2, 2))
        assert load_state(target, state_dict_of(state), "file").fits
        assert_equal(source, target._orig_mod)


def test_entries_beside_a_prefix_are_refused_with_the_prefix_to_name(tmp_path):
    """The other entries may belong to another model, so the user has to choose."""
    source, target = randomised(tiny_vit()), tiny_vit()
    state = {f"student.{key}": value for key, value in official_sam(source).items()}
    path = save(tmp_path / "w.pth", dict(state_dict={**state, "criterion.weight": torch.zeros(2)}))
    with pytest.raises(WeightsError, match=r"fix: its entries under 'student' fit: set prefix='student'"):
        load_weights(target, path)
    assert load_weights(target, path, prefix="student").fits
    assert_equal(source, target)


def test_another_set_in_the_file_is_said(tmp_path, monkeypatch):
    lines, source = [], official_sam(randomised(tiny_vit()))
    monkeypatch.setattr("samplug.checkpoints.contents.print_log", lambda text, **kwargs: lines.append(text))
    other = {key: torch.zeros_like(value) for key, value in source.items()}
    path, target = save(tmp_path / "w.pth", dict(state_dict=source, state_dict_ema=other)), tiny_vit()
    load_weights(target, path)
    assert torch.equal(target.neck[0].weight.data, source[NAME])
    assert lines == [f"weights: {path}: 'state_dict' is loaded, not 'state_dict_ema'"]
    load_weights(target, save(tmp_path / "w.pth", dict(state_dict=source, ema_state_dict=other)))  # MMEngine's
    assert len(lines) == 1


def test_video_entries_write_no_more_than_they_hold(tmp_path):
    state = {"image_encoder.trunk.pos_embed": torch.zeros(1, 1, 1, 1)}
    values = torch.randn(1000, 1000)
    many = {f"memory_attention.{index}.weight": values.T for index in range(10)}
    with pytest.raises(WeightsError, match="share storage, 38 MiB"):
        video_entries(save(tmp_path / "sam2.pt", dict(model={**state, **many})))
    with pytest.raises(WeightsError, match=r"holds NaN.*memory_attention\.nan"):
        video_entries(save(tmp_path / "sam2.pt", {**state, "memory_attention.nan": torch.full((2,), float("nan"))}))


class _Claims:
    """A tensor that claims to be larger than its values."""

    def __init__(self, size):
        self.size = size

    def __reduce__(self):
        storage = torch.zeros(1).untyped_storage()
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
        return torch._utils._rebuild_tensor_v2, (typed, 0, (self.size,), (1,), False, OrderedDict())


def test_claimed_sizes_are_refused(tmp_path):
    for size in (2, 2**28, 2**40):
        with pytest.raises(WeightsError, match=r"w\.pth"):
            read_checkpoint(save(tmp_path / "w.pth", dict(a=_Claims(size))))


def test_a_zip_that_unfolds_is_refused(tmp_path):
    """A compressed zip file, and a zip file whose entries share the same bytes."""
    torch.save(dict(a=torch.zeros(10_000_000)), tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(tmp_path / "bomb.pth", "w", 8) as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 100_000
    with pytest.raises(WeightsError, match=r"bomb\.pth .* would decompress to 38 MiB"):
        read_checkpoint(tmp_path / "bomb.pth")
    torch.save(dict(a=torch.zeros(10_000)), tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth", "a") as archive:
        archive.filelist += [archive.getinfo("w/data/0")] * 100
        archive.writestr("w/more", b"")
    with pytest.raises(WeightsError, match="would decompress to"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_small_file_takes_little_memory(tmp_path):
    """Read files with all kinds of false sizes in a process limited to 256 MB more than it uses."""
    save(tmp_path / "claims.pth", dict(a=_Claims(2**28)))
    save(tmp_path / "expanded.pth", dict(a=torch.zeros(1).expand(2**28)))
    save(tmp_path / "fits.pth", dict(weight=torch.zeros(1).expand(2**14, 2**14), bias=torch.zeros(2**14)))
    torch.save(dict(a=torch.zeros(80_000_000)), tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(tmp_path / "bomb.pth", "w", 8) as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    (tmp_path / "w.pth").unlink()
    (tmp_path / "read.py").write_text(
        "import resource, sys, torch\n"
        "from samplug.checkpoints import WeightsError, load_weights\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        load_weights(torch.nn.Linear(2, 2), path)\n"
        "    except WeightsError as error:\n"
        "        print(path, str(error)[:200].replace(chr(10), ' '))\n"
    )
    done = run_python("read.py", "claims.pth", "expanded.pth", "fits.pth", "bomb.pth", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "claims.pth", "expanded.pth", "fits.pth", "bomb.pth"
    ]  # fmt: skip
    assert "is expanded" in done.stdout
    assert "would decompress" in done.stdout


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "dangling.pth").symlink_to("nothing")
    for name, kind in (("pipe", "is a device or a pipe"), ("zero", "is a device or a pipe"), ("folder", "is a folder"),
                       ("dangling", "does not exist"), ("a" * 300, "cannot be accessed")):  # fmt: skip
        for read in (read_checkpoint, lambda path: load_weights(tiny_vit(), str(path))):
            with pytest.raises(WeightsError, match=kind):
                read(tmp_path / f"{name}.pth")
    with pytest.raises(WeightsError, match="cannot be accessed"):
        load_weights(tiny_vit(), "~no-such-user-here/w.pth")


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ([], "not an index"),
        ({"a": 3}, "not an index"),
        ({"a": ["b"]}, "not an index"),
        ({"a": "../other.safetensors"}, r"names '\.\./other\.safetensors'"),
        ({"a": "w.pth"}, r"names 'w\.pth'"),
        ({"a": "\ud800.safetensors"}, r"\\ud800\.safetensors (does not exist|cannot be looked at)"),
        ({"a": "absent.safetensors"}, r"absent.safetensors does not exist .*index\.json names it"),
    ],
)
def test_an_odd_index_of_shards_is_named(tmp_path, weight_map, message):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(tmp_path / "model.safetensors.index.json")


def test_flipped_bits(tmp_path):
    """torch.save files have checksums; in safetensors only the header and values that are not finite reveal damage."""
    model = randomised(tiny_vit())
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    for suffix, write in (("pth", torch.save), ("safetensors", save_file)):
        path = tmp_path / f"w.{suffix}"
        write(state, path)
        whole, silent = path.read_bytes(), 0
        for _ in range(40):
            damaged, place = bytearray(whole), int(torch.randint(len(whole), (1,), generator=random))
            damaged[place] ^= 1 << int(torch.randint(8, (1,), generator=random))
            path.write_bytes(damaged)
            target = tiny_vit()
            try:
                load_weights(target, str(path))
            except WeightsError:
                continue
            silent += not all(torch.equal(value, state[key]) for key, value in target.state_dict().items())
        assert silent == 0 if suffix == "pth" else silent > 0  # docs/security.md: give safetensors a hash


def test_damaged_tables_of_a_zip_file_are_named(tmp_path):
    """Python's reader fails in many ways on them, and torch's may pass over them and compare no checksum."""
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, path)
    whole = path.read_bytes()
    table = whole.rindex(b"PK\1\2")  # the last entry
    for offset, change in ((46, b"\xff"), (6, b"\xff\xff"), (10, b"\x63"), (42, b"\xff\xff\xff\x7f"), (0, b"QQ")):
        at = table + offset
        path.write_bytes(whole[:at] + change + whole[at + len(change) :])
        with pytest.raises(WeightsError, match=r"w\.pth.* is damaged"):
            read_checkpoint(path)
