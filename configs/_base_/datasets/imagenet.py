# ImageNet-1k (ILSVRC2012) in class folders: data_root/train/n01440764/*.JPEG and data_root/val/n01440764/*.JPEG.
# Heads and checkpoints are chosen on val_fraction of the training set (about 13 images of each class), split by name;
# the 50,000 validation images are the test. --cfg-options data_root=/data/imagenet
# Source: https://image-net.org (terms of access there). Configs based on this file add the pipelines.
data_root = 'data/imagenet'
val_fraction = 0.01
check = 'sample'
on_error = 'stop'
train_images = dict(
    type='ImageFolderDataset',
    data_root=data_root,
    image_dir='train',
    val_fraction=val_fraction,
    published=dict(images=1281167),
    check=check,
    on_error=on_error)
test_images = dict(
    type='ImageFolderDataset',
    name='ImageNet-1k val',
    data_root=data_root,
    image_dir='val',
    classes_from='train',
    published=dict(split='test', images=50000),
    check=check,
    on_error=on_error)
