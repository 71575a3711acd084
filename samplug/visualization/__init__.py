from samplug.visualization.overlay import compare_sheet, draw_overlay

__all__ = ["compare_sheet", "draw_overlay"]
