# SAM-Adapter's published training: AdamW at 2e-4, 20 epochs, batches of 2. The rest is as in TS-SAM, whose code is
# derived from it (cosine schedule to 1e-7 by epoch, no warm-up, float32).
_base_ = './ts-sam.py'

max_epochs = 20
lr = 2e-4
base_batch_size = 2
