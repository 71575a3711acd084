# As prompted-decoder_sam2.1-hiera-b-plus_1xb4-20e_folders-1024, with SAM 2.1 Hiera-S.
# Published result: none. Memory: not measured.
_base_ = './prompted-decoder_sam2.1-hiera-b-plus_1xb4-20e_folders-1024.py'

arch = 'hiera_s'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_small.pt'
