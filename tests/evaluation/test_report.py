"""Files of scores."""

import csv
import json
import subprocess
import sys

import pytest

from samplug.evaluation.report import Report, table, write_csv
from samplug.utils.errors import DataError

WRITER = """
import sys
from samplug.evaluation.report import Report
report = Report("saliency", {"S": 0.5}, {str(k): {"S": 0.5} for k in range(50)})
for _ in range(200):
    report.write_json(sys.argv[1])
    report.write_csv(sys.argv[1] + ".csv")
"""


def test_two_writers_of_one_report(tmp_path):
    """Say two tests with one out_file: each finds its temporary file, and readers find a whole one."""
    path = tmp_path / "s.json"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(json.loads(path.read_text())["images"]) == 50
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.json", "s.json.csv"]


def test_csv_and_table(tmp_path):
    report = Report("overlap", {"IoU": 1 / 3, "Dice": 0.5}, {"a,b": {"IoU": 1 / 3}})
    report.write_csv(tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["image", "IoU", "Dice"],
            ["a,b", repr(1 / 3), ""],
            ["(all)", repr(1 / 3), "0.5"],
        ]
    lines = table({"one": report.summary, "two": {"Dice": 1.0}}, ("Dice", "IoU", "Acc"), "overlap", decimals=2)
    assert lines.splitlines()[0] == "| overlap | Dice |  IoU |"
    assert lines.splitlines()[3] == "| two     | 1.00 |    - |"


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/s\.csv cannot be written"):
        write_csv(tmp_path / "file" / "s.csv", [["a"]])
