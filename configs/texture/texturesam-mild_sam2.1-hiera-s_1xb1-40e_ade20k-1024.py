# TextureSAM, eta <= 0.3: SAM 2.1 Hiera-S, all parameters fine-tuned on ADE20K's images with mild foreign textures, then
# masks of everything. Published recipe: that of SAM 2's training (../prompted/), on one image of up to 3 objects, a
# cosine over 40 epochs, of which the checkpoint of epoch 19 was used (eta <= 1: epoch 25); nothing is validated.
# Data: tools/prepare_data.py texture-augment --set mild. Ours: these textures are mixed in pixel space (published:
# Compositional Neural Textures), precision (float32; published: bfloat16, --amp), masks resized by nearest neighbour.
# Published result on RWTD: mIoU .47, ARI .62, aggregated mIoU .75. Ours: not trained. Memory: not measured.
_base_ = [
    '../prompted/prompted_sam2.1-hiera-s_1xb1-20e_sa1b-1024.py',
    '../_base_/texture_sets.py',
]

data_root = 'data/ADE20K_textured_mild'
max_epochs = 40
min_area = 0  # all objects that have a pixel
keep_epochs = [19, 25]
preset = 'texturesam'
model = dict(mask_generator=dict(preset=preset))
train_dataloader = dict(dataset=dict(name='ADE20K-textured', part=None))
val_dataloader = None
val_cfg = None
val_evaluator = None
default_hooks = dict(checkpoint=dict(save_best=None, keep=keep_epochs))
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='mmseg.Resize', scale=(_base_.img_size, _base_.img_size), keep_ratio=False, backend='pillow'),
    dict(type='LoadRegionMap'),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        ignore_keys=['layout'],
        datasets=[
            dict(pipeline=test_pipeline, check=_base_.check, on_error=_base_.on_error, **_base_.texture_sets[name])
            for name in _base_.test_sets
        ]))
test_evaluator = _base_.texture_evaluator
