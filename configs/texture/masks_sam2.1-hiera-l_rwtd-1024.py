# As masks_sam2.1-hiera-s_rwtd-1024, with SAM 2.1 Hiera-L.
# Published result: none. Memory: not measured.
_base_ = './masks_sam2.1-hiera-s_rwtd-1024.py'

arch = 'hiera_l'
sam_checkpoint = 'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt'
