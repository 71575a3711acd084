"""The commands: a parser and the work of each, called by ``tools/*.py`` and by the console command ``samplug``."""
