"""A terminal for tests of the progress line."""

import io
import re

_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|(\r|\n)|([^\x1b\r\n]+)")


class Terminal(io.StringIO):
    """A stream that says it is a terminal; lines never wrap.

    ``screen()`` interprets what was written so far: the lines that a person sees, top to bottom.
    """

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        lines, row, column = [""], 0, 0
        for arguments, command, control, text in _TOKEN.findall(self.getvalue()):
            if text:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
            elif control:
                column = 0
                row += control == "\n"
                lines += [""] * (row + 1 - len(lines))
            elif command == "A":
                row = max(0, row - int(arguments or 1))
            elif command == "K":
                lines[row] = ""
        return [line.rstrip() for line in lines]

    def cursor_is_visible(self) -> bool:
        return self.getvalue().rfind("\x1b[?25h") >= self.getvalue().rfind("\x1b[?25l")
