# Step 1 of 2: the encoder learns which pixels belong together, without prompts.
#   python tools/train.py projects/texture_small/affinity_scenes-128.py --cfg-options textures=DTD/images bsds_root=BSDS
# Result: README.md.
_base_ = './_base_/scenes.py'

# Clicks are first trained in step 2, so there is nothing to validate here.
val_dataloader = None
val_evaluator = None
val_cfg = None
