#!/usr/bin/env python
"""Score guessing and colour histograms on folders of classes: baselines that a probe must exceed.

python benchmarks/class_baselines.py DATA_ROOT [--train train] [--val val]
"""

import argparse

from mmengine.registry import init_default_scope

from samplug.datasets import ImageFolderDataset
from samplug.evaluation.class_baselines import class_baselines
from samplug.evaluation.protocols import TopK
from samplug.evaluation.report import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root", help="folder that contains TRAIN/CLASS and VAL/CLASS")
    parser.add_argument("--train", default="train", help="folder of the class folders to learn from")
    parser.add_argument("--val", default="val", help="folder of the class folders to score")
    args = parser.parse_args()
    init_default_scope("samplug")
    train = ImageFolderDataset(args.data_root, args.train)
    val = ImageFolderDataset(args.data_root, args.val, classes_from=args.train)
    print(table(class_baselines(train, val), TopK.columns, "baseline", TopK.decimals))


if __name__ == "__main__":
    main()
