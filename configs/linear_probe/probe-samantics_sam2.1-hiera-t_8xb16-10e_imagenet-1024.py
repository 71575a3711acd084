# SAM 2.1 Hiera-T, as the table of "There is no SAMantics" has it: the mean of the neck's last map.
# The published run chose its checkpoint by the test images: --cfg-options select=val
# Published result (ImageNet-1k val): top-1 23.16, top-5 44.44. Memory: ../../docs/memory.md.
_base_ = ['../_base_/probes/samantics_imagenet.py', '../_base_/encoders/sam2.1-hiera-t.py']

batch_size = 16
img_size = 1024
keep_ratio = False
source = 'neck'
poolings = ['mean']
model = dict(backbone=dict(img_size=_base_.img_size, **_base_.encoder))
