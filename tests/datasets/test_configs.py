"""Datasets and pipelines are found through whatever wraps them."""

from mmengine.config import ConfigDict

from samplug.datasets.configs import datasets_of, pipelines_of, step_name, with_pipelines

LOAD, FLIP = dict(type="samplug.LoadImage"), dict(type="mmseg.RandomFlip")


def leaf(name, pipeline=(LOAD, FLIP)):
    return dict(type="BinarySegDataset", name=name, pipeline=list(pipeline))


NESTED = ConfigDict(
    type="RepeatDataset",
    times=2,
    dataset=dict(
        type="ConcatDataset",
        datasets=[
            leaf("a"),
            dict(type="MultiImageMixDataset", dataset=leaf("b"), pipeline=[FLIP]),
            dict(type="Generated"),
        ],
    ),
)


def test_datasets():
    assert [part.get("name", part["type"]) for part in datasets_of(NESTED)] == ["a", "b", "Generated"]
    assert [part["name"] for part in datasets_of([leaf("c"), leaf("d")])] == ["c", "d"]
    assert list(datasets_of(None)) == []


def test_pipelines():
    assert list(pipelines_of(NESTED)) == [[LOAD, FLIP], [FLIP], [LOAD, FLIP]]


def test_changed_pipelines():
    before = NESTED.to_dict()
    changed = with_pipelines(NESTED, lambda pipeline: [step for step in pipeline if step_name(step) != "RandomFlip"])
    assert list(pipelines_of(changed)) == [[LOAD], [LOAD]]
    assert changed["times"] == 2
    assert [part.get("name") for part in datasets_of(changed)] == ["a", "b", None]
    assert NESTED.to_dict() == before


def test_types_that_are_classes():
    assert step_name(dict(type=ConfigDict)) == "ConfigDict"
