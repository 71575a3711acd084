# What the files of BinarySegDataset mean and what becomes of those that do not fit: one value for all sets of a config.
# Errors about files name these settings (docs/data.md).
mask_values = 'auto'
size_mismatch = 'stop'
check = 'sample'
on_error = 'stop'
files = dict(mask_values=mask_values, size_mismatch=size_mismatch, check=check, on_error=on_error)
