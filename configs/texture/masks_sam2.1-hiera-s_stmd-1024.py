# As masks_sam2.1-hiera-s_rwtd-1024, on STMD.
# Published results: README.md. Memory: not measured.
_base_ = '../_base_/texture_test.py'

test_sets = ['stmd']
