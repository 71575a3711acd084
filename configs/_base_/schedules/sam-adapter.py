# SAM-Adapter's published training: AdamW at 2e-4, 20 epochs, batches of 2; the rest as TS-SAM's, whose code descends from it (cosine to
# 1e-7 by the epoch, no warm-up, float32).
_base_ = './ts-sam.py'

max_epochs = 20
lr = 2e-4
base_batch_size = 2
