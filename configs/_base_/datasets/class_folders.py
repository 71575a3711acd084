# Your own images, a folder for each class: data_root/CLASS/*.jpg, split by name: 15 % of each class for the choice of
# heads and checkpoints, 15 % for the test. If there are folders for training and test:
# --cfg-options data_root=MY image_dir=train test_dir=val
# classes: text file under data_root with a class a line; None: the folders in the order of their names.
# Configs based on this file add the pipelines. docs/data.md explains all settings.
data_root = 'data/mine'
image_dir = ''
test_dir = None
classes = None
val_fraction = 0.15
test_fraction = 0.15
extra_classes = False
missing_classes = False
check = 'sample'
on_error = 'stop'
train_images = dict(
    type='ImageFolderDataset',
    data_root=data_root,
    image_dir=image_dir,
    classes=classes,
    val_fraction=val_fraction,
    test_fraction=0.0 if test_dir else test_fraction,
    extra_classes=extra_classes,
    missing_classes=missing_classes,
    check=check,
    on_error=on_error)
test_images = {
    **train_images,
    **(dict(image_dir=test_dir, classes_from=None if classes else image_dir) if test_dir else dict(part='test')),
}
