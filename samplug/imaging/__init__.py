"""Reading images, masks and rasters of any common format, and the tiles of large ones."""
