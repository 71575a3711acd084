"""The arithmetic of docs/scaling.md."""

import pytest

from benchmarks import scaling
from tests.conftest import ROOT

PUBLISHED = {  # parameters, trained parameters
    "adapter, vit_b": (101_563_777, 11_892_865),
    "adapter, vit_h": (666_463_617, 29_437_569),
    "decoder only": (101_563_777, 1_771_393),
    "everything, vit_h": (666_463_617, 666_463_617),
}


@pytest.fixture(scope="module")
def tables():
    return scaling.tables([8, 16, 32, 64], 8)


def rows(table):
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    return {line[0]: line[1:] for line in lines}


@pytest.mark.parametrize("case", scaling.CASES, ids=lambda case: case.name)
def test_counts_are_sums_over_parameters(case):
    counts = scaling.count(case)
    model = scaling.build(case)
    by_name = {name: value.numel() for name, value in model.named_parameters()}
    assert counts.total == sum(by_name.values())
    if case.parts:
        trained = [name for name in by_name if name.startswith("decode_head.")]
    elif case.frozen:
        trained = [name for name in by_name if not name.startswith("backbone.")]
    else:
        trained = list(by_name)
    assert counts.trained == sum(by_name[name] for name in trained)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert PUBLISHED.get(case.name, (counts.total, counts.trained)) == (counts.total, counts.trained)


def test_rows_are_the_formulas_in_numbers(tables):
    """ViT-H with everything trained: P = 666,463,617 parameters."""
    kept, moved, times = map(rows, tables)
    p = 666_463_617
    assert kept["everything, vit_h"][4:] == [f"{16 * p / n / 1e9:.2f}" for n in (1, 8, 64)]
    assert moved["everything, vit_h, DDP"][3] == f"{2 * 63 / 64 * 4 * p / 1e9:.3f}"
    assert moved["everything, vit_h, FSDP full"][3] == f"{63 / 64 * (2 + 2 + 4) * p / 1e9:.3f}"
    # Inside a node of 8 as FSDP; between 8 nodes an all-reduce of an eighth of the gradients.
    near, far = 7 / 8 * 8 * p / 1e9, 2 * 7 / 8 * 4 * p / 8 / 1e9
    assert moved["everything, vit_h, FSDP hybrid"][3] == f"{near:.3f} + {far:.3f}"
    assert times["everything, vit_h, FSDP hybrid"][1] == f"{1e3 * (near / 450 + far / 50):.1f}"
    assert kept["adapter, vit_h"][4] == f"{(4 * p + 12 * 29_437_569) / 1e9:.2f}"


def test_page_shows_what_the_command_prints(tables):
    page = (ROOT / "docs/scaling.md").read_text()
    for table in tables:
        assert table in page
