# Masks of everything on RWTD by SAM 2.1 Hiera-S, as published (CHECKPOINT none) or fine-tuned as TextureSAM.
# preset=sam2 is SAM-2 of TextureSAM's tables; preset=texturesam is SAM-2* without training, TextureSAM with it.
# Published results: README.md. Memory: not measured.
_base_ = '../_base_/texture_test.py'

test_sets = ['rwtd']
