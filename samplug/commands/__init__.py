"""Commands, as ``tools/NAME.py`` and ``samplug NAME`` run them.

A command is an object, usually a module, with a docstring (its first line is the summary), ``add_arguments(parser)``
and ``execute(args)``. It imports torch in ``execute`` only, so that ``--help`` and mistakes are answered at once.
``execute`` raises ``argparse.ArgumentError`` for arguments that do not fit together.
A group of commands (:class:`~samplug.utils.extensions.Extensions`), such as ``prepare``, is a command too: the next
argument chooses one of them. Another package adds a command as an entry point of the group ``samplug.commands``.
"""

from samplug.utils.extensions import Extensions

COMMANDS = Extensions(
    "command",
    "samplug.commands",
    {
        "train": "samplug.commands.train",
        "test": "samplug.commands.test",
        "predict": "samplug.commands.predict",
        "generate": "samplug.commands.generate_masks",
        "evaluate": "samplug.commands.evaluate_masks",
        "browse": "samplug.commands.browse_dataset",
        "check": "samplug.commands.check_data",
        "prepare": "samplug.converters:CONVERTERS",
        "download": "samplug.commands.download",
        "estimate-memory": "samplug.commands.estimate_memory",
        "analyze-logs": "samplug.commands.analyze_logs",
        "analyze-clicks": "samplug.commands.analyze_clicks",
        "report-probe": "samplug.commands.report_probe",
        "export-weights": "samplug.commands.export_weights",
        "export-onnx": "samplug.commands.export_onnx",
        "quickstart": "samplug.commands.quickstart",
    },
    "Adapt, test and use Segment-Anything models.",
)
