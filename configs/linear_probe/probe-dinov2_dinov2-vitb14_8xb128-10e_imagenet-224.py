# As probe-dinov2_dinov2-vits14_8xb128-10e_imagenet-224, with ViT-B/14. Registers: --cfg-options arch=vitb14_reg4
# Published result (top-1 on ImageNet-1k val): 84.5; with registers 84.6. Memory: ../../docs/memory.md.
_base_ = './probe-dinov2_dinov2-vits14_8xb128-10e_imagenet-224.py'

arch = 'vitb14'
