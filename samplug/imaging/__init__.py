"""Read images, masks and rasters of any common format; write GeoTIFF files; cut large images into tiles."""
