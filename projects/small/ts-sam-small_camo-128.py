# As ts-sam-small_folders-128, on CAMO (configs/_base_/datasets/camo.py): its training images are split 82 : 18 into
# training and validation, its test images are the test.
_base_ = './ts-sam-small_folders-128.py'

data_root = 'data/CAMO-V.1.0-CVIU2019'
image_dir = 'Images/Train'
mask_dir = 'GT'
val_fraction = 0.18
test_fraction = 0.0
extra_masks = True
test_dataloader = dict(dataset=dict(image_dir='Images/Test', part=None))
