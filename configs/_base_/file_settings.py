# Rules for the files of BinarySegDataset, shared by all sets of a config: meaning of mask values, and handling of
# files that do not fit. Error messages name these settings (docs/data.md).
mask_values = 'auto'
size_mismatch = 'stop'
check = 'sample'
on_error = 'stop'
files = dict(mask_values=mask_values, size_mismatch=size_mismatch, check=check, on_error=on_error)
